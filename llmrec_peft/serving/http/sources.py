"""Sources: where runs may come from that are registered over HTTP."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from llmrec_peft.errors import InputError
from llmrec_peft.printable import quoted

_HUB = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*(@[A-Za-z0-9._/-]+)?")
_COMMIT = re.compile(r"@[0-9a-f]{40}\Z")


def run_folder(text: str, roots: Sequence[Path]) -> Path:
    """Return the run folder that a request names.

    Args:
        text: Its path; a relative one is taken below each root in turn.
        roots: Folders below which runs may lie.

    Returns:
        Its real path, without links.

    Raises:
        InputError: If no folder below a root is there, whatever else is. The message is the same for a folder that does
            not exist and for one that lies elsewhere, so that nobody can look around by it.
    """
    if not roots:
        raise InputError("no run is registered over HTTP here: the server has no --root")
    if "\0" in text or len(text) > os.pathconf("/", "PC_PATH_MAX"):
        raise InputError("run: no path can be this text")
    for root in roots:
        real = Path(os.path.realpath(root))
        found = Path(os.path.realpath(real / text))
        if real in found.parents and os.path.isdir(found):  # noqa: PTH112 - `is_dir` raises for a name that is too long
            return found
    if _HUB.fullmatch(text) and "@" in text:
        reason = "download it below a root first" if _COMMIT.search(text) else "that moves: name a commit"
        raise InputError(f"run: {quoted(text)} names a revision on the Hub; {reason}")
    raise InputError(f"run: {quoted(text)} is no run folder below a root of this server")

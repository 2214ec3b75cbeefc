"""Signed files: which files of a run folder a signature covers, and how `model_signing` digests exactly those."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec_peft.artifact.manifest import NAME, ORIGIN, PRIVATE, PUBLISHED, REPORTS, SIGNATURE, is_there, limit_of
from llmrec_peft.errors import InputError
from llmrec_peft.printable import quoted, shown
from llmrec_peft.regular_files import require_regular

if TYPE_CHECKING:
    from model_signing.hashing import Config

CARD = "README.md"
_CARD_BYTES = 1 << 20
COVERED = (*PUBLISHED, *REPORTS, CARD, NAME)
"""Files that a signature covers, where they are there: all that is published, the card included."""
_PASSED = ("logs", ORIGIN, ".git", ".gitattributes", ".cache")
"""What may lie beside them without being covered, because no answer reads it: tracker files, the commit that a run was
pulled from, and what git and the Hub's client add to a copy."""


def covered_files(folder: Path) -> list[str]:
    """Return the names of a run folder's files that a signature covers.

    Raises:
        InputError: If one of them is no regular file or too large, or the folder holds a file that no run has, such as
            a pickle: nobody has vouched for it.
    """
    known = {*COVERED, *PRIVATE, *_PASSED, SIGNATURE}
    with os.scandir(folder) as entries:
        strange = next((entry.name for entry in entries if entry.name not in known), None)
    if strange is not None:
        where = shown(folder)
        raise InputError(f"{where}: {quoted(strange)} is no file of a run, and no signature covers it: remove it")
    names = [name for name in COVERED if is_there(folder / name)]
    for name in names:
        require_regular(folder / name, _CARD_BYTES if name == CARD else limit_of(name))
    return names


def digesting(names: Iterable[str]) -> Config:
    """Return the settings by which `model_signing` digests these files and no others, with SHA-256.

    Its own way takes every file that lies in the folder, except those that the signature itself asks to leave out
    (``ignore_paths``). Here neither the folder nor the signature has a say.
    """
    from model_signing import hashing, manifest

    chosen = tuple(names)

    class Covered(hashing.Config):
        def hash(self, model_path: hashing.PathLike, **_: Any) -> manifest.Manifest:
            folder = Path(os.fsdecode(model_path))
            return super().hash(folder, files_to_hash=[folder / name for name in chosen])

        def add_ignored_paths(self, **_: Any) -> None:
            """Leave nothing out."""

    config = Covered()  # type: ignore[no-untyped-call]
    settings = config.use_file_serialization(hashing_algorithm="sha256", max_workers=1)
    return settings.set_ignored_paths(paths=(), ignore_git_paths=False)

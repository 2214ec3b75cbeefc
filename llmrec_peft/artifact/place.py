"""Place: whether a path that someone named may be written, and whether what lies there may be replaced."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from pathlib import Path

from llmrec_peft.artifact.manifest import MERGED_BASE, NAME, ORIGIN, PUBLISHED, SIGNATURE
from llmrec_peft.backbone.base import FILE
from llmrec_peft.errors import InputError
from llmrec_peft.printable import shown
from llmrec_peft.regular_files import is_folder
from llmrec_peft.strict_json import read_object

_MOST_BYTES = 1 << 20
"""Bytes of a manifest, at most."""
_DIGEST = re.compile(r"[0-9a-f]{64}")
WRITTEN = frozenset(
    (
        *PUBLISHED,
        *(NAME, SIGNATURE, ORIGIN),
        *("README.md", "metrics.json", "predictions.parquet", "seen.safetensors", "users.parquet", "logs"),
        *("vocabulary.parquet", "seen.parquet"),  # of format 3
        MERGED_BASE,
    )
)
"""Names that this package writes into a run folder, beside those that the run's manifest lists."""
_OF_BASE = re.compile(r"README\.md|generation_config\.json|model(-\d+-of-\d+)?\.safetensors(\.index\.json)?")
"""Files of a merged base that a run's manifest does not name one by one."""
_OF_SYSTEMS = frozenset((".DS_Store", "Thumbs.db", ".gitattributes"))
"""Files that file browsers and the Hub add of themselves."""


def require_named(target: Path) -> None:
    """Refuse a path that names nothing of its own, such as ``.``, ``..`` or ``/``.

    Raises:
        InputError: Naming the path.
    """
    if target.name in ("", ".."):
        raise InputError(f"{shown(target)} names no folder of its own: give a name, such as {shown(target / 'run')}")
    if "\0" in str(target):
        raise InputError(f"{shown(target)}: a name cannot hold a zero byte")


def occupied(target: Path) -> bool:
    """Whether anything lies at a path, a link to nothing included.

    Raises:
        InputError: If the path cannot be looked at, such as one that is too long.
    """
    try:
        target.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:
        raise InputError(f"{shown(target)}: {getattr(error, 'strerror', None) or error}") from None
    return True


def require_replaceable(target: Path) -> None:
    """Refuse to replace anything but a run of ours, or an empty folder.

    Raises:
        InputError: Saying what lies there instead.
    """
    why = why_kept(target)
    if why is not None:
        raise InputError(f"{shown(target)} is not replaced: {why}")


def why_kept(target: Path) -> str | None:
    """Say why a folder is not ours to replace; None if it is empty or holds a run and nothing else."""
    try:
        status = target.lstat()
        if not stat.S_ISDIR(status.st_mode):
            link = stat.S_ISLNK(status.st_mode)
            return "it is a symbolic link; name the folder itself" if link else "it is no folder"
        if os.path.ismount(target) or _holds_more(target):
            return "it is a disk, your home, or a folder around where you are"
        return _of_strangers(target, status.st_dev)
    except OSError as error:
        return str(error.strerror or error)


def _of_strangers(folder: Path, device: int) -> str | None:
    """Say what in a folder is no part of a run; None for an empty one, and for a run."""
    names = sorted(entry.name for entry in os.scandir(folder))
    files = _files_of(folder) if names else frozenset()
    if files is None:
        return f"it holds files, and no {NAME} of a run; choose another --out, or remove it yourself"
    foreign = [name for name in names if name not in files and name not in WRITTEN and name not in _OF_SYSTEMS]
    if foreign:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        return f"beside a run it holds {shown(foreign[0])}{more}, which no run writes; move that away first"
    return _unlike(folder, device, files)


def require_file(target: Path, overwrite: bool = True, option: str = "--out") -> None:
    """Refuse a path at which no file can be written, or where something lies that a file must not replace.

    Args:
        target: File to write.
        overwrite: Whether an ordinary file may be replaced.
        option: Option of the command line that names the file.

    Raises:
        InputError: Saying what is in the way.
    """
    require_named(target)
    if not is_folder(target.parent):
        raise InputError(f"{shown(target)}: there is no folder {shown(target.parent)}")
    if not occupied(target):
        return
    mode = target.lstat().st_mode
    if stat.S_ISLNK(mode):
        raise InputError(f"{shown(target)} is a symbolic link: name the file itself")
    if not stat.S_ISREG(mode):
        raise InputError(f"{shown(target)} is {'a folder' if stat.S_ISDIR(mode) else 'no ordinary file'}: name a file")
    if not overwrite:
        raise InputError(f"{shown(target)} exists already: --overwrite replaces it, {option} names another file")


def _holds_more(target: Path) -> bool:
    """Whether a folder is, or lies above, the working folder or the home of the user."""
    whole = target.resolve()
    inner = [Path.cwd().resolve()]
    with contextlib.suppress(RuntimeError):  # a user without a home
        inner.append(Path.home().resolve())
    return any(whole == place or whole in place.parents for place in inner)


def _files_of(folder: Path) -> frozenset[str] | None:
    """Names that the manifest of a run of any version lists; None if there is no manifest of a run."""
    try:
        values = read_object(folder / NAME, _MOST_BYTES)
    except InputError:
        return None
    if not isinstance(values.get("format"), int):
        return None
    digest = values.get("digest")
    if not isinstance(values.get("files"), dict) or not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        return None
    return frozenset(name for listed in values.values() if isinstance(listed, dict) for name in listed)


def _unlike(folder: Path, device: int, files: frozenset[str]) -> str | None:
    """Say what in a run folder lies on another disk, or is a folder that no run has; None if nothing."""
    for entry in os.scandir(folder):
        if entry.is_symlink() or not entry.is_dir(follow_symlinks=False):
            continue
        if entry.name not in ("logs", MERGED_BASE):
            return f"beside a run it holds a folder {shown(entry.name)}, which no run writes; move that away first"
        for inner, _, names in os.walk(entry.path):
            if os.lstat(inner).st_dev != device:
                return f"{shown(inner)} is another disk"
            for path in (Path(inner) / name for name in names if entry.name == MERGED_BASE):
                name = path.relative_to(entry.path).as_posix()
                if f"{FILE}{name}" not in files and not _OF_BASE.fullmatch(name):
                    return f"it holds {shown(path)}, which is no file of the run's base; move that away first"
    return None

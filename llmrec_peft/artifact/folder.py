"""Folders and files that are written completely or not at all."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

from llmrec_peft.artifact.exchange import exchange
from llmrec_peft.artifact.place import occupied, require_file, require_named, require_replaceable, why_kept
from llmrec_peft.artifact.workspace import NEW, OLD, Workspace, removed
from llmrec_peft.errors import InputError, disk_is_full, reason_of
from llmrec_peft.printable import shown

_LONGEST_NAME = 255
"""Bytes of a file's name that every usual file system takes."""


@contextlib.contextmanager
def whole_folder(target: Path, overwrite: bool = False, workspace: Workspace | None = None) -> Iterator[Path]:
    """Yield a temporary folder beside `target` that replaces it if the block ends without an error.

    Args:
        target: Folder to write.
        overwrite: Whether a run, or an empty folder, may be replaced; nothing else ever is.
        workspace: The hidden folder of `target`, if the caller holds it already; it stays.

    Raises:
        InputError: If the target exists, is no run, another process writes it, or the disk is full; nothing is left
            behind then.
    """
    require_free(target, overwrite)
    with contextlib.ExitStack() as stack:
        held = stack.enter_context(Workspace.of(target)) if workspace is None else workspace
        partial = held.folder / NEW
        try:
            removed(partial)
            partial.mkdir()
            yield partial
            partial.chmod(0o755)
            for path in sorted(partial.rglob("*")):
                if path.is_file() and not path.is_symlink():
                    path.chmod(0o644)  # safetensors writes files that only their owner reads
                    flush(path)
            require_free(target, overwrite)  # something may have come there meanwhile
            _put(partial, target, held.folder / OLD)
        except Exception as error:
            if disk_is_full(error):
                raise InputError(f"{shown(target)}: no room on the disk; nothing was written") from error
            raise
        finally:
            removed(partial)


@contextlib.contextmanager
def whole_file(target: Path, overwrite: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `target` that replaces it if the block ends without an error.

    The path is that of an empty file of this process alone, whose name nobody can foresee.

    Args:
        target: File to write.
        overwrite: Whether an ordinary file may be replaced; folders, links and devices never are.

    Raises:
        InputError: If the file cannot be written, or the disk is full.
    """
    require_file(target, overwrite)
    partial: Path | None = None
    try:
        partial = _own_file(target)
        yield partial
        flush(partial)
        require_file(target, overwrite)  # something may have come there meanwhile
        if overwrite:
            partial.replace(target)
        else:
            _moved(partial, target)
    except OSError as error:
        raise InputError(f"{shown(target)}: {reason_of(error)}; nothing was written") from None
    finally:
        if partial is not None:
            partial.unlink(missing_ok=True)


def require_free(
    target: Path, overwrite: bool, advice: str = "--overwrite replaces it, --out names another folder"
) -> None:
    """Refuse a target that is there already; with `overwrite`, one that is neither a run nor an empty folder.

    Args:
        target: Folder to write.
        overwrite: Whether it may be replaced.
        advice: What is said of a folder that is there already.

    Raises:
        InputError: Saying what is in the way.
    """
    require_named(target)
    if not occupied(target):
        return
    if overwrite:
        require_replaceable(target)
        return
    if target.is_symlink():
        raise InputError(f"{shown(target)} is a symbolic link; name the folder itself")
    what = "exists already" if target.is_dir() else "is a file"
    more = f": {advice}" if what == "exists already" else ", no folder"
    raise InputError(f"{shown(target)} {what}{more}")


def require_place(target: Path) -> None:
    """Refuse a target that is there already, and one at which no folder can be made: it is tried.

    Raises:
        InputError: Saying what is in the way.
    """
    if occupied(target):
        raise InputError(f"{shown(target)} exists already")
    with Workspace.of(target):
        pass


def partials_of(target: Path) -> list[Path]:
    """List what processes that were killed while writing a file with `whole_file` left beside it.

    Of a process that still writes it is the file that it writes: only who knows of no such process may remove them.
    """
    pattern = re.compile(rf"{re.escape(_prefix(target))}[0-9a-f]{{16}}\.new")
    return [path for path in target.parent.iterdir() if pattern.fullmatch(path.name)]


def _put(partial: Path, target: Path, aside: Path) -> None:
    """Exchange `partial` and `target`, and remove the former one if it is what may be removed."""
    removed(aside)
    try:
        former = exchange(partial, target, aside)
        flush(target.parent)
    except OSError as error:
        if disk_is_full(error):
            raise
        raise InputError(f"{shown(target)}: {reason_of(error)}; it was not written") from None
    if former is None:
        return
    why = why_kept(former)  # nobody else knows its name now: what is read here is what is removed
    if why is not None:
        exchange(former, target, partial if former == aside else aside)
        raise InputError(f"{shown(target)} is not replaced: it changed meanwhile: {why}")
    removed(former)


def _prefix(target: Path) -> str:
    name = os.fsencode(target.name)[: _LONGEST_NAME - 32]
    return f".{name.decode(errors='ignore')}."


def _own_file(target: Path) -> Path:
    """Make an empty file beside `target` with an unpredictable name."""
    partial = target.with_name(f"{_prefix(target)}{secrets.token_hex(8)}.new")
    os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    return partial


def _moved(partial: Path, target: Path) -> None:
    """Give a file its name, unless the name is taken."""
    try:
        os.link(partial, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if occupied(target):
            raise
        partial.rename(target)


def flush(path: Path) -> None:
    """Flush a file or a folder to the disk; systems that cannot flush folders are left alone."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        if not path.is_dir():
            raise
    finally:
        os.close(descriptor)

"""Folders and files that are written completely or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from llmrec_peft.errors import InputError, disk_is_full


@contextlib.contextmanager
def whole_folder(target: Path, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside `target` that replaces it if the block ends without an error.

    Args:
        target: Folder to write.
        overwrite: Whether an existing folder may be replaced.

    Raises:
        InputError: If the target exists, or the disk is full; nothing is left behind then.
    """
    if target.exists() and not overwrite:
        raise InputError(f"{target} exists already")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".new", dir=target.parent))
    except OSError as error:
        raise InputError(f"cannot write beside {target}: {error.strerror or error}") from None
    try:
        yield partial
        partial.chmod(0o755)
        for path in sorted(partial.rglob("*")):
            if path.is_file():
                path.chmod(0o644)  # safetensors writes files that only their owner reads
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        _exchange(partial, target)
    except Exception as error:
        if disk_is_full(error):
            raise InputError(f"{target}: no room on the disk; nothing was written") from error
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target` that replaces it if the block ends without an error.

    Raises:
        InputError: If the file cannot be written, or the disk is full.
    """
    if not target.parent.is_dir():
        raise InputError(f"{target}: there is no folder {target.parent}")
    partial = target.with_name(f".{target.name}.{os.getpid()}.new")
    try:
        yield partial
        partial.replace(target)
    except OSError as error:
        raise InputError(f"{target}: {error.strerror or error}; nothing was written") from None
    finally:
        partial.unlink(missing_ok=True)


def _exchange(partial: Path, target: Path) -> None:
    """Move `partial` to `target`; a previous folder is renamed until the new one is in place."""
    if not target.exists():
        partial.rename(target)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".old", dir=target.parent))
    target.rename(aside / target.name)
    try:
        partial.rename(target)
    except OSError:
        (aside / target.name).rename(target)
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)

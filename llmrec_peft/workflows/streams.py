"""Streams: files of a command's input and output, or stdin and stdout where ``-`` stands for them."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal

from llmrec_peft.artifact.folder import whole_file
from llmrec_peft.errors import InputError, reason_of

Unknown = Literal["refuse", "popular", "skip"]
"""What becomes of what a run does not know: an error, the answer for an average user, or no answer."""
FORMATS = ("csv", "parquet")
STREAM = Path("-")
"""Stands for stdin or stdout."""


def name_of(source: Path) -> str:
    """Return what errors call an input."""
    return "stdin" if source == STREAM else str(source)


def format_of(path: Path, stream: str) -> str:
    """Return the format of a file by its ending, or that of a stream.

    Args:
        path: The file, or ``-``.
        stream: ``csv`` or ``parquet``.

    Raises:
        InputError: For another ending.
    """
    if path == STREAM:
        if stream not in FORMATS:
            raise InputError(f"format {stream!r} is neither csv nor parquet")
        return stream
    ending = path.suffix.lower().removeprefix(".")
    if ending not in FORMATS:
        raise InputError(f"{path}: name it .csv or .parquet")
    return ending


@contextlib.contextmanager
def opened(source: Path, seekable: bool = False) -> Iterator[BinaryIO]:
    """Open a regular file, or stdin.

    Args:
        source: The file, or ``-``.
        seekable: Whether stdin is stored in a file first, as Parquet needs it, which is read from its end.

    Raises:
        InputError: If there is no such file, or it is a folder, a pipe or a device.
    """
    if source == STREAM:
        if sys.stdin is None:
            raise InputError("stdin is closed: name a file")
        if not seekable:
            yield sys.stdin.buffer
            return
        with tempfile.TemporaryFile() as stored:
            try:
                shutil.copyfileobj(sys.stdin.buffer, stored)
            except OSError as error:
                raise InputError(f"stdin: unreadable ({reason_of(error)})") from None
            stored.seek(0)
            yield stored
        return
    try:
        if source.exists() and not source.is_file():
            raise InputError(f"{source} is no regular file (- reads stdin)")
        file = source.open("rb")
    except FileNotFoundError:
        raise InputError(f"no input file {source}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{source}: unreadable ({reason_of(error)})") from None
    with file:
        yield file


@contextlib.contextmanager
def whole(target: Path, form: str, overwrite: bool = False) -> Iterator[Path]:
    """Yield a path to write to; the target, or stdout, gets its content if the block ends without an error.

    Args:
        target: The file, or ``-``.
        form: Its format, which is the ending of what is written for stdout.
        overwrite: Whether a file that exists may be replaced.

    Raises:
        InputError: If the target exists, or cannot be written.
    """
    if target == STREAM:
        with tempfile.TemporaryDirectory(prefix="llmrec-") as folder:
            partial = Path(folder) / f"output.{form}"
            yield partial
            with partial.open("rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.buffer.flush()
        return
    try:
        exists, regular = target.exists(), target.is_file() and target.parent.is_dir()
    except OSError as error:  # such as a name that is too long
        raise InputError(f"{str(target)[:80]}: {reason_of(error)}") from None
    if exists and not overwrite:
        raise InputError(f"{target} exists already: --overwrite replaces it")
    if exists and not regular:
        raise InputError(f"{target} is no regular file: it cannot be replaced")
    with whole_file(target) as partial:
        yield partial

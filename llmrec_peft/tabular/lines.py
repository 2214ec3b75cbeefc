"""The lines of a table file as text, each with its number and what is wrong with it: the slow, exact way."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

LONGEST_LINE = 1 << 24
"""Largest size of a line in bytes; a few bytes of a packed file can stand for gigabytes without a line end."""
MARK = "\x1f"
"""Stands for delimiters that no parser of tables knows, such as ``::``; no line may contain it."""
TOO_LONG = f"longer than {LONGEST_LINE >> 20} MiB"
C1 = re.compile(rb"[\x80-\x9f]")


class Line(NamedTuple):
    """One line.

    Attributes:
        number: From 1.
        text: Its text with the end of the line; of a flawed one, what is left of it.
        flaw: What is wrong with it; None if nothing is.
    """

    number: int
    text: str
    flaw: str | None


def byte_parts(parts: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """Yield a file's bytes without byte order mark, in an encoding whose line ends are single bytes.

    Raises:
        UnicodeError: If it is in UTF-16 and damaged, or without a byte order mark.
    """
    if encoding == "utf-16":
        decoder = codecs.getincrementaldecoder("utf-16")()
        for part in parts:
            yield decoder.decode(part).encode("utf-8", "surrogatepass")
        yield decoder.decode(b"", final=True).encode("utf-8", "surrogatepass")
        return
    head, begun = b"", False
    for part in parts:
        if begun:
            yield part
            continue
        head += part
        if len(head) >= len(codecs.BOM_UTF8):
            begun = True
            yield head.removeprefix(codecs.BOM_UTF8)
    if not begun:
        yield head


def text_of(encoding: str) -> str:
    """Return the encoding of `byte_parts`."""
    return "utf-8" if encoding == "utf-16" else encoding


def numbered_lines(
    parts: Iterable[bytes], encoding: str, quick: Callable[[bytes, int], bool] | None = None
) -> Iterator[Line]:
    """Yield the lines, which end in a line feed, a carriage return, or both.

    Args:
        parts: The file's bytes.
        encoding: Its encoding; a line that is not in it is flawed.
        quick: Called with each piece of whole lines and the number of the last line before; True where it read the
            piece in another way, and its lines are not wanted.

    Raises:
        UnicodeError: If it is in UTF-16 and damaged, or without a byte order mark.
    """
    number = 0
    for lines, flaw in _whole_lines(byte_parts(parts, encoding)):
        if flaw is not None:
            number += 1
            yield Line(number, "", flaw)
            continue
        if quick is not None and lines.count(b"\r") == lines.count(b"\r\n") and quick(lines, number):
            number += lines.count(b"\n") + (not lines.endswith(b"\n"))
            continue
        text = _clean_text(lines, text_of(encoding))
        if text is not None:
            for line in io.StringIO(text, newline=""):
                number += 1
                yield Line(number, line, None)
        else:
            for raw in lines.splitlines(keepends=True):
                number += 1
                yield Line(number, *_decoded(raw, text_of(encoding)))


def _whole_lines(parts: Iterable[bytes]) -> Iterator[tuple[bytes, str | None]]:
    """Yield pieces that end where a line does; a line that is too long as nothing, with its flaw."""
    rest, too_long = b"", False
    for part in parts:
        data = rest + part
        end = max(data.rfind(b"\n"), data.rfind(b"\r", 0, len(data) - 1)) + 1  # \n may follow a last \r
        if too_long:
            first = _line_end(data)
            if first is None:
                rest = data[-1:]  # it may be \r, which \n may follow
                continue
            yield b"", TOO_LONG
            data, end, too_long = data[first:], end - first, False
        lines, rest = data[:end], data[end:]
        if lines:
            yield from _without_long(lines)
        if len(rest) > LONGEST_LINE:
            rest, too_long = rest[-1:], True
    if too_long:
        yield b"", TOO_LONG
    elif rest:
        yield rest, None


def _line_end(data: bytes) -> int | None:
    """Return where the first line ends; None if it goes on, or ends in a last carriage return."""
    found = re.search(rb"\r\n|\n|\r(?=.)", data, re.DOTALL)
    return found.end() if found else None


def _without_long(lines: bytes) -> Iterator[tuple[bytes, str | None]]:
    if len(lines) <= LONGEST_LINE:
        yield lines, None
        return
    for line in lines.splitlines(keepends=True):
        yield (line, None) if len(line) <= LONGEST_LINE else (b"", TOO_LONG)


def _clean_text(data: bytes, encoding: str) -> str | None:
    """Return the text of some lines; None if one of them has a flaw."""
    if b"\0" in data or b"\x1f" in data or (encoding == "latin-1" and C1.search(data)):
        return None
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return None


def _decoded(line: bytes, encoding: str) -> tuple[str, str | None]:
    """Return the text of a line, and what is wrong with it."""
    flaw = None
    if b"\0" in line:
        flaw = "a NUL byte: the file is damaged, or its encoding is utf-16 (option encoding)"
    elif b"\x1f" in line:
        flaw = "a control character (0x1f), which no text has"
    elif encoding == "latin-1" and (found := C1.search(line)):
        flaw = f"byte 0x{found[0][0]:02x} is no letter of latin-1; try cp1252 (option encoding)"
    else:
        try:
            return line.decode(encoding), None
        except UnicodeDecodeError as error:
            other = "latin-1, cp1252 or gb18030" if encoding == "utf-8" else "utf-8"
            flaw = (
                f"not {encoding} (byte 0x{line[error.start]:02x}): the file is in another encoding, such as {other}"
                " (option encoding)"
            )
    return line.decode(encoding, "replace").replace("\0", "").replace(MARK, ""), flaw

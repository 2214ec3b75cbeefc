"""JSON records, one a line or one an element of an array, each with its line and what is wrong with it."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, NoReturn

from llmrec_peft.errors import reason_of
from llmrec_peft.printable import quoted
from llmrec_peft.tabular.cells import Number, Whole
from llmrec_peft.tabular.form import FileForm, repeated
from llmrec_peft.tabular.lines import LONGEST_LINE, byte_parts, numbered_lines, text_of

DEPTH = 64
"""How deep arrays and objects may lie in each other."""
KEY, VALUE = "key", "value"
"""Columns of one object of objects: the name of each, and what it is where it is no object."""
_BLANKS = " \t\r\n"
_TOO_DEEP = f"nested too deeply: more than {DEPTH} arrays or objects in each other"
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class JsonRecord(NamedTuple):
    """One record.

    Attributes:
        line: The line that it begins in.
        fields: Its fields; numbers as the file writes them.
        flaw: What is wrong with it; None if nothing is.
    """

    line: int
    fields: dict[str, Any]
    flaw: str | None


class BrokenJsonError(Exception):
    """The rest of a JSON array cannot be read."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError(f"the name {quoted(repeated(name for name, _ in pairs))} stands twice in one object")
    return values


_DECODER = json.JSONDecoder(parse_int=Whole, parse_float=Number, parse_constant=_no_number, object_pairs_hook=_once)


def json_records(
    parts: Iterable[bytes], form: FileForm, quick: Callable[[bytes, int], bool] | None = None
) -> Iterator[JsonRecord]:
    """Yield the records of a JSON file.

    Args:
        parts: The file's bytes.
        form: Its form.
        quick: Of JSON lines, see `llmrec_peft.tabular.lines.numbered_lines`.

    Raises:
        BrokenJsonError: If an array is no JSON from some line on.
        UnicodeError: If the file is in UTF-16 and damaged.
    """
    if form.format == "json":
        yield from _Array(parts, form.encoding).records()
        return
    for number, text, flaw in numbered_lines(parts, form.encoding, quick):
        if flaw is not None:
            yield JsonRecord(number, {}, flaw)
        elif text := text.strip(_BLANKS):
            yield _record(number, text)


def _record(line: int, text: str) -> JsonRecord:
    try:
        value, end = _DECODER.raw_decode(text)
    except json.JSONDecodeError as error:
        return JsonRecord(line, {}, _no_json(text, error))
    except (ValueError, RecursionError) as error:
        return JsonRecord(line, {}, f"no JSON ({_why(error)})")
    if end < len(text):
        return JsonRecord(
            line, {}, f"{quoted(text[end : end + 30].strip())} stands behind the object: one object a line"
        )
    if not isinstance(value, dict):
        return JsonRecord(line, {}, "no JSON object: every line is one, with named fields")
    return JsonRecord(line, value, _flaw_of(value, text, 0, end))


def _flaw_of(value: Any, text: str, start: int, end: int) -> str | None:
    """Return what is wrong with a value of JSON that stands in a text, though JSON allows it."""
    if _SURROGATE.search(text, start, end):  # half a character, which JSON can escape and no file can hold
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError:
            return "half a character (a lone surrogate)"
        except RecursionError:
            return _TOO_DEEP
    if text.count("[", start, end) + text.count("{", start, end) > DEPTH and _is_deep(value):
        return _TOO_DEEP
    return None


def _is_deep(value: Any) -> bool:
    """Return whether arrays and objects lie in each other deeper than `DEPTH`."""
    level = [value]
    for _ in range(DEPTH):
        below = [one for one in level if isinstance(one, (dict, list))]
        level = [inner for one in below for inner in (one.values() if isinstance(one, dict) else one)]
        if not level:
            return False
    return True


def _no_json(text: str, error: json.JSONDecodeError) -> str:
    if text[:2] in ("{'", "{u"):
        return "names in single quotation marks, as Python writes them: write the file as JSON"
    cut = " (the line is cut off)" if error.pos >= len(text) else ""
    return f"no JSON (column {error.colno}: {error.msg}){cut}"


def _why(error: BaseException) -> str:
    return _TOO_DEEP if isinstance(error, RecursionError) else reason_of(error)


class _Array:
    """The elements of one JSON array, or the members of one object of objects, parsed one by one."""

    def __init__(self, parts: Iterable[bytes], encoding: str) -> None:
        self._parts = iter(byte_parts(parts, encoding))
        self._encoding = encoding
        self._decoder = codecs.getincrementaldecoder(text_of(encoding))()
        self._text = ""
        self._at = 0
        self._line = 1
        self._ended = False

    def records(self) -> Iterator[JsonRecord]:
        """Yield the records.

        Raises:
            BrokenJsonError: If the file is no such array from some line on.
        """
        opening = self._next()
        if opening not in ("[", "{"):
            self._broken("a JSON array or object begins with [ or {")
        closing = "]" if opening == "[" else "}"
        self._at += 1
        while (letter := self._next()) != closing:
            line = self._line
            if opening == "[":
                yield self._element(line)
            else:
                yield self._member(line)
            letter = self._next()
            if letter == ",":
                self._at += 1
                if self._next() == closing:
                    self._broken("a comma stands before the end")
            elif letter != closing:
                self._broken(f"a comma or {closing} belongs where {quoted(letter or 'the end')} stands")
        self._at += 1
        if (letter := self._next()) != "":
            self._broken(f"{quoted(letter)} stands behind the end")

    def _element(self, line: int) -> JsonRecord:
        value, flaw = self._value()
        if isinstance(value, dict):
            return JsonRecord(line, value, flaw)
        return JsonRecord(line, {}, "no JSON object: every element of the array is one, with named fields")

    def _member(self, line: int) -> JsonRecord:
        name, no_name = self._value()
        if not isinstance(name, str) or self._next() != ":":
            self._broken("a name and a colon belong here")
        self._at += 1
        self._next()
        value, flaw = self._value()
        if not isinstance(value, dict):
            value = {VALUE: value}
        fields = {f"{one}_" if one == KEY else one: inner for one, inner in value.items()}
        return JsonRecord(line, {KEY: name, **fields}, no_name or flaw)

    def _value(self) -> tuple[Any, str | None]:
        """Return the value that begins here, reading on until it is whole, and its flaw."""
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except (ValueError, RecursionError) as error:
                cut = isinstance(error, json.JSONDecodeError) and len(self._text) - self._at <= LONGEST_LINE
                if not (cut and self._more()):
                    self._broken(
                        f"no JSON ({_why(error)})" if not isinstance(error, json.JSONDecodeError) else error.msg
                    )
                continue
            if end < len(self._text) or not self._more():
                flaw = _flaw_of(value, self._text, self._at, end)
                self._line += self._text.count("\n", self._at, end)
                self._at = end
                return value, flaw

    def _next(self) -> str:
        """Return the next character that is no blank; an empty text at the end."""
        while True:
            for at in range(self._at, len(self._text)):
                if self._text[at] not in _BLANKS:
                    self._line += self._text.count("\n", self._at, at)
                    self._at = at
                    return self._text[at]
            self._line += self._text.count("\n", self._at)
            self._at = len(self._text)
            if not self._more():
                return ""

    def _more(self) -> bool:
        """Read at least as much as is at hand, so that long values are not parsed over and over; False at the end."""
        pieces, size = [self._text[self._at :]], 0
        wanted = max(1, len(pieces[0]))
        while size < wanted and not self._ended:
            part = next(self._parts, None)
            self._ended = part is None
            try:
                pieces.append(self._decoder.decode(part or b"", final=part is None))
            except UnicodeDecodeError as error:
                before = sum(piece.count("\n") for piece in pieces) + (part or b"").count(b"\n", 0, error.start)
                raise BrokenJsonError(
                    self._line + before, f"not {self._encoding} ({error.reason}; option encoding)"
                ) from None
            size += len(pieces[-1])
        self._text, self._at = "".join(pieces), 0
        return size > 0

    def _broken(self, reason: str) -> NoReturn:
        raise BrokenJsonError(self._line, reason)

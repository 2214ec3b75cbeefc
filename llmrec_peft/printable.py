"""Printable text: what comes from files of others, made harmless for terminals, Markdown, HTML and JSON.

Titles, ids, column names, paths and error messages may hold anything: escape sequences that rewrite the screen, marks
that turn the direction of reading, brackets that look like markup, pipes that break a table. Whatever the package
prints or writes for people goes through this module.
"""

from __future__ import annotations

import html
import json
import math
import re
import reprlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

LONGEST_LINE = 900
"""Characters of a message; one that repeats its whole input is no help."""
LONGEST_VALUE = 120
"""Characters of a value in a message."""
LONGEST_PATH = 160
"""Characters of a path in a message."""

_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # colours, movements of the cursor
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)"  # window titles, links
    r"|\x1b[ -/]*[0-Z\\`-~]"
)
"""Escape sequences as a whole, so that their letters do not stay behind; of one without an end the text stays."""
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
"""C0, DEL, C1 and line ends."""
_UNSEEN = re.compile(
    "[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # direction of reading
    "\u200b\u2060-\u2064\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"  # no width: two texts that look alike are not
)
"""Characters that are not seen; joiners (U+200C, U+200D) stay, since scripts and emoji need them."""
_HALF = re.compile("[\ud800-\udfff]")
"""Halves of characters (lone surrogates), which no encoding takes."""
_ACTIVE = re.compile(r"[\\`*\[\]<>|~$]|(?<!\w)_|_(?!\w)|&(?=[#\w]+;)")
_AT_START = re.compile(r"^(?:#{1,6}(?=\s|$)|[-+=](?=[-+=\s]|$)|\d+(?=[.)](?:\s|$)))")
_SHORT = reprlib.Repr()
_SHORT.maxstring, _SHORT.maxother, _SHORT.maxlong, _SHORT.maxlevel = 80, 80, 40, 3
_JSON = re.compile(f"{_UNSEEN.pattern}|{_HALF.pattern}|[\x7f-\x9f\u2028\u2029]")


def for_terminal(text: object) -> str:
    """Return a text as one line without anything that steers a terminal.

    >>> for_terminal("Heat\\x1b[2J\\x1b]0;you\\x07 \\u202e(1995)\\n[bold]")
    'Heat (1995) [bold]'
    """
    plain = text if isinstance(text, str) else str(text)
    if plain.isprintable():  # neither control characters nor halves nor what is not seen
        return plain
    plain = _CONTROL.sub(" ", _SEQUENCE.sub("", plain))
    return _HALF.sub("\ufffd", _UNSEEN.sub("", plain))


def quoted(value: object, longest: int = LONGEST_VALUE) -> str:
    """Return a value of any type, size and content for a message: written as in Python, shortened.

    >>> quoted("a\\nb"), quoted(list(range(100)))
    ("'a\\\\nb'", '[0, 1, 2, 3, 4, 5, ...]')
    """
    try:
        text = _SHORT.repr(value)
    except (ValueError, RecursionError):  # a whole number of more than 4,300 digits
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= longest else f"{text[:longest]}…"


def shown(path: Path | str) -> str:
    """Return a path for a message: one line of printable characters, the middle of a long one left out."""
    text = str(path)
    text = text if text.isprintable() else repr(text)
    half = LONGEST_PATH // 2
    return text if len(text) <= LONGEST_PATH else f"{text[:half]}…{text[-half:]}"


def for_markdown(text: object) -> str:
    """Return a text as one line that Markdown shows as it is: no heading, link, table cell, emphasis or HTML.

    >>> for_markdown("# [a](b) <i>c</i> | log_loss")
    '\\\\# \\\\[a\\\\](b) \\\\<i\\\\>c\\\\</i\\\\> \\\\| log_loss'
    """
    line = " ".join(for_terminal(text).split())
    escaped = _ACTIVE.sub(lambda found: f"\\{found[0]}", line)
    return _AT_START.sub(lambda found: f"{found[0]}\\" if found[0].isdigit() else f"\\{found[0]}", escaped)


def for_html(text: object) -> str:
    """Return a text that HTML shows as it is, inside elements and quoted attributes.

    >>> for_html('<b title="x">')
    '&lt;b title=&quot;x&quot;&gt;'
    """
    return html.escape(for_terminal(text), quote=True)


def for_json(values: Any) -> str:
    """Return plain values as JSON that any reader takes and that no terminal obeys.

    Numbers that are not finite become null, which JSON has in their place; characters that steer a terminal and halves
    of characters are written as escapes.
    """
    text = json.dumps(_finite(values), indent=2, ensure_ascii=False, allow_nan=False)
    return _JSON.sub(lambda found: json.dumps(found[0])[1:-1], text)


def one_line(message: object) -> str:
    """Return a message as one line that is not too long.

    >>> one_line("no recipe\\n  file")
    'no recipe file'
    """
    line = " ".join(for_terminal(message).split()) if _breaks(message) else for_terminal(message)
    return line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}…"


def write_text(text: str, stream: TextIO) -> None:
    """Write lines to a stream; what it cannot encode is written as an escape."""
    lines = "\n".join(for_terminal(line) for line in text.split("\n"))
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        lines.encode(encoding)
    except UnicodeEncodeError:
        lines = lines.encode(encoding, "backslashreplace").decode(encoding)
    stream.write(lines)


def write_json(values: Any, stream: TextIO) -> None:
    """Write plain values as JSON; a stream that is not UTF-8 gets ASCII."""
    text = for_json(values)
    encoding = (getattr(stream, "encoding", None) or "utf-8").lower().replace("-", "")
    if encoding not in ("utf8", "utf16", "utf32"):
        text = json.dumps(json.loads(text), indent=2)
    stream.write(text + "\n")


def say(message: object) -> None:
    """Write a message on stderr, as one line."""
    write_text(one_line(message) + "\n", sys.stderr)


def _breaks(message: object) -> bool:
    return "\n" in str(message) or "\r" in str(message)


def _finite(values: Any) -> Any:
    if isinstance(values, float) and not math.isfinite(values):
        return None
    if isinstance(values, Mapping):
        return {key: _finite(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [_finite(value) for value in values]
    return values

"""The encoding of a text file, guessed from a sample of its bytes."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from llmrec_peft.errors import InputError
from llmrec_peft.printable import quoted, shown
from llmrec_peft.tabular.guess import Guess
from llmrec_peft.tabular.lines import C1
from llmrec_peft.tabular.sample import Sample

_HIGH_RUN = re.compile(rb"[\x80-\xff]+")
_WORD = re.compile(rb"[\x80-\xff\w]*[\x80-\xff][\x80-\xff\w]*")
_MANY_NULS = 0.2
"""Share of NUL bytes at even or odd places above which a text is in UTF-16."""
_UTF8_LINES = 4
"""How many times more lines have to be UTF-8 than not, for a file that has both."""
_PAIRED, _COMMON = 0.8, 0.85
"""Shares of bytes in pairs and of common Chinese characters above which a text is Chinese."""
_CLEARLY = 0.95
_ENOUGH = 50
"""Characters from which a share is no accident."""
_MOST_WESTERN_PAIRS = 0.3


def encoding_of(path: Path, sample: Sample) -> Guess:
    """Return the encoding: UTF-8 or UTF-16 as the bytes prove, else Chinese or Western as is more likely.

    Raises:
        InputError: If it is in UTF-16 without a byte order mark, which is not read.
    """
    head = sample.head
    if head.startswith(codecs.BOM_UTF8):
        return Guess("utf-8", "the file begins with the byte order mark of UTF-8")
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return Guess("utf-16", "the file begins with a byte order mark of UTF-16")
    half = max(1, len(head) // 2)
    if max(head[::2].count(0), head[1::2].count(0)) > _MANY_NULS * half:
        raise InputError(f"{shown(path)}: is UTF-16 without a byte order mark: convert the file to UTF-8")
    cut = head if sample.whole else head[: head.rfind(b"\n") + 1] or head
    pieces = [cut, *sample.further]
    if all(piece.isascii() for piece in pieces):
        return Guess("utf-8", "only ASCII characters were seen")
    return _of_lines([line for piece in pieces if not piece.isascii() for line in piece.splitlines()])


def _of_lines(lines: list[bytes]) -> Guess:
    beyond = [line for line in lines if not line.isascii()]
    wrong = [line for line in beyond if not _decodes(line, "utf-8")]
    if not wrong:
        return Guess("utf-8", f"{len(beyond):,} lines of the sample go beyond ASCII, and all are valid UTF-8")
    right = len(beyond) - len(wrong)
    if right > _UTF8_LINES * len(wrong):
        return Guess("utf-8", f"{right:,} lines beyond ASCII are valid UTF-8, but {len(wrong):,} are not", sure=False)
    return _older(wrong, f"{len(wrong):,} lines of the sample are no UTF-8")


def _older(lines: list[bytes], why: str) -> Guess:
    """Return which encoding before UTF-8 some lines are in."""
    text = b"\n".join(lines)
    paired, common, characters = _chinese(text)
    word = max(_WORD.findall(text[: 1 << 16]) or [b""], key=lambda one: len(_HIGH_RUN.findall(one)))[:30]
    if paired > _PAIRED and common > _COMMON and _decodes(text, "gb18030"):
        read = quoted(word.decode("gb18030", "replace"), 40)
        sure = common > _CLEARLY and characters > _ENOUGH
        return Guess("gb18030", f"{why}; as gb18030, {common:.0%} are common Chinese characters, such as {read}", sure)
    western = "cp1252" if C1.search(text) and _decodes(text, "cp1252") else "latin-1"
    read = quoted(word.decode(western, "replace"), 40)
    doubt = " (or another encoding, whose letters come in pairs of bytes)" if paired > _MOST_WESTERN_PAIRS else ""
    return Guess(western, f"{why}; as {western}, a word reads {read}{doubt}", sure=False)


def _chinese(text: bytes) -> tuple[float, float, int]:
    """Return the share of bytes beyond ASCII in pairs, the share of pairs common in Chinese, and how many pairs."""
    runs = _HIGH_RUN.findall(text)
    high = sum(map(len, runs))
    pairs = [run[at : at + 2] for run in runs if len(run) % 2 == 0 for at in range(0, len(run), 2)]
    common = sum(0xB0 <= pair[0] <= 0xD7 or 0xA1 <= pair[0] <= 0xA3 for pair in pairs)  # noqa: PLR2004 - GB 2312 level 1
    return 2 * len(pairs) / max(1, high), common / max(1, len(pairs)), len(pairs)


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True

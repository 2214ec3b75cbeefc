"""The format of a table file, told by the beginning of its text."""

from __future__ import annotations

import codecs
import json
import re
from typing import Any

from llmrec_peft.tabular.guess import Guess
from llmrec_peft.tabular.sample import Sample


def format_of(sample: Sample) -> Guess:
    """Return the format: Parquet by its mark, JSON by its first bracket, else delimited text."""
    if sample.head.startswith(b"PAR1"):
        return Guess("parquet", "its first bytes are those of Parquet")
    text = sample.head.removeprefix(codecs.BOM_UTF8).lstrip()
    if text.startswith(b"{"):
        return _of_objects(text, sample.whole)
    if re.match(rb"\[\s*[\[{]", text):
        return Guess("json", "it begins with a JSON array")
    return Guess("delimited", "its first bytes are those of text")


def _of_objects(text: bytes, whole: bool) -> Guess:
    """Return whether a text that begins with a brace has one object a line, or is one object of rows."""
    first, _, below = text.partition(b"\n")
    try:
        value = json.loads(first)
    except (ValueError, RecursionError):
        value = None
    members = list(value.values()) if isinstance(value, dict) else []
    alone = whole and not below.strip()
    rows = _are(dict, members) or (alone and len(members) > 1 and _are(list, members))
    if members and not rows:
        return Guess("json-lines", "its first line is one JSON object")
    return Guess("json", "it begins with a JSON object of several lines, or of objects")


def _are(kind: type, members: list[Any]) -> bool:
    return all(isinstance(one, kind) for one in members)

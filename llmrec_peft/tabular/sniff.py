"""The form of a table file, guessed from a bounded sample: every guess has its evidence."""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

import pyarrow as pa

from llmrec_peft.errors import InputError, nearest
from llmrec_peft.options import validated
from llmrec_peft.printable import quoted, shown
from llmrec_peft.tabular.form import MOST_COLUMNS, FileForm
from llmrec_peft.tabular.guess import Guess
from llmrec_peft.tabular.lines import numbered_lines
from llmrec_peft.tabular.other_formats import sample_rows
from llmrec_peft.tabular.records import records
from llmrec_peft.tabular.sample import Sample, sample_of
from llmrec_peft.tabular.sniff_columns import column_names, table_of
from llmrec_peft.tabular.sniff_delimiter import delimiter_of
from llmrec_peft.tabular.sniff_encoding import encoding_of
from llmrec_peft.tabular.sniff_format import format_of
from llmrec_peft.tabular.sniff_header import decimal_of, header_of

SAMPLE_ROWS = 5000
"""Rows of a sample."""


@dataclass(frozen=True)
class Sniffed:
    """How a file is probably written.

    Attributes:
        form: Its form.
        evidence: Why, by field of the form, in one plain sentence each; fields that were given have none.
        unsure: Fields that somebody should look at.
        sample: Its first rows, as texts.
    """

    form: FileForm
    evidence: dict[str, str]
    unsure: tuple[str, ...]
    sample: pa.Table


@dataclass
class _Guesses:
    """The fields so far."""

    given: Mapping[str, Any]
    values: dict[str, Any]
    evidence: dict[str, str] = field(default_factory=dict)
    unsure: list[str] = field(default_factory=list)

    def take(self, name: str, guess: Guess) -> Any:
        """Take a guess of a field that was not given; return the field's value."""
        if name not in self.given:
            self.values[name] = guess.value
            self.evidence[name] = guess.evidence
            if not guess.sure:
                self.unsure.append(name)
        return self.values[name]


def sniffed(path: Path, given: Mapping[str, Any] | None = None) -> Sniffed:
    """Guess the form of a table file; the same file gives the same guesses.

    Args:
        path: The file.
        given: Fields of `FileForm` that are known and not guessed.

    Raises:
        InputError: If it cannot be read, is empty, is no table, or does not fit what was given.
    """
    known = dict(given or {})
    for name in known:
        if name not in FileForm.model_fields:
            raise InputError(
                f"{shown(path)}: unknown option {quoted(name, 60)}: {nearest(name, FileForm.model_fields)}"
            )
    if "delimiter" in known:
        _form({"delimiter": known["delimiter"], "quote": "none"}, path)  # before anything is split at it
    sample = sample_of(path, known.get("compression"))
    guesses = _Guesses(known, dict(known))
    packed = "its first bytes say so" if sample.compression != "none" else "its first bytes are those of no packed file"
    guesses.take("compression", Guess(sample.compression, packed))
    if guesses.take("format", format_of(sample)) != "delimited":
        form = _form(guesses.values, path)
        return Sniffed(form, guesses.evidence, tuple(guesses.unsure), sample_rows(path, form, SAMPLE_ROWS))
    encoding = known.get("encoding") or guesses.take("encoding", encoding_of(path, sample))
    text = _text(path, sample, _form({"encoding": encoding}, path).encoding)
    layout = delimiter_of(text, known)
    for name, guess in layout.guesses.items():
        guesses.take(name, guess)
    rows = _rows(path, text, guesses.values, layout.columns)
    _require_no_comment(path, rows)
    header = bool(guesses.take("header", header_of(rows)))
    names = column_names(rows, header)
    if names.value is not None:
        guesses.take("columns", names)
    guesses.take("decimal", decimal_of(rows[int(header) :], guesses.values["delimiter"]))
    form = _form(guesses.values, path)
    return Sniffed(form, guesses.evidence, tuple(guesses.unsure), table_of(rows, form, SAMPLE_ROWS))


def _text(path: Path, sample: Sample, encoding: str) -> str:
    """Return whole lines of the beginning as text; what is not in the encoding is replaced."""
    text = sample.head.removeprefix(codecs.BOM_UTF8).decode(encoding, "replace")
    end = max(text.rfind("\n"), text.rfind("\r")) + 1
    if not sample.whole and not end:
        raise InputError(f"{shown(path)}: its first line is longer than {len(sample.head):,} bytes: no table")
    if (directive := re.match("sep=.?\\r?\\n", text)) is not None:
        raise InputError(f"{shown(path)}: its first line {quoted(directive[0].strip())} is for Excel: remove it")
    text = text if sample.whole else text[:end]
    return text.replace("\0", "").replace("\x1f", "")


def _rows(path: Path, text: str, values: Mapping[str, Any], columns: int) -> list[list[str]]:
    """Return the first rows.

    Raises:
        InputError: If there is none that can be read, or one is none of a table.
    """
    draft = FileForm.model_construct(**values)
    lines = numbered_lines([text.encode("utf-8")], "utf-8")
    first = islice(records(lines, draft, columns), SAMPLE_ROWS + 1)
    rows = [row.cells for row in first if row.flaw is None]
    if not rows:
        raise InputError(f"{shown(path)}: no row of the sample can be read")
    if (most := max(map(len, rows))) > MOST_COLUMNS:
        raise InputError(f"{shown(path)}: a row of {most:,} columns, more than the {MOST_COLUMNS:,} of a table")
    return rows


def _require_no_comment(path: Path, rows: list[list[str]]) -> None:
    """Refuse comments above the table: lines that begin with # and have other numbers of cells than the rows.

    Raises:
        InputError: Quoting the first of them.
    """
    comments = list(takewhile(lambda row: row[0].lstrip().startswith("#"), rows))
    below = Counter(map(len, rows[len(comments) :])).most_common(1)
    if comments and below and len(comments[0]) != below[0][0]:
        many = "the first line" if len(comments) == 1 else f"the first {len(comments)} lines"
        first = quoted(comments[0][0].strip(), 40)
        raise InputError(f"{shown(path)}, line 1: {first} is a comment and names no columns: remove {many}")


def _form(values: Mapping[str, Any], path: Path) -> FileForm:
    form = validated(FileForm, dict(values), shown(path))
    assert isinstance(form, FileForm)  # noqa: S101 - for mypy
    return form

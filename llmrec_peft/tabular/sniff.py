"""The form of a table file, guessed from a bounded sample: every guess has its evidence."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from llmrec_peft.errors import InputError, nearest
from llmrec_peft.options import validated
from llmrec_peft.printable import quoted, shown
from llmrec_peft.tabular.form import FileForm
from llmrec_peft.tabular.guess import Guess
from llmrec_peft.tabular.lines import numbered_lines
from llmrec_peft.tabular.other_formats import sample_rows
from llmrec_peft.tabular.records import records
from llmrec_peft.tabular.sample import Sample, sample_of
from llmrec_peft.tabular.sniff_delimiter import delimiter_of
from llmrec_peft.tabular.sniff_encoding import encoding_of
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
    sample = sample_of(path, known.get("compression"))
    guesses = _Guesses(known, dict(known))
    packed = "its first bytes say so" if sample.compression != "none" else "its first bytes are those of no packed file"
    guesses.take("compression", Guess(sample.compression, packed))
    kind = guesses.take("format", _format_of(sample))
    if kind != "delimited":
        form = _form(guesses, path)
        return Sniffed(form, guesses.evidence, tuple(guesses.unsure), sample_rows(path, form, SAMPLE_ROWS))
    guesses.take("encoding", encoding_of(path, sample))
    text = _text(path, sample, _encoding(guesses, path))
    for name, guess in delimiter_of(text, known).items():
        guesses.take(name, guess)
    draft = FileForm.model_construct(**guesses.values)
    lines = numbered_lines(iter([text.encode("utf-8")]), "utf-8")
    width = _width(guesses)
    rows = [row.cells for row in islice(records(lines, draft, width), SAMPLE_ROWS + 1) if row.flaw is None]
    if not rows:
        raise InputError(f"{shown(path)}: no row of the sample can be read")
    guesses.take("header", header_of(rows))
    _name_columns(guesses, rows)
    guesses.take("decimal", decimal_of(rows[int(bool(guesses.values["header"])) :], guesses.values["delimiter"]))
    form = _form(guesses, path)
    return Sniffed(form, guesses.evidence, tuple(guesses.unsure), _table(rows, form))


def _format_of(sample: Sample) -> Guess:
    if sample.head.startswith(b"PAR1"):
        return Guess("parquet", "its first bytes are those of Parquet")
    text = sample.head.removeprefix(b"\xef\xbb\xbf").lstrip()
    first = text.split(b"\n", 1)[0]
    if text.startswith(b"{"):
        try:
            value = json.loads(first)
        except (ValueError, RecursionError):
            value = None
        alone = sample.whole and not text[len(first) :].strip()
        members = list(value.values()) if isinstance(value, dict) else []
        if members and not (all(isinstance(one, dict) for one in members) or (alone and _are_lists(members))):
            return Guess("json-lines", "its first line is one JSON object")
        return Guess("json", "it begins with a JSON object of several lines, or of objects")
    if re.match(rb"\[\s*[\[{]", text):
        return Guess("json", "it begins with a JSON array")
    return Guess("delimited", "its first bytes are those of text")


def _are_lists(members: list[Any]) -> bool:
    return len(members) > 1 and all(isinstance(one, list) for one in members)


def _encoding(guesses: _Guesses, path: Path) -> str:
    """Return the encoding by the name that is used here."""
    form = validated(FileForm, {"encoding": guesses.values["encoding"]}, shown(path))
    assert isinstance(form, FileForm)  # noqa: S101 - for mypy
    return form.encoding


def _text(path: Path, sample: Sample, encoding: str) -> str:
    """Return whole lines of the beginning as text; what is not in the encoding is replaced."""
    text = sample.head.removeprefix(codecs.BOM_UTF8).decode(encoding, "replace")
    end = max(text.rfind("\n"), text.rfind("\r")) + 1
    if not sample.whole and not end:
        raise InputError(f"{shown(path)}: its first line is longer than {len(sample.head):,} bytes: no table")
    text = text if sample.whole else text[:end]
    return text.replace("\0", "").replace("\x1f", "")


def _width(guesses: _Guesses) -> int | None:
    """Return how many columns a file has whose last column holds delimiters."""
    if guesses.values.get("columns"):
        return len(guesses.values["columns"])
    found = re.search(r"of (\d+) columns", guesses.evidence.get("rest", ""))
    return int(found[1]) if found else None


def _name_columns(guesses: _Guesses, rows: list[list[str]]) -> None:
    """Give every column a name, where the file or somebody does not."""
    if "columns" in guesses.given:
        return
    width = _width(guesses) or max(
        {len(row): 0 for row in rows[:1]} | _counts(rows), key=lambda n: _counts(rows).get(n, 0)
    )
    if not guesses.values["header"]:
        names = tuple(f"column_{at + 1}" for at in range(width))
        guesses.take("columns", Guess(names, "the file names no columns, so they are numbered"))
        return
    header = [cell.strip() for cell in rows[0]]
    if any(not name for name in header) or len(set(header)) < len(header):
        own_names: list[str] = []
        taken = set(header)
        for at, name in enumerate(header):
            plain = name and name not in own_names
            own = name if plain else next(n for n in _spare_names(at) if n not in taken)
            taken.add(own)
            own_names.append(own)
        why = "the header leaves a name out or has one twice, so such columns are numbered"
        guesses.take("columns", Guess(tuple(own_names), why, sure=False))


def _spare_names(at: int) -> list[str]:
    return [f"column_{at + 1}{'_' * more}" for more in range(50)]


def _counts(rows: list[list[str]]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for row in rows:
        counts[len(row)] = counts.get(len(row), 0) + 1
    return counts


def _form(guesses: _Guesses, path: Path) -> FileForm:
    form = validated(FileForm, guesses.values, shown(path))
    assert isinstance(form, FileForm)  # noqa: S101 - for mypy
    return form


def _table(rows: list[list[str]], form: FileForm) -> pa.Table:
    """Return rows as a table of texts; those of another length are left out."""
    header = rows[0] if form.header else None
    names = form.columns or tuple(cell.strip() for cell in rows[0])
    right = [row for row in rows[int(form.header) :][:SAMPLE_ROWS] if len(row) == len(names) and row != header]
    columns = list(zip(*right, strict=True)) or [()] * len(names)
    return pa.table([pa.array(column, pa.string()) for column in columns], names=list(names))

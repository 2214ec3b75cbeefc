"""Check: does a result agree with itself, with the files beside it, and with its own predictions?"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmrec_peft.benchmark.cells import titled
from llmrec_peft.benchmark.check_figures import contradictions, follows
from llmrec_peft.benchmark.kept_predictions import KeptPredictions
from llmrec_peft.benchmark.matrix import Matrix
from llmrec_peft.benchmark.report import LIMIT, file_of, read_report
from llmrec_peft.benchmark.result_schema import checked_cell
from llmrec_peft.benchmark.rows import Row
from llmrec_peft.benchmark.table_files import as_csv
from llmrec_peft.benchmark.totals import totals
from llmrec_peft.errors import InputError
from llmrec_peft.evaluation.intervals import no_difference
from llmrec_peft.regular_files import is_file, read_regular
from llmrec_peft.strict_json import read_object

_CSV = "results.csv"
_CLOSE = 1e-9


@dataclass(frozen=True)
class Checked:
    """What a check found.

    Attributes:
        file: The file that was checked.
        cells: Cells in it.
        measured: Cells with figures.
        recomputed: Cells whose figures were computed again from their predictions.
        wrong: What is wrong, one line each.
        notes: What could not be checked, one line each.
        totals: Means, spreads and marks, computed from the rows, see `llmrec_peft.benchmark.totals`.
    """

    file: Path
    cells: int
    measured: int
    recomputed: int
    wrong: tuple[str, ...]
    notes: tuple[str, ...]
    totals: tuple[Mapping[str, Any], ...]


def check(path: Path) -> Checked:
    """Check a result: a folder with a ``results.json``, such a file, or the JSON of one cell.

    Args:
        path: Folder or file. Predictions are looked for in ``predictions/`` beside the file; of a cell in ``cells/``,
            beside that folder.

    Raises:
        InputError: If it is unreadable, or not in the form of a result.
    """
    file = file_of(path)
    values = read_object(file, LIMIT)
    one_cell = "axes" in values and "rows" not in values
    if one_cell:
        rows, folder = [checked_cell(values, str(file))], file.parent
        folder = folder.parent if folder.name == "cells" else folder
        wrong: list[str] = []
    else:
        report = read_report(file)
        rows, folder = report["rows"], file.parent
        wrong = [*_of_report(report), *_of_csv(folder / _CSV, rows)]
    measured = [row for row in rows if row["status"] == "ok"]
    kept, notes, recomputed = KeptPredictions(folder), [], 0
    for row in measured:
        name = titled(row["axes"])
        wrong += [f"{name}: {line}" for line in contradictions(row)]
        try:
            found = kept.of(row)
            if found is None:
                continue
            lines, left_out = follows(row, found)
        except InputError as error:
            wrong.append(f"{name}: {error}")
            continue
        wrong += [f"{name}: {line}" for line in lines]
        notes += [f"{name}: {line}" for line in left_out]
        recomputed += not left_out
    if recomputed < len(measured):
        notes.append(
            f"{len(measured) - recomputed} of {len(measured)} measured cells have no predictions to compute from"
        )
    return Checked(file, len(rows), len(measured), recomputed, tuple(wrong), tuple(notes), tuple(totals(rows)))


def _of_report(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong in a report as a whole."""
    rows, matrix = report["rows"], Matrix.from_plain(report["matrix"], report["name"])
    titles = [titled(row["axes"]) for row in rows]
    yield from (f"{title}: stands twice" for title in dict.fromkeys(titles) if titles.count(title) > 1)
    if matrix.name != report["name"]:
        yield f"name is {report['name']!r}, that of the matrix {matrix.name!r}"
    dates = [row["date"] for row in rows if row.get("date")]
    if dates and max(dates) != report["date"]:
        yield f"date is {report['date']}, that of the newest row {max(dates)}"
    stated = report.get("totals")
    if stated is not None and not _alike(stated, totals(rows)):
        yield "totals do not follow from the rows: `llmrec bench run` on the same folder writes them again"
    for record in report.get("comparisons", ()):
        if "left_out" not in record:
            yield from _of_comparison(record, rows)


def _of_comparison(record: Mapping[str, Any], rows: Sequence[Row]) -> Iterator[str]:
    """Yield what is wrong in a comparison: its marks and its verdict."""
    named = f"comparison of {titled(record['first'])}, {record['model']}, {record['metric']}"
    if not any(record["first"].items() <= row["axes"].items() for row in rows):
        yield f"{named}: no row has these axes"
    for unit, one in record["intervals"].items():
        if one["low"] > one["high"]:
            yield f"{named}: the interval {unit} ends before it begins"
        if one["excludes_zero"] != (one["low"] > 0.0 or one["high"] < 0.0):
            yield f"{named}: {unit} says of itself that it {'excludes' if one['excludes_zero'] else 'contains'} zero"
    verdict = record.get("verdict")
    if verdict is not None and (verdict == "no difference") != no_difference(record["intervals"]):
        yield f"{named}: the verdict is {verdict!r}, but its intervals say otherwise"


def _of_csv(path: Path, rows: Sequence[Row]) -> Iterator[str]:
    """Yield the first cell of each line of the table beside a report that says something else than the report."""
    if not is_file(path):
        return
    try:
        stated = list(csv.DictReader(io.StringIO(read_regular(path, LIMIT).decode())))
    except (csv.Error, UnicodeDecodeError):
        yield f"{path.name} is no CSV: `llmrec bench report` writes it again"
        return
    expected = list(csv.DictReader(io.StringIO(as_csv(rows))))
    if len(stated) != len(expected):
        yield f"{path.name} has {len(stated)} lines, and the report {len(expected)} rows"
        return
    for own, right in zip(stated, expected, strict=True):
        other = next((name for name in right if name in own and own[name] != right[name]), None)
        if other is not None:
            said = f"{other} is {own[other]!r} and not {right[other]!r}"
            yield f"{path.name}: {said}: `llmrec bench report` writes it again"


def _alike(stated: Any, right: Any) -> bool:
    """Return whether plain values are the same, numbers but for rounding."""
    if isinstance(right, Mapping):
        return (
            isinstance(stated, Mapping)
            and stated.keys() == right.keys()
            and all(_alike(stated[key], right[key]) for key in right)
        )
    if isinstance(right, list):
        return isinstance(stated, list) and len(stated) == len(right) and all(map(_alike, stated, right))
    if isinstance(right, float) and isinstance(stated, int | float):
        return abs(stated - right) <= _CLOSE * max(1.0, abs(right))
    return bool(stated == right)

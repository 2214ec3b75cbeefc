"""Report: the rows of a benchmark as ``results.json``, and everything that is written from it."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llmrec_peft.artifact.folder import whole_file
from llmrec_peft.benchmark.html_report import as_html
from llmrec_peft.benchmark.markdown_report import Report, as_markdown
from llmrec_peft.benchmark.matrix import Matrix
from llmrec_peft.benchmark.pictures import write_pictures
from llmrec_peft.benchmark.provenance import commit_here
from llmrec_peft.benchmark.result_schema import checked_report
from llmrec_peft.benchmark.rows import Row
from llmrec_peft.benchmark.table_files import as_csv, as_parquet
from llmrec_peft.benchmark.totals import totals
from llmrec_peft.errors import InputError, reason_of
from llmrec_peft.hub.without_paths import last_name
from llmrec_peft.printable import for_json, quoted, shown
from llmrec_peft.regular_files import is_folder
from llmrec_peft.strict_json import read_object

FILE = "results.json"
"""The report as data: what is committed, compared, checked and contributed."""
LIMIT = 64 << 20
"""Bytes that it can have."""
_SHARED = ("hardware", "versions")
"""Values that most rows share: listed once, and referenced by number in each row."""


def assemble(matrix: Matrix, rows: Sequence[Row], comparisons: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """Collect everything that a report contains.

    Args:
        matrix: Matrix that was measured.
        rows: One row for each cell.
        comparisons: Comparisons of the rows.

    Returns:
        ``name``, ``date`` (of the newest row), ``commit`` (of the checkout that writes this), ``hardware`` and
        ``versions`` (lists; rows contain an index into them), ``matrix``, ``rows``, ``comparisons``, and ``totals``
        (what follows from the rows: means, spreads, and which groups beat their best baseline).
    """
    shared = {key: _distinct(rows, key) for key in _SHARED}
    numbered = [
        {key: shared[key].index(value) if key in _SHARED else value for key, value in _without_folders(row).items()}
        for row in rows
    ]
    dates = [row["date"] for row in rows if "date" in row]
    return {
        "name": matrix.name,
        "date": max(dates, default=datetime.date.today().isoformat()),
        "commit": commit_here(),
        **shared,
        "matrix": matrix.model_dump(mode="json", exclude_defaults=True),
        "rows": numbered,
        "comparisons": [dict(one) for one in comparisons],
        "totals": totals(rows),
    }


def _without_folders(row: Row) -> Row:
    """Return a row as others may read it: its recipe names folders of data by their last names alone."""
    recipe = row.get("recipe", {})
    if "data" not in recipe:
        return row
    data = dict(recipe["data"])
    for field in ("path", "graph"):
        if data.get(field) is not None:
            data[field] = last_name(data[field])
    return {**row, "recipe": {**recipe, "data": data}}


def write_report(report: Report, out: Path, with_json: bool = True) -> list[Path]:
    """Write a report in all its forms.

    ``results.json`` has everything, ``results.csv`` and ``results.parquet`` have one line per cell, ``report.md`` and
    ``report.html`` are for people: means over seeds, plots, and which method to use.

    Args:
        report: Contents of ``results.json``.
        out: Folder, which is there.
        with_json: Whether ``results.json`` itself is written.

    Returns:
        The files.

    Raises:
        InputError: If they cannot be written.
    """
    contents = {
        "results.csv": as_csv(report["rows"]).encode(),
        "results.parquet": as_parquet(report["rows"]),
        "report.md": as_markdown(report).encode(),
        "report.html": as_html(report).encode(),
    }
    if with_json:
        contents[FILE] = f"{for_json(report)}\n".encode()
    for name, content in contents.items():
        with whole_file(out / name) as partial:
            partial.write_bytes(content)
    return [out / name for name in contents]


def rewrite_report(source: Path, out: Path, plot: Path | None = None) -> list[Path]:
    """Write the tables and pages of earlier results, without measuring anything.

    Args:
        source: A ``results.json``, or the folder that holds it.
        out: Folder to write into; it is made where it is missing.
        plot: Folder to draw pictures into, before anything else is written; None for no pictures.

    Returns:
        The files that were written.

    Raises:
        InputError: If `source` is no report, the files cannot be written, or nothing can be drawn that should be.
    """
    report = read_report(source)
    drawn = [] if plot is None else write_pictures(report, plot)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{shown(out)}: {reason_of(error)}") from None
    same = file_of(source).resolve() == (out / FILE).resolve()
    return [*write_report(report, out, with_json=not same), *drawn]


def read_report(path: Path) -> dict[str, Any]:
    """Read a ``results.json``, or a committed copy of one.

    Args:
        path: The file, or the folder that holds it.

    Raises:
        InputError: If it is not such a file.
    """
    file = file_of(path)
    report = checked_report(read_object(file, LIMIT), str(file))
    matrix = Matrix.from_plain(report["matrix"], str(file))
    known = {choice.label or Path(choice.recipe).stem for choice in matrix.recipes}
    for row in report["rows"]:
        if row["axes"]["recipe"] not in known:
            raise InputError(f"{file}: the matrix has no recipe {quoted(row['axes']['recipe'])} of a row")
    return report


def file_of(path: Path) -> Path:
    """Return the ``results.json`` of a folder, or the file itself."""
    return path / FILE if is_folder(path) else path


def _distinct(rows: Sequence[Row], key: str) -> list[Any]:
    distinct: list[Any] = []
    for row in rows:
        if key in row and row[key] not in distinct:
            distinct.append(row[key])
    return distinct

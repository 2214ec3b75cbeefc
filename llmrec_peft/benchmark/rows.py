"""Rows: the results of each cell, one JSON file each, written completely or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from llmrec_peft.artifact.folder import whole_file
from llmrec_peft.benchmark.cells import Cell

Row = dict[str, Any]
"""A cell's axes, key, status (`ok`, `failed` or `refused`), reason, and its figures if it was measured."""


def bare_row(cell: Cell, status: str, reason: str) -> Row:
    """Return the row of a cell without figures."""
    return {
        "axes": cell.axes,
        "key": cell.key,
        "status": status,
        "reason": reason,
        "recipe": cell.recipe.plain(),
        "code": cell.code,
    }


def read_row(path: Path, cell: Cell) -> Row | None:
    """Return a cell's row, if it exists, is complete, and belongs to this very cell."""
    row = _row(path)
    return row if row is not None and row.get("key") == cell.key else None


def read_stale(path: Path, cell: Cell) -> Row | None:
    """Return a cell's row that was measured by other code, marked by ``stale``; None if there is no such row."""
    row = _row(path)
    code = None if row is None else row.get("code")
    if row is None or not isinstance(code, str) or code == cell.code or row.get("key") != cell.key_under(code):
        return None
    return {**row, "stale": True}


def _row(path: Path) -> Row | None:
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and "status" in row else None


def write_json(path: Path, values: Any) -> None:
    """Write plain values as one file, completely or not at all.

    Raises:
        InputError: If the file cannot be written, or the disk is full.
    """
    with whole_file(path) as partial:
        partial.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")

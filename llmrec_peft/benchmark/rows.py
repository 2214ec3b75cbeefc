"""Rows: what is kept of each cell, one JSON file that appears whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from llmrec_peft.artifact.folder import whole_file
from llmrec_peft.benchmark.cells import Cell

Row = dict[str, Any]
"""A cell's axes, key, status (`ok`, `failed` or `refused`), reason, and where it is measured its figures."""


def bare_row(cell: Cell, status: str, reason: str) -> Row:
    """The row of a cell without figures."""
    return {
        "axes": cell.axes,
        "key": cell.key,
        "status": status,
        "reason": reason,
        "recipe": cell.recipe.plain(),
    }


def read_row(path: Path, cell: Cell) -> Row | None:
    """A cell's row, if it is there, whole, and that of this very cell."""
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return row if isinstance(row, dict) and row.get("key") == cell.key and "status" in row else None


def write_json(path: Path, values: Any) -> None:
    """Write plain values as one file that appears whole.

    Raises:
        InputError: When the place cannot be written or has no room.
    """
    with whole_file(path) as partial:
        partial.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")

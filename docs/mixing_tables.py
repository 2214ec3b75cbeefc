"""Tables of mixed batches: what a pass costs in which each row has an adapter of its own."""

from __future__ import annotations

from typing import Any

import committed_results as results
from markdown_table import table_header, table_row

_WAYS = {
    "mixed pass": "mixed",
    "base again": "base again",
    "hooks that change nothing": "hooks alone",
    "PEFT, adapter_names": "`adapter_names`",
    "PEFT, set_adapter": "`set_adapter`",
    "one after another": "one after another",
}


def mixed_batches() -> list[str]:
    """Ratio of each way to the bare base, by case, number format and threads."""
    cells = results.load("mixing.json")["cells"]
    return [
        *table_header("case", "base, ms", "target", *_WAYS.values()),
        *(_row(cell) for cell in sorted(cells, key=lambda cell: (cell["backbone"], cell["threads"]))),
    ]


def served_batches() -> list[str]:
    """The same through the passes that a server makes of texts, divided by those of the base alone."""
    cells = [cell for cell in results.load("mixing.json")["cells"] if "served, mixed" in cell["ways"]]
    return [
        *table_header("case", "base, ms", "mixed, ms", "ratio"),
        *(
            table_row(_case(cell), f"{base['ms']:.0f}", f"{mixed['ms']:.0f}", f"{mixed['ms'] / base['ms']:.2f}")
            for cell in cells
            for base, mixed in [(cell["ways"]["served, bare base"], cell["ways"]["served, mixed"])]
        ),
    ]


def _row(cell: dict[str, Any]) -> str:
    target = "–" if cell["target"] is None else f"≤ {cell['target']}"
    return table_row(
        _case(cell),
        f"{cell['ways']['bare base']['ms']:.0f}",
        target,
        *(_ratio(cell["ways"].get(name)) for name in _WAYS),
    )


def _case(cell: dict[str, Any]) -> str:
    threads = "one thread" if cell["threads"] == 1 else f"{cell['threads']} threads"
    return f"{cell['case']}; {cell['backbone']}, {cell['precision']}, {threads}"


def _ratio(way: dict[str, float] | None) -> str:
    return "–" if way is None else f"{way['ratio']:.2f} ({way['low']:.2f} - {way['high']:.2f})"

"""Tables of the suite's results, for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from llmrec_peft.printable import for_terminal
from llmrec_peft.testing.adapters.suite import CellResult
from llmrec_peft.testing.outcome import Outcome
from llmrec_peft.testing.plugins import PluginResult


def cell_table(result: CellResult) -> None:
    """Print every check of an adapter method on one backbone in one precision."""
    _print(f"{result.method} on {result.backbone} in {result.precision}: {result.status}", result.checks)


def plugin_table(results: Sequence[PluginResult]) -> None:
    """Print every check of a head or signal: its declarations, then the checks with its first options."""
    first = next((result.options for result in results if result.setting != "declarations"), {})
    for result in results:
        if result.options == first or result.setting == "declarations":
            _print(f"{result.title}: {result.status}", result.checks)


def _print(title: str, checks: Mapping[str, Outcome]) -> None:
    table = Table(title=Text(for_terminal(title)), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("check", "", "measured", "allowed", "note"):
        table.add_column(column, justify="right" if column in ("measured", "allowed") else "left", overflow="fold")
    for name, outcome in checks.items():
        figures = ["" if value is None else f"{value:.3g}" for value in (outcome.measured, outcome.tolerance)]
        cells = [name, "ok" if outcome.ok else "FAILED", *figures, outcome.note]
        table.add_row(*(Text(for_terminal(cell)) for cell in cells))
    Console(highlight=False).print(table)

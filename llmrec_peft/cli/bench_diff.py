"""`llmrec bench diff`: what became worse from one benchmark's results to another's?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmrec_peft.cli import parameters
from llmrec_peft.cli.command import Command
from llmrec_peft.cli.output import print_json, print_line, print_note, print_table

_WORSE = 1
"""Exit code where something is worse beyond noise."""


def diff(
    first: Annotated[Path, typer.Argument(help="The earlier results.json, or its folder.", metavar="A")],
    second: Annotated[Path, typer.Argument(help="The later results.json, or its folder.", metavar="B")],
    resamples: Annotated[
        int, typer.Option("--resamples", metavar="N", min=100, max=100_000, help="Bootstrap resamples.")
    ] = 2000,
    as_json: parameters.Json = False,
) -> None:
    """Compare two results row by row, and name what is worse beyond noise.

    Accuracy is compared by a paired bootstrap where both folders have predictions, else over seeds (Welch); latencies
    and memory by their ratio. The exit code is 0 without a regression, 1 with one, 2 for wrong input.

    Examples:
      llmrec bench diff benchmarks/results/methods.json runs/methods
      llmrec bench diff runs/before runs/after --json
    """
    from llmrec_peft.benchmark.diff import diff as diff_results

    found = diff_results(first, second, resamples)
    if as_json:
        print_json(found.plain())
    else:
        rows = [
            [one.row, one.what, f"{one.first:,.4f}", f"{one.second:,.4f}", one.verdict, one.change]
            for one in found.changes
        ]
        columns = ["row", "figure", "A", "B", "verdict", "B against A"]
        print_table("figures that both results have", columns, rows, (2, 3))
        for line in found.notes:
            print_note(line)
        for line in found.failed:
            print_line(f"regression: {line}")
        worse = len(found.regressions) + len(found.failed)
        print_line(f"{worse} regression{'' if worse == 1 else 's'} beyond noise in {len(found.changes)} figures")
    if found.regressions or found.failed:
        raise typer.Exit(_WORSE)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("diff", cls=Command)(diff)

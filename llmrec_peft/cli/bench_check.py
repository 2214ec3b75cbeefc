"""`llmrec bench check`: is a result what its predictions say?"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmrec_peft.artifact.figures import NO_BETTER
from llmrec_peft.cli import parameters
from llmrec_peft.cli.command import Command
from llmrec_peft.cli.output import print_json, print_line, print_note, print_table

if TYPE_CHECKING:
    from llmrec_peft.benchmark.check import Checked

_WRONG = 1
"""Exit code where something is wrong in a result."""


def check(
    file: Annotated[
        Path,
        typer.Argument(help="A results.json, the folder that holds it, or the JSON of one cell.", metavar="FILE"),
    ],
    as_json: parameters.Json = False,
) -> None:
    """Verify a result, your own or a contributed one.

    Its form, digests, marks and means are checked, and each figure that can be computed again from the predictions
    beside it. The exit code is 0 if nothing is wrong, 1 if something is, 2 for what is no result.

    Examples:
      llmrec bench check runs/methods
      llmrec bench check contributed/results.json --json
    """
    from llmrec_peft.benchmark.check import check as check_result

    found = check_result(file)
    if as_json:
        print_json({**asdict(found), "file": str(found.file)})
    else:
        _print(found)
    if found.wrong:
        raise typer.Exit(_WRONG)


def _print(found: Checked) -> None:
    """Print means and marks, what is wrong, and what was not checked."""
    rows = [
        [
            _titled(one["axes"]) + (f" {NO_BETTER}" if one["beats_best_baseline"] is False else ""),
            str(one["runs"]),
            one["metric"],
            *(_spread(one[part]) for part in ("valid", "test", "best_baseline_test")),
        ]
        for one in found.totals
    ]
    columns = ["row", "runs", "metric", "valid", "test", "best baseline"]
    print_table("computed from the rows", columns, rows, (1, 3, 4, 5))
    for line in found.wrong:
        print_line(f"wrong: {line}")
    for line in found.notes:
        print_note(line)
    print_line(f"{found.file}: {_verdict(found)}")


def _verdict(found: Checked) -> str:
    """Return what a check comes to, in words."""
    if found.wrong:
        return f"{len(found.wrong)} {'thing is' if len(found.wrong) == 1 else 'things are'} wrong"
    figures = (
        f"the figures of {found.recomputed} of {found.measured} cells follow from their predictions"
        if found.recomputed
        else "figures are taken on trust, since no predictions lie beside them"
    )
    return f"nothing is wrong; {found.measured} of {found.cells} cells are measured, and {figures}"


def _titled(axes: dict[str, Any]) -> str:
    from llmrec_peft.benchmark.cells import titled

    return titled(axes)


def _spread(figures: dict[str, float | None] | None) -> str:
    if figures is None:
        return "–"
    spread = figures["spread"]
    return f"{figures['mean']:.4f}" + ("" if spread is None else f" ± {spread:.4f}")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("check", cls=Command)(check)

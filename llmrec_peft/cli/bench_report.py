"""`llmrec bench report`: the tables and pages of results that were measured earlier."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmrec_peft.cli import parameters
from llmrec_peft.cli.command import Command
from llmrec_peft.cli.output import print_json, print_line


def report(
    results: Annotated[
        Path, typer.Argument(help="The results.json of a benchmark, or the folder that holds it.", metavar="RESULTS")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Folder to write into.", show_default="where the results lie"),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="DIR", help="Also draw PNG pictures into this folder; needs matplotlib."),
    ] = None,
    as_json: parameters.Json = False,
) -> None:
    """Write the report of earlier results; nothing is measured.

    It writes report.html and report.md, and results.csv and results.parquet with a line for each cell. With --plot also
    gains.png (each method's gain over the best baseline, with its interval) and costs.png (accuracy against trained
    parameters, memory and latency).

    Examples:
      llmrec bench report runs/methods --plot runs/methods
      llmrec bench report benchmarks/results/methods.json --out runs/methods-report
    """
    from llmrec_peft.benchmark.report import file_of, rewrite_report

    written = rewrite_report(results, file_of(results).parent if out is None else out, plot)
    if as_json:
        print_json([str(path) for path in written])
    else:
        print_line(", ".join(str(path) for path in written))


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("report", cls=Command)(report)

"""`llmrec evaluate`: repeat a run's figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmrec_peft.cli.output import print_json, print_table


def evaluate(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    data: Annotated[str | None, typer.Option("--data", help="Data folder, if it has moved.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
) -> None:
    """Score the run's test part again and hold the figures against the stored ones.

    Exit code 1 when they differ by more than 1e-4.
    """
    from llmrec_peft.workflows.evaluate import evaluate as evaluate_run

    report = evaluate_run(run, data)
    if as_json:
        print_json(report)
    else:
        for head, told in {"": report, **report.get("heads", {})}.items():
            rows = [
                [name, f"{value:.6f}", f"{told['stored'].get(name, float('nan')):.6f}"]
                for name, value in told["test"]["after"].items()
            ]
            title = f"{run}: test part, head {head}" if head else f"{run}: test part"
            print_table(title, ["metric", "now", "stored"], rows, (1, 2))
        typer.echo(
            "the stored figures are repeated" if report["repeats"] else "the figures differ from the stored ones"
        )
    raise typer.Exit(0 if report["repeats"] else 1)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("evaluate")(evaluate)

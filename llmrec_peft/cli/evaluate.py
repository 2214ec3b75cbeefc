"""`llmrec evaluate`: compute a run's metrics again."""

from __future__ import annotations

import typer

from llmrec_peft.cli import parameters
from llmrec_peft.cli.command import COMPARE, Command
from llmrec_peft.cli.output import print_json, print_line, print_table


def evaluate(
    run: parameters.Run,
    data: parameters.MovedData = None,
    as_json: parameters.Json = False,
) -> None:
    """Score the run's test part again and compare the metrics with the stored ones.

    Exit code 1 when they differ by more than 1e-4.

    Examples:
      llmrec evaluate runs/movies-seed1
      llmrec evaluate runs/movies-seed1 --data data/ml-100k --json
    """
    from llmrec_peft.workflows.evaluate import evaluate as evaluate_run

    report = evaluate_run(run, data)
    if as_json:
        print_json(report)
    else:
        for head, figures in {"": report, **report.get("heads", {})}.items():
            rows = [
                [name, f"{value:.6f}", f"{figures['stored'].get(name, float('nan')):.6f}"]
                for name, value in figures["test"]["after"].items()
            ]
            title = f"{run}: test part, head {head}" if head else f"{run}: test part"
            print_table(title, ["metric", "now", "stored"], rows, (1, 2))
        print_line("the metrics are as stored" if report["repeats"] else "the metrics differ from the stored ones")
    raise typer.Exit(0 if report["repeats"] else 1)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("evaluate", cls=Command, rich_help_panel=COMPARE)(evaluate)

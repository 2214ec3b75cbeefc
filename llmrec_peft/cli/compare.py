"""`llmrec compare`: is one group of runs better than another, or than its own baseline?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from llmrec_peft.cli.output import print_json, print_table

_AGAINST = "--against"


class _TwoGroups(TyperCommand):
    """Lets ``--against`` take everything up to the next option, as one types two groups of folders."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat ``--against`` before each of its values."""
        spread, inside = [], False
        for argument in args:
            if argument == _AGAINST:
                inside = True
            elif argument.startswith("-"):
                inside = False
                spread.append(argument)
            else:
                spread += [_AGAINST, argument] if inside else [argument]
        return super().parse_args(ctx, spread)


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run folders of one recipe, one a seed.", metavar="RUN...")],
    against: Annotated[
        list[str] | None,
        typer.Option(
            _AGAINST,
            help="Run folders of another recipe, or baseline:NAME for a model of the runs themselves"
            " (baseline:line is the trivial line).",
            metavar="RUN...",
        ),
    ] = None,
    metric: Annotated[str | None, typer.Option("--metric", help="Metric; the head's primary one by default.")] = None,
    model: Annotated[str, typer.Option("--model", help="Which model of each run, such as blend.")] = "after",
    head: Annotated[str | None, typer.Option("--head", help="Which head, where the runs have several.")] = None,
    resamples: Annotated[int, typer.Option("--resamples", min=100, max=100_000, help="Bootstrap resamples.")] = 2000,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
) -> None:
    """Compare two groups of runs on the same test examples: intervals over users, items and seeds, in plain words.

    Examples:
      llmrec compare lora-1 lora-2 lora-3 --against dora-1 dora-2 dora-3
      llmrec compare lora-1 lora-2 lora-3 --against baseline:line --metric auc
    """
    from llmrec_peft.workflows.compare import compare as compare_runs

    report = compare_runs(runs, against or [], metric, model, head, resamples)
    if as_json:
        print_json(report)
        return
    _print(report)


def _print(report: dict[str, Any]) -> None:
    rows = []
    for name in ("first", "second"):
        side = report[name]
        spread = "unknown" if side["spread"] is None else f"{side['spread']:.4f}"
        folders = ", ".join(Path(run).name for run in side["runs"])
        rows.append([name, side["model"], str(len(side["runs"])), f"{side['mean']:.4f}", spread, folders])
    better = "lower" if report["lower_is_better"] else "higher"
    title = f"{report['metric']} of {report['examples']} test examples, {better} is better"
    print_table(title, ["group", "model", "runs", "mean", "spread over seeds", "folders"], rows, (2, 3, 4))
    body = [
        [unit.replace("_", " "), str(found["clusters"]), f"{found['low']:+.4f}", f"{found['high']:+.4f}"]
        for unit, found in report["intervals"].items()
    ]
    shown = f"first less second: {report['difference']:+.4f}, 95 % intervals"
    print_table(shown, ["resampled", "units", "low", "high"], body, (1, 2, 3))
    for line in (*report["notes"], report["told"]):
        typer.echo(line)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("compare", cls=_TwoGroups)(compare)

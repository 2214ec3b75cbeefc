"""`llmrec compare`: is one group of runs better than another, or than its own baseline?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from llmrec_peft.artifact.figures import marked, no_better_than, spelled
from llmrec_peft.cli import parameters
from llmrec_peft.cli.command import COMPARE, Command
from llmrec_peft.cli.output import print_json, print_line, print_table

_AGAINST = "--against"


_BEST = "baseline:best"


class _TwoGroups(Command):
    """A command whose ``--against`` takes every folder up to the next option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat ``--against`` before each of its values."""
        repeated, inside = [], False
        for argument in args:
            if argument == _AGAINST:
                inside = True
            elif argument.startswith("-"):
                inside = False
                repeated.append(argument)
            else:
                repeated += [_AGAINST, argument] if inside else [argument]
        return super().parse_args(ctx, repeated)


def compare(
    runs: Annotated[
        list[Path], typer.Argument(help="First group: run folders of one recipe, one a seed.", metavar="RUN")
    ],
    against: Annotated[
        list[str] | None,
        typer.Option(
            _AGAINST,
            help="Second group: run folders of another recipe, or baseline:NAME for another model of the first"
            f" group's runs, such as baseline:before; {_BEST} is the best baseline. Required.",
            metavar="RUN...",
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option("--metric", metavar="NAME", help="Metric to compare.", show_default="the head's primary metric"),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            "--model", metavar="NAME", help="Model of each run: after, recommended, blend, before or an ablation."
        ),
    ] = "after",
    head: Annotated[
        str | None,
        typer.Option(
            "--head", metavar="NAME", help="Head, where the runs have several.", show_default="the primary head"
        ),
    ] = None,
    resamples: Annotated[
        int, typer.Option("--resamples", metavar="N", min=100, max=100_000, help="Bootstrap resamples.")
    ] = 2000,
    as_json: parameters.Json = False,
) -> None:
    """Compare two groups of runs on the same test examples.

    Says whether one is significantly better (paired bootstrap, 95 %): users, items and seeds are resampled, and a
    difference counts where no interval contains zero.

    Examples:
      llmrec compare lora-1 lora-2 lora-3 --against dora-1 dora-2 dora-3
      llmrec compare lora-1 lora-2 lora-3 --against baseline:best --metric auc
    """
    from llmrec_peft.workflows.compare import compare as compare_runs

    report = compare_runs(runs, against or [], metric, model, head, resamples)
    if as_json:
        print_json(report)
    else:
        _print(report, against == [_BEST])


def _print(report: dict[str, Any], best_baseline: bool) -> None:
    """Print both groups, the intervals of their difference, and the conclusion."""
    first, second = report["first"], report["second"]
    no_better = best_baseline and (report["difference"] >= 0.0) == report["lower_is_better"]
    rows = []
    for name, side in (("first", first), ("second", second)):
        model = marked(spelled(side["model"]), no_better and side is first)
        spread = "unknown" if side["spread"] is None else f"{side['spread']:.4f}"
        folders = ", ".join(Path(run).name for run in side["runs"])
        rows.append([name, model, str(len(side["runs"])), f"{side['mean']:.4f}", spread, folders])
    better = "lower" if report["lower_is_better"] else "higher"
    title = f"{report['metric']} of {report['examples']} test examples, {better} is better"
    print_table(title, ["group", "model", "runs", "mean", "spread over seeds", "folders"], rows, (2, 3, 4))
    if no_better:
        print_line(no_better_than(f"{spelled(second['model'])} ({report['metric']} {second['mean']:.4f})"))
    intervals = [
        [
            spelled(unit.removeprefix("by_")),
            str(interval["clusters"]),
            f"{interval['low']:+.4f}",
            f"{interval['high']:+.4f}",
        ]
        for unit, interval in report["intervals"].items()
    ]
    title = f"first minus second: {report['difference']:+.4f}; 95 % intervals of the paired bootstrap"
    print_table(title, ["resampled", "units", "low", "high"], intervals, (1, 2, 3))
    for line in (*report["notes"], report["conclusion"]):
        print_line(line)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("compare", cls=_TwoGroups, rich_help_panel=COMPARE)(compare)

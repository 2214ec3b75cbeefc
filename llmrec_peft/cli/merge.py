"""`llmrec merge`: the adapters of several runs become one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from llmrec_peft.artifact.figures import figure_rows
from llmrec_peft.cli import parameters
from llmrec_peft.cli.command import TRAIN, Command
from llmrec_peft.cli.output import print_json, print_line, print_table
from llmrec_peft.errors import InputError
from llmrec_peft.evaluation.intervals import no_difference, wider

_METRICS = 3


def merge(
    runs: Annotated[
        list[Path], typer.Argument(help="Runs on one base with adapters of one low-rank method.", metavar="RUN RUN …")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the merged run.")],
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            metavar="W,W,…",
            help="Weight of each run's adapter.",
            show_default="1/n each for linear and dare-linear, 1 each for ties and dare-ties",
        ),
    ] = None,
    how: Annotated[
        str,
        typer.Option(
            "--how",
            metavar="HOW",
            help="Way to combine. linear: the weighted sum; ties: small numbers are trimmed, and each number is the"
            " mean of those with the sign that wins; dare-linear, dare-ties: numbers are dropped at random and the"
            " rest scaled up first.",
        ),
    ] = "linear",
    density: Annotated[
        float, typer.Option("--density", metavar="D", help="Share of the numbers that ties and dare keep.")
    ] = 0.5,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Seed of what dare drops.")] = 1,
    rank: Annotated[
        int | None,
        typer.Option(
            "--rank",
            metavar="R",
            help="Rank of the merged adapter; with fewer than all, the best approximation.",
            show_default="the sum of the runs' ranks, with which linear is exact",
        ),
    ] = None,
    data: parameters.MovedData = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run that exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print metrics.json on stdout.")] = False,
    quiet: parameters.Quiet = False,
) -> None:
    """Combine the adapters of runs into one run, without training.

    Head, signals, users and items are those of the FIRST run; only its adapter is replaced, and its texts are encoded
    anew. If its data are there, the test part is scored with the merged adapter and with each run's own. Weights
    that are chosen by these figures make them too good.

    Examples:
      llmrec merge runs/books runs/films --out runs/both
      llmrec merge runs/books runs/films --weights 0.7,0.3 --out runs/both
      llmrec merge runs/a runs/b runs/c --how ties --density 0.3 --out runs/abc
    """
    from llmrec_peft.workflows.merge import MergeAsked
    from llmrec_peft.workflows.merge import merge as merge_runs

    asked = MergeAsked(_numbers(weights), how, density, seed, rank, data, overwrite, not quiet)
    metrics = merge_runs(runs, out, asked)
    if as_json:
        print_json(metrics)
    else:
        _print(metrics, runs, out)


def _numbers(weights: str | None) -> tuple[float, ...] | None:
    """Return weights as numbers.

    Raises:
        InputError: For what is none.
    """
    if weights is None:
        return None
    try:
        return tuple(float(one) for one in weights.split(","))
    except ValueError:
        raise InputError(f"--weights {weights[:60]!r}: give one number a run, with commas between them") from None


def _print(metrics: Mapping[str, Any], runs: Sequence[Path], out: Path) -> None:
    """Print the test figures with each adapter, and what was written."""
    told = metrics["merge"]
    names = {"before": f"{runs[0]}: its own adapter", "after": "the merged adapter"}
    names |= {f"adapter_of_run_{number}": f"the adapter of {run}" for number, run in enumerate(runs[1:], start=2)}
    for head, report in {metrics["head"]: metrics, **metrics.get("heads", {})}.items():
        after, primary = report["test"]["after"], report["primary_metric"]
        if not after:
            print_line("no figures: the data of the first run are not there")
            break
        shown = [primary, *(name for name in after if name != primary)][:_METRICS]
        rows = [
            [
                names.get(row.key, row.key),
                *(f"{row.test[name]:.4f}" for name in shown),
                _interval(report.get("comparisons", {}).get(f"after_minus_{row.key}", {})),
            ]
            for row in figure_rows(report)
        ]
        title = f"head {head} of {runs[0]} on its test part"
        print_table(title, ["adapter", *shown, f"{primary}: merged minus it"], rows, range(1, len(shown) + 2))
    weights = ", ".join(f"{weight:g}" for weight in told["weights"])
    print_line(f"{told['how']} of {len(runs)} adapters with weights {weights}; rank {told['rank']}")
    print_line(f"run folder: {out}")


def _interval(intervals: Mapping[str, Mapping[str, float]]) -> str:
    if not intervals:
        return "–"
    one = intervals[wider(intervals)]
    mark = " =" if no_difference(intervals) else ""
    return f"{one['difference']:+.4f} [{one['low']:+.4f}, {one['high']:+.4f}]{mark}"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("merge", cls=Command, rich_help_panel=TRAIN)(merge)

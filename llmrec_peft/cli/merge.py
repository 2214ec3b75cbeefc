"""`llmrec merge`: one run's adapter goes into its base's weights, or the adapters of several runs become one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from llmrec_peft.artifact.figures import figure_rows
from llmrec_peft.artifact.manifest import MERGED_BASE
from llmrec_peft.cli import parameters
from llmrec_peft.cli.command import TRAIN, Command
from llmrec_peft.cli.output import print_json, print_line, print_table
from llmrec_peft.errors import InputError
from llmrec_peft.evaluation.intervals import no_difference, wider

LINEAR = "linear"
_METRICS = 3


def merge(
    runs: Annotated[
        list[Path],
        typer.Argument(help="One run, or several on one base with adapters of one low-rank method.", metavar="RUN …"),
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
    ] = LINEAR,
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
    precision: Annotated[
        parameters.Precision | None,
        typer.Option(
            "--precision",
            help="One run: number format of the merged weights.",
            show_default="the one that the run computes in",
        ),
    ] = None,
    data: parameters.MovedData = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run that exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print metrics.json on stdout.")] = False,
    quiet: parameters.Quiet = False,
) -> None:
    """Merge one run's adapter into its base, or the adapters of several runs into one. Nothing is trained.

    ONE run: its adapter is folded into the language model's weights, which are dequantized first. DIR/base is the
    merged model, a plain folder for any library, and DIR the run that reads it, without an adapter. What that changes
    is measured: vectors of all items, scores, best items.

    SEVERAL runs: head, signals, users and items are those of the FIRST run; only its adapter is replaced, and its texts
    are encoded anew. Weights that are chosen by the figures make them too good.

    If the (first) run's data are there, the test part is scored before and after.

    Examples:
      llmrec merge runs/films --out runs/films-merged
      llmrec merge runs/books runs/films --out runs/both
      llmrec merge runs/books runs/films --weights 0.7,0.3 --out runs/both
      llmrec merge runs/a runs/b runs/c --how ties --density 0.3 --out runs/abc
    """
    if len(runs) == 1:
        _require_none(
            {"--weights": weights is not None, "--how": how != LINEAR, "--rank": rank is not None},
            "is for several runs: one run's adapter is merged into its base",
        )
        metrics = _into_base(runs[0], out, precision, data, overwrite, not quiet)
    else:
        _require_none({"--precision": precision is not None}, "is for one run: adapters of several are merged in fp32")
        from llmrec_peft.workflows.merge import MergeAsked
        from llmrec_peft.workflows.merge import merge as merge_runs

        asked = MergeAsked(_numbers(weights), how, density, seed, rank, data, overwrite, not quiet)
        metrics = merge_runs(runs, out, asked)
    if as_json:
        print_json(metrics)
    else:
        _print(metrics, runs, out)


def _into_base(
    run: Path, out: Path, precision: parameters.Precision | None, data: str | None, overwrite: bool, show: bool
) -> dict[str, Any]:
    from llmrec_peft.workflows.merge_into_base import IntoBase, merge_into_base

    return merge_into_base(run, out, IntoBase(None if precision is None else precision.value, data, overwrite, show))


def _require_none(given: Mapping[str, bool], said: str) -> None:
    """Refuse the first option that was given.

    Raises:
        InputError: Naming it.
    """
    for option, is_given in given.items():
        if is_given:
            raise InputError(f"{option} {said}")


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
    if "change" in metrics:
        from llmrec_peft.workflows.merge_into_base import change_rows

        print_table("what merging changed", ["change", "value"], change_rows(metrics["change"]), [1])
        print_line(f"merged language model: {out / MERGED_BASE}")
    else:
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

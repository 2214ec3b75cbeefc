"""`llmrec parity`: does a run score the same when it is served in another precision?"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer

from llmrec_peft.cli import parameters
from llmrec_peft.cli.command import COMPARE, Command
from llmrec_peft.cli.output import print_json, print_line, print_table


class Quantization(StrEnum):
    """Quantization of the serving base."""

    none = "none"
    int8 = "int8"
    nf4 = "nf4"


_AS_TRAINED = "as in training"


def parity(
    run: parameters.Run,
    quantization: Annotated[
        Quantization | None, typer.Option(help="Quantization of the serving base.", show_default=_AS_TRAINED)
    ] = None,
    precision: Annotated[
        parameters.Precision | None, typer.Option(help="Number format of the serving base.", show_default=_AS_TRAINED)
    ] = None,
    data: parameters.MovedData = None,
    tolerance: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            min=0.0,
            help="Largest mean change of a score, as a share of the label range (rankings: of the scores' spread).",
        ),
    ] = 0.01,
    metric_tolerance: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            min=0.0,
            help="Largest worsening of the primary metric on validation, as a share of its value.",
        ),
    ] = 0.005,
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Number of items whose texts are encoded.", show_default="all of them"),
    ] = None,
    as_json: parameters.Json = False,
) -> None:
    """Measure the drift between training precision and serving precision.

    Exit code 1 when it is beyond the tolerance. `llmrec merge RUN` folds the adapter into the weights, and says what
    that changes.

    Examples:
      llmrec parity runs/movies-seed1 --quantization int8
      llmrec parity runs/movies-seed1 --precision fp32
    """
    from llmrec_peft.workflows.parity import Serving, Tolerance
    from llmrec_peft.workflows.parity import parity as measure

    serving = Serving(quantization and quantization.value, precision and precision.value)
    report = measure(run, serving, Tolerance(tolerance, metric_tolerance), data, limit)
    if as_json:
        print_json(report)
    else:
        _print(f"{run}: {report['texts']} texts, {report['pairs']['number']} pairs ({report['pairs']['from']})", report)
    raise typer.Exit(0 if report["within"] else 1)


def _print(title: str, report: Mapping[str, Any]) -> None:
    """Print the drift of each base, and whether all are within the tolerance."""
    columns = ["base", "weights, computed in", "cosine distance", "mean |Δ score|", "95 %", "max", "top 10 kept"]
    if report["metric"]:
        columns += [f"valid {report['metric']}", "worse by"]
    rows = [_row(name, base) for name, base in report["ways"].items()]
    print_table(title, [*columns, "within"], rows, range(2, len(columns)))
    print_line(
        "scores of the serving base are those of training, within the tolerance"
        if report["within"]
        else "beyond the tolerance: serve as it was trained"
    )


def _row(name: str, base: Mapping[str, Any]) -> list[str]:
    scores, metric = base["scores"], base["metric"]
    cells = [
        name,
        f"{base['quantization']}, {base['compute']}",
        f"{base['vectors']['cosine_distance_max']:.1e}",
        *(f"{scores[part]:.4f}" for part in ("mean", "p95", "max")),
        f"{base['top_10_kept']:.3f}",
    ]
    if metric is not None:
        cells += [f"{metric['value']:.4f}", f"{metric['worsening']:+.2%}"]
    return [*cells, "yes" if base["within"] else "no"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("parity", cls=Command, rich_help_panel=COMPARE)(parity)

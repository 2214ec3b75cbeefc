"""`llmrec parity`: whether what is served is what was trained."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from llmrec_peft.cli.output import print_json, print_table


class Quantization(StrEnum):
    """How the serving base is held."""

    none = "none"
    int8 = "int8"
    nf4 = "nf4"


class Precision(StrEnum):
    """How the serving base computes."""

    fp32 = "fp32"
    bf16 = "bf16"


def parity(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    quantization: Annotated[Quantization | None, typer.Option(help="Serving base's quantization.")] = None,
    precision: Annotated[Precision | None, typer.Option(help="Serving base's number format.")] = None,
    merge: Annotated[bool, typer.Option("--merge", help="Also fold the adapter into the weights.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for the merged model, written if it passes.")] = None,
    data: Annotated[str | None, typer.Option("--data", help="Data folder, if it has moved.")] = None,
    tolerance: Annotated[
        float,
        typer.Option(
            min=0.0,
            help="Largest mean change of a score, as a share of the label range (rankings: of the scores' spread).",
        ),
    ] = 0.01,
    metric_tolerance: Annotated[
        float, typer.Option(min=0.0, help="Largest relative worsening of the primary metric on validation.")
    ] = 0.005,
    limit: Annotated[int | None, typer.Option(min=1, help="Encode so many items' texts only.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
) -> None:
    """Measure the drift between training precision, serving precision and merged weights.

    Exit code 1 when any of them is beyond the tolerance.
    """
    from llmrec_peft.workflows.parity import Serving, Tolerance
    from llmrec_peft.workflows.parity import parity as measure

    serving = Serving(quantization and quantization.value, precision and precision.value, merge, out)
    report = measure(run, serving, Tolerance(tolerance, metric_tolerance), data, limit)
    if as_json:
        print_json(report)
    else:
        rows = [_row(name, way) for name, way in report["ways"].items()]
        metric = report["metric"]
        columns = ["base", "held", "cosine distance", "mean |Δ score|", "95 %", "max", "top 10 kept"]
        print_table(
            f"{run}: {report['texts']} texts, {report['pairs']['number']} pairs ({report['pairs']['from']})",
            [*columns, *([f"valid {metric}", "worse by"] if metric else []), "within"],
            rows,
            range(2, len(columns) + (2 if metric else 0)),
        )
        typer.echo(
            "what is served is what was trained, within the tolerance"
            if report["within"]
            else "beyond the tolerance: serve as it was trained"
        )
        if out is not None:
            typer.echo(f"merged model written to {out}")
    raise typer.Exit(0 if report["within"] else 1)


def _row(name: str, way: dict[str, object]) -> list[str]:
    vectors, scores, metric = way["vectors"], way["scores"], way["metric"]
    assert isinstance(vectors, dict) and isinstance(scores, dict)  # noqa: S101 - the report's own parts
    cells = [
        name,
        f"{way['quantization']}, {way['compute']}",
        f"{vectors['cosine_distance_max']:.1e}",
        *(f"{scores[part]:.4f}" for part in ("mean", "p95", "max")),
        f"{way['top_10_kept']:.3f}",
    ]
    if isinstance(metric, dict):
        cells += [f"{metric['value']:.4f}", f"{metric['worsening']:+.2%}"]
    return [*cells, "yes" if way["within"] else "no"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("parity")(parity)

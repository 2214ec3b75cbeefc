"""Arguments and options that several commands take."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer


class Unknown(StrEnum):
    """What becomes of a user or an item that the run does not know."""

    refuse = "refuse"
    popular = "popular"
    skip = "skip"


class Precision(StrEnum):
    """Number format in which a model computes."""

    fp32 = "fp32"
    bf16 = "bf16"


class NamedRun(type(Path())):  # type: ignore[misc]
    """A run as it was typed: a folder, or a repository of the Hub, which is fetched when the command begins."""


Run = Annotated[
    Path,
    typer.Argument(
        help="Run folder, as llmrec train writes it, or OWNER/NAME of the Hub.", metavar="RUN", parser=NamedRun
    ),
]
_RECIPE, _RECIPES = "RECIPE|FILE.yaml", "Registered recipe (llmrec list recipes), or a YAML file"
Recipe = Annotated[str, typer.Argument(help=f"{_RECIPES}.", metavar=_RECIPE)]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="Data folder in its owner's layout, or 'demo' for made-up data.",
        show_default="the recipe's data.path",
    ),
]
MovedData = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="Data folder, if it has moved since training.",
        show_default="the folder that the run was trained on",
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="FIELD=VALUE",
        help="Override a field of the recipe, such as training.epochs=5; may be repeated.",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what exists.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print no notes and no progress bars.")]
NoBar = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress bar.")]
Ray = Annotated[
    bool,
    typer.Option(
        "--ray", help="Let workers of Ray share the work: of the cluster that RAY_ADDRESS names, or on this machine."
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        metavar="N",
        min=1,
        help="Workers of Ray; each loads the base model.",
        show_default="2, or as many as GPUs suffice for",
    ),
]
WorkerGpus = Annotated[
    float,
    typer.Option(
        "--worker-gpus", metavar="N", min=0.0, help="GPUs of each worker of Ray; 0.5 lets two workers share one."
    ),
]


def recipe_unless(option: str) -> Any:
    """Return the argument of a recipe that is not needed with an option."""
    return typer.Argument(help=f"{_RECIPES}; with {option} not needed.", metavar=_RECIPE, show_default=False)

"""`llmrec encode`: the texts of a recipe as vectors."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from llmrec_peft.backbone.remote_code import is_allowed
from llmrec_peft.cli import parameters
from llmrec_peft.cli.command import USE, Command
from llmrec_peft.cli.output import print_json, print_note
from llmrec_peft.errors import InputError
from llmrec_peft.recipe import load_recipe


class Numbers(StrEnum):
    """Type of a vector's numbers."""

    float32 = "float32"
    float16 = "float16"


def encode(
    recipe: Annotated[str | None, parameters.recipe_unless("--run")] = None,
    run: Annotated[
        Path | None,
        typer.Option("--run", metavar="RUN", help="Use a run's recipe, with its adapter in the base."),
    ] = None,
    data: parameters.Data = None,
    overrides: parameters.Overrides = None,
    target: Annotated[
        Path | None,
        typer.Option(
            "--output",
            metavar="FOLDER|FILE.parquet",
            help="What to write: one Parquet file, or a new folder with a file for each part.",
            show_default="NAME-vectors.parquet",
        ),
    ] = None,
    numbers: Annotated[
        Numbers,
        typer.Option("--numbers", metavar="TYPE", help="Numbers of a vector: float32, or float16 in half the space."),
    ] = Numbers.float32,
    ray: parameters.Ray = False,
    workers: parameters.Workers = None,
    gpus: parameters.WorkerGpus = 0.0,
    overwrite: parameters.Overwrite = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was encoded as JSON on stdout.")] = False,
    quiet: parameters.NoBar = False,
) -> None:
    """Encode all texts of a recipe into Parquet: id, view (item or user) and vector.

    The frozen base encodes them, or with --run the base with that run's adapter. The file says by which base. Texts are
    divided into parts: an interrupted command goes on where it stopped when it is given again, and with --ray several
    workers share the parts and give the same vectors, see docs/ray.md.

    Examples:
      llmrec encode movies --data data/ml-100k --output films.parquet
      llmrec encode --run runs/movies-seed1 --numbers float16
      llmrec encode shop.yaml --ray --workers 8 --output vectors
    """
    if (recipe is None) == (run is None):
        raise InputError("say what to encode: a recipe (llmrec list recipes), or a run with --run")
    if run is not None and overrides:
        raise InputError("--set changes a recipe; that of a run stays as it was trained")
    changes = {} if data is None else {"data.path": data}
    loaded = None if recipe is None else load_recipe(recipe, overrides or [], changes)

    from llmrec_peft.cluster.pool import Pool
    from llmrec_peft.workflows.encode import encode as encode_texts

    if target is None:
        name = loaded.name.replace(" ", "-") if loaded is not None else str(run and run.absolute().name)
        target = Path(f"{name}-vectors.parquet")
    pool = Pool(ray, workers, gpus, is_allowed())
    encoded = encode_texts(loaded, target, run, data, numbers.value, overwrite, pool, show=not quiet)
    if as_json:
        print_json(encoded.plain())
    told = " and ".join(f"{count} {view}s" for view, count in encoded.rows.items())
    print_note(f"vectors of {told}, {encoded.width} wide, in {target}")
    for view, count in encoded.cut.items():
        if count:
            print_note(f"{count} texts of {view}s are longer than the tokens that are read, and were cut")
    for line in encoded.notes:
        print_note(line)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("encode", cls=Command, rich_help_panel=USE)(encode)

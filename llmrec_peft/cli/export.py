"""`llmrec export`: a run's tuned text encoder as ONNX or as a sentence-transformers folder."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from llmrec_peft.cli import parameters
from llmrec_peft.cli.command import USE, Command
from llmrec_peft.cli.output import print_json, print_line


class Format(StrEnum):
    """Kind of files."""

    onnx = "onnx"
    safetensors = "safetensors"


def export(
    run: parameters.Run,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to write.")],
    kind: Annotated[
        Format,
        typer.Option(
            "--format",
            help="Kind of files. onnx: one graph from token ids to vectors, for encoders. safetensors: a folder for"
            " sentence-transformers, for methods that merge.",
        ),
    ],
    as_json: parameters.Json = False,
) -> None:
    """Write a run's tuned text encoder, for vectors of items' texts without this package.

    Tokenizer, pooling, scaling to length 1, prompt and longest length of items' texts come with it; head, signals and
    users do not. What was written is read again and compared with the run's model in fp32, and refused above 1e-4.

    Examples:
      llmrec export runs/movies-seed1 --format safetensors --out encoder
      llmrec export runs/movies-seed1 --format onnx --out encoder-onnx
    """
    from llmrec_peft.workflows.export import export as write

    about = write(run, out, "onnx" if kind is Format.onnx else "safetensors")
    if as_json:
        print_json(about)
        return
    check = about["check"]
    print_line(
        f"{check['texts']} texts: vectors differ by {check['largest_difference']:.1e} at most from the run's model in"
        " fp32"
    )
    if "stored_vectors" in check:
        stored = check["stored_vectors"]["cosine_distance_max"]
        print_line(f"cosine distance to the vectors that the run stores: {stored:.1e} at most")
    print_line(f"text encoder ({about['format']}): {out}")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export", cls=Command, rich_help_panel=USE)(export)

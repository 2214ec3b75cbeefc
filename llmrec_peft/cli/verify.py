"""`llmrec verify`: whether a run's files are those that the owner of a key has signed."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from llmrec_peft.cli import parameters
from llmrec_peft.cli.command import SHARE, Command
from llmrec_peft.cli.output import print_json, print_line
from llmrec_peft.printable import shown


def verify(
    run: parameters.Run,
    key: Annotated[Path, typer.Option("--key", metavar="FILE", help="Public key of the signer, PEM.")],
    as_json: parameters.Json = False,
) -> None:
    """Check that a run's files are those that the owner of a key has signed.

    A file that is changed, missing or added is refused, and so is a run that is not signed. Get the public key from
    the signer, not from the place where the run lies.

    Examples:
      llmrec verify runs/movies-seed1 --key key.pub
    """
    from llmrec_peft.artifact.signature import verify as verified

    found = verified(run, key)
    if as_json:
        print_json(asdict(found))
        return
    print_line(f"{shown(run)}: {len(found.files)} files are as the owner of key {found.key[:16]} signed them")
    if found.private:
        print_line(f"private files match the signed manifest: {', '.join(found.private)}")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("verify", cls=Command, rich_help_panel=SHARE)(verify)

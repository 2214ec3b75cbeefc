"""`llmrec pull`: a run of the Hugging Face Hub, verified and written as a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmrec_peft.cli import parameters
from llmrec_peft.cli.command import SHARE, Command
from llmrec_peft.cli.output import print_json, print_line, print_note


def pull(
    repository: Annotated[
        str,
        typer.Argument(help="Repository on the Hub, with a branch, tag or commit.", metavar="OWNER/NAME[@REVISION]"),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder to write.", show_default="a folder in the cache, which every command finds"
        ),
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit, in place of @REVISION.", show_default="main")
    ] = None,
    verify: Annotated[
        Path | None,
        typer.Option("--verify", metavar="KEY", help="Refuse a run that the owner of this public key has not signed."),
    ] = None,
    overwrite: parameters.Overwrite = False,
    as_json: parameters.Json = False,
) -> None:
    """Pull a run of the Hugging Face Hub and verify it.

    Only the files of a run are loaded, and each has to have the digest that the run's manifest says.

    Every command that takes a RUN takes OWNER/NAME too, and pulls it. A branch is resolved to its commit first, and
    hub.json in the folder names it. Private repositories take the token of `hf auth login` or of HF_TOKEN.

    Examples:
      llmrec pull ann/films --out runs/films
      llmrec pull ann/films@v1.0 --out runs/films-1.0
      llmrec pull ann/films --out runs/films --verify key.pub
      llmrec pull ann/films
    """
    from llmrec_peft.artifact.fetched import fetch, fetched_once
    from llmrec_peft.artifact.hub_name import HubName
    from llmrec_peft.artifact.signature import signed_by

    name = HubName.parse(repository, revision)
    check = None if verify is None else signed_by(verify)
    found = fetched_once(name, check) if out is None else fetch(name, out, overwrite, check)
    for line in found.notes:
        print_note(line)
    told = {
        "run": str(found.folder),
        "repository": found.name.repository,
        "commit": found.name.revision,
        "digest": found.manifest.digest,
        "notes": found.notes,
    }
    if as_json:
        print_json(told)
        return
    print_line(f"{found.folder}: {found.name}, run {found.manifest.digest[:12]}")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("pull", cls=Command, rich_help_panel=SHARE)(pull)

"""`llmrec push`: a run published on the Hugging Face Hub."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmrec_peft.cli import parameters
from llmrec_peft.cli.command import SHARE, Command
from llmrec_peft.cli.output import print_json, print_line, print_table, print_text
from llmrec_peft.cli.sign import ask_for_password
from llmrec_peft.errors import InputError
from llmrec_peft.progress import Progress

if TYPE_CHECKING:
    from llmrec_peft.hub.signing import Signer


def push(
    run: parameters.Run,
    repository: Annotated[str, typer.Argument(help="Repository on the Hub.", metavar="OWNER/NAME")],
    private: Annotated[
        bool, typer.Option("--private", help="Make the repository private; refuse one that is public.")
    ] = False,
    include_users: Annotated[
        bool,
        typer.Option(
            "--include-users", help="Publish ids and tables of users too, after a question; never their interactions."
        ),
    ] = False,
    include_items: Annotated[
        bool | None,
        typer.Option(
            "--include-items/--no-include-items",
            help="Publish titles, texts and columns of items, or their ids and vectors alone.",
            show_default="items are published whose data everybody can have",
        ),
    ] = None,
    sign: Annotated[
        Path | None,
        typer.Option("--sign", metavar="KEY", help="Sign what is uploaded with this private key, as llmrec sign does."),
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option(
            "--licence",
            metavar="ID",
            help="Licence of what is published, by the Hub's identifier.",
            show_default="what follows from the base model and the data",
        ),
    ] = None,
    revision: Annotated[
        str | None, typer.Option(metavar="BRANCH", help="Branch to push to.", show_default="main")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be uploaded, and what left out; send nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing.")] = False,
    as_json: parameters.Json = False,
    quiet: parameters.Quiet = False,
) -> None:
    """Publish a run on the Hugging Face Hub, load it again and compare it with the run.

    Users are private: their ids, their rows in tables and what they have seen are left out, and the run answers every
    user as a new one. Interactions are never published. The token is that of `hf auth login` or of HF_TOKEN.

    Examples:
      llmrec push runs/movies-seed1 ann/films --dry-run
      llmrec push runs/movies-seed1 ann/films --private
      llmrec push runs/movies-seed1 ann/films --sign key.pem
    """
    from llmrec_peft.artifact.hub_name import HubName
    from llmrec_peft.hub.push import Choice
    from llmrec_peft.hub.push import dry_run as tried
    from llmrec_peft.hub.push import push as pushed

    name = HubName.parse(repository, revision)
    signer = None if sign is None else _signer(sign)
    choice = Choice(users=include_users, items=include_items, private=private, licence=licence)
    choice = choice if signer is None else choice.signed_by(signer)
    if dry_run:
        told = tried(run, name, choice)
        print_json(told) if as_json else _print(told)
        return
    if include_users and not yes:
        _ask(name.repository)
    told = pushed(run, name, choice, Progress(not quiet and not as_json))
    if as_json:
        print_json(told)
        return
    print_line(f"{told['url']} at {told['commit']}: {len(told['files'])} files, {told['bytes']:,} bytes")


def _signer(key: Path) -> Signer:
    """Return a key that can sign, before anything is made that it signs.

    Raises:
        InputError: If it cannot.
    """
    from llmrec_peft.hub.signing import Signer

    return Signer.of(key, ask_for_password if sys.stdin.isatty() else None)


def _ask(repository: str) -> None:
    """Ask whether users are to be published.

    Raises:
        InputError: If nobody can be asked.
    """
    question = f"Publish the ids and tables of all users in {repository}? Others can copy them at once, for good."
    if not sys.stdin.isatty():
        raise InputError(f"--include-users: {question} Say so with --yes, since there is nobody to ask here")
    typer.confirm(question, abort=True, err=True)


def _print(told: dict[str, Any]) -> None:
    """Print what would be uploaded, what is left out, and the card."""
    rows = [[file, f"{size:,}"] for file, size in told["files"].items()]
    print_table(f"{told['repository']}: {told['bytes']:,} bytes", ["file", "bytes"], rows, (1,))
    for line in told["left_out"]:
        print_line(f"left out: {line}")
    print_line(f"the same as in the run: {told['same']}")
    print_text(f"\n{told['card']}")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("push", cls=Command, rich_help_panel=SHARE)(push)

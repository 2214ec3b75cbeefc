"""`llmrec sign`: a signature over what is published of a run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from llmrec_peft.cli import parameters
from llmrec_peft.cli.command import SHARE, Command
from llmrec_peft.cli.output import print_json, print_line
from llmrec_peft.printable import shown


def ask_for_password() -> str:
    """Ask for the password of a key on the terminal, without showing what is typed."""
    answer: str = typer.prompt("password of the key", hide_input=True, err=True)
    return answer


def sign(
    run: Annotated[Path, typer.Argument(help="Run folder, as llmrec train writes it.", metavar="RUN")],
    key: Annotated[
        Path, typer.Option("--key", metavar="FILE", help="Private key: elliptic curve (P-256, P-384, P-521), PEM.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="File of the signature.", show_default="model.sig in RUN"),
    ] = None,
    as_json: parameters.Json = False,
) -> None:
    """Sign what is published of a run, so that others can tell that its files are yours.

    The signature is a Sigstore bundle over the SHA-256 of every file that is published, the model card included. It is
    made on this machine, without network. The password of an encrypted key is taken from LLMREC_KEY_PASSWORD, or asked
    for. A key pair is made by `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem` and
    `openssl pkey -in key.pem -pubout -out key.pub`.

    Examples:
      llmrec sign runs/movies-seed1 --key key.pem
      llmrec sign runs/movies-seed1 --key key.pem --out movies.sig
    """
    from llmrec_peft.artifact.manifest import SIGNATURE
    from llmrec_peft.hub.signing import sign as signed

    target = run / SIGNATURE if out is None else out
    names = signed(run, key, target, ask_for_password if sys.stdin.isatty() else None)
    if as_json:
        print_json({"signature": str(target), "files": list(names)})
    else:
        print_line(f"{shown(target)}: signs {len(names)} files")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("sign", cls=Command, rich_help_panel=SHARE)(sign)

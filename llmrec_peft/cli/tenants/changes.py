"""`llmrec tenants add`, `weight`, `rollback`, `pin`, `reload` and `rm`: changes of what answers a tenant's users."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmrec_peft.cli import parameters, server
from llmrec_peft.cli.output import print_note
from llmrec_peft.cli.tenants.look import print_tenant
from llmrec_peft.regular_files import is_folder

KeepItems = Annotated[
    bool, typer.Option("--keep-items/--drop-items", help="Whether items that were added since training stay.")
]


def add(
    name: server.Name,
    run: Annotated[
        Path, typer.Argument(help="Run folder as the server sees it, below one of its roots.", metavar="RUN")
    ],
    share: Annotated[
        float,
        typer.Option("--share", metavar="S", min=0.0, max=1.0, help="Below 1 the run is on trial for that share."),
    ] = 1.0,
    digest: Annotated[
        str | None, typer.Option("--digest", metavar="HEX", help="Digest that the run must have.", show_default=False)
    ] = None,
    queue_weight: Annotated[
        float | None,
        typer.Option(
            "--queue-weight",
            metavar="W",
            help="The tenant's part of the machine, beside others' 1.",
            show_default="1 for a new tenant",
        ),
    ] = None,
    keep_items: KeepItems = True,
    url: server.Url = server.URL,
    key_file: server.KeyFile = None,
    as_json: parameters.Json = False,
) -> None:
    """Register a run as a new tenant, or let it follow the tenant's present run.

    The server copies the run and checks it before it answers; a run that is refused changes nothing. A folder that
    exists here is named to the server by its whole path, another one as it is written.

    Examples:
      llmrec tenants add films runs/films
      llmrec tenants add films runs/films-u1 --share 0.05
      llmrec tenants add films /srv/runs/films-u1 --queue-weight 2
    """
    named = run.absolute() if is_folder(run) else run
    with server.client_of(url, key_file) as client:
        print_tenant(client.put_tenant(name, str(named), digest, share, keep_items, queue_weight), as_json)


def weight(
    name: server.Name,
    version: Annotated[str, typer.Argument(help="Digest of the version on trial.", metavar="VERSION")],
    share: Annotated[float, typer.Argument(help="Share of the users; with 1 it becomes the one that answers.")],
    url: server.Url = server.URL,
    key_file: server.KeyFile = None,
    as_json: parameters.Json = False,
) -> None:
    """Let the version on trial answer another share of the users.

    The digest may be cut to its first digits.

    Examples:
      llmrec tenants weight films 4f0c2a91d6b7 0.25
      llmrec tenants weight films 4f0c2a91d6b7 1
    """
    with server.client_of(url, key_file) as client:
        trial = client.tenant(name).trial
        whole = trial.version if trial is not None and version and trial.version.startswith(version) else version
        print_tenant(client.weight(name, whole, share), as_json)


def rollback(
    name: server.Name,
    keep_items: KeepItems = True,
    url: server.Url = server.URL,
    key_file: server.KeyFile = None,
    as_json: parameters.Json = False,
) -> None:
    """End the trial of a version, or bring the former version back where there is no trial.

    Examples:
      llmrec tenants rollback films
    """
    with server.client_of(url, key_file) as client:
        print_tenant(client.rollback(name, keep_items), as_json)


def pin(
    name: server.Name,
    off: Annotated[bool, typer.Option("--off", help="Let them leave memory again.")] = False,
    url: server.Url = server.URL,
    key_file: server.KeyFile = None,
    as_json: parameters.Json = False,
) -> None:
    """Keep the versions that answer a tenant's users in memory.

    Examples:
      llmrec tenants pin films
      llmrec tenants pin films --off
    """
    with server.client_of(url, key_file) as client:
        print_tenant(client.pin(name, not off), as_json)


def reload(
    name: server.Name,
    url: server.Url = server.URL,
    key_file: server.KeyFile = None,
    as_json: parameters.Json = False,
) -> None:
    """Load a tenant's versions now, whatever failed before.

    Examples:
      llmrec tenants reload films
    """
    with server.client_of(url, key_file) as client:
        print_tenant(client.reload(name), as_json)


def rm(
    name: server.Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: server.Url = server.URL,
    key_file: server.KeyFile = None,
) -> None:
    """Forget a tenant and end its keys; its runs stay where they are.

    Examples:
      llmrec tenants rm films
      llmrec tenants rm films --yes
    """
    with server.client_of(url, key_file) as client:
        if not yes:
            typer.confirm(f"Forget tenant {client.tenant(name).tenant}?", abort=True, err=True)
        client.remove_tenant(name)
    print_note(f"{name} is forgotten")

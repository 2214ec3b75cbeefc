"""`llmrec tenants key`, `keys` and `key-end`: keys of a tenant are made, listed and ended."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from llmrec_peft.artifact.place import occupied
from llmrec_peft.cli import parameters, server
from llmrec_peft.cli.output import print_json, print_note, print_table, print_text
from llmrec_peft.errors import InputError, nearest
from llmrec_peft.printable import quoted, shown

if TYPE_CHECKING:
    from llmrec_peft.serving.http.schemas import ScopeName


ASK = "ask"
Whose = Annotated[
    str | None, typer.Argument(help="Name of the tenant; none with --admin.", metavar="[NAME]", show_default=False)
]
_NAME_AND_KEY = 2
Admin = Annotated[bool, typer.Option("--admin", help="An admin's, which may do everything, not a tenant's.")]


def key(
    name: Whose = None,
    admin: Admin = False,
    scope: Annotated[
        str, typer.Option("--scope", metavar="LIST", help="What it may do: ask, write, manage, or several.")
    ] = ASK,
    expires: Annotated[
        str | None,
        typer.Option("--expires", metavar="TIME", help="When it ends, such as 30d or 12h.", show_default="never"),
    ] = None,
    label: Annotated[
        str | None, typer.Option("--label", metavar="TEXT", help="Who has it, for the list of keys.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="New file of mode 600 for the key.", show_default="stdout"),
    ] = None,
    url: server.Url = server.URL,
    key_file: server.KeyFile = None,
    as_json: parameters.Json = False,
) -> None:
    """Make a key for a tenant, or for an admin.

    The server keeps only a digest of it, so this is the one time that it is seen.

    Examples:
      llmrec tenants key films --out films.key
      llmrec tenants key films --scope ask,write --expires 30d --label shop
      llmrec tenants key --admin --out second-admin.key
    """
    if as_json and out is not None:
        raise InputError("--json prints the key on stdout and --out writes a file: give one of them")
    if out is not None and occupied(out):
        raise InputError(f"{shown(out)} exists already: name another file")
    _require_one(name, admin)
    if admin and scope != ASK:
        raise InputError("an admin's key may do everything: leave out --scope")
    expires_s = None if expires is None else server.seconds_of(expires, "--expires")
    with server.client_of(url, key_file) as client:
        from llmrec_peft.serving.http.client.key_files import write_key_file

        if name is None:
            made = client.new_admin_key(expires_s, label or "")
        else:
            made = client.new_key(name, _scopes(scope), expires_s, label or "")
        if as_json:
            print_json(made.model_dump(mode="json"))
        elif out is None:
            print_text(f"{made.key}\n")
        else:
            try:
                write_key_file(out, made.key)
            except InputError:
                client.end_key(name, made.key_id)  # nobody has it
                raise
    where = "" if out is None else f" in {shown(out)}"
    whose = name or "an admin"
    print_note(f"key {made.key_id} of {whose}{where}; llmrec tenants key-end {name or '--admin'} {made.key_id} ends it")


def keys(
    name: Whose = None,
    admin: Admin = False,
    url: server.Url = server.URL,
    key_file: server.KeyFile = None,
    as_json: parameters.Json = False,
) -> None:
    """List the keys of a tenant, or those of admins.

    Examples:
      llmrec tenants keys films
      llmrec tenants keys --admin
    """
    _require_one(name, admin)
    with server.client_of(url, key_file) as client:
        found = client.keys(name)
    if as_json:
        print_json([one.model_dump(mode="json") for one in found])
        return
    rows = [
        [
            one.key_id,
            ", ".join(one.scopes),
            _day(one.created),
            "never" if one.expires is None else _day(one.expires),
            one.label,
        ]
        for one in found
    ]
    print_table("", ["key", "may", "made", "ends", "label"], rows)


def key_end(
    which: Annotated[
        list[str],
        typer.Argument(
            help="Name of the tenant, none with --admin; and id of the key, as llmrec tenants keys shows it.",
            metavar="[NAME] KEY_ID",
        ),
    ],
    admin: Admin = False,
    after: Annotated[
        str | None,
        typer.Option(
            "--after", metavar="TIME", help="How long it is still taken, such as 10m.", show_default="not at all"
        ),
    ] = None,
    url: server.Url = server.URL,
    key_file: server.KeyFile = None,
) -> None:
    """End a key, at once or after a while in which another one takes its place.

    Examples:
      llmrec tenants key-end films 1a2b3c4d
      llmrec tenants key-end films 1a2b3c4d --after 10m
      llmrec tenants key-end --admin 1a2b3c4d
    """
    name, key_id = (None, which[0]) if len(which) == 1 else (which[0], which[1])
    if len(which) > _NAME_AND_KEY:
        raise InputError("give the name of a tenant and the id of one key")
    _require_one(name, admin)
    after_s = 0.0 if after is None else server.seconds_of(after, "--after")
    with server.client_of(url, key_file) as client:
        client.end_key(name, key_id, after_s)
    print_note(f"key {key_id} ends {'now' if after is None else f'in {after}'}")


def _require_one(name: str | None, admin: bool) -> None:
    """Refuse neither and both of a tenant's name and --admin.

    Raises:
        InputError: Saying so.
    """
    if (name is None) != admin:
        raise InputError("name the tenant, or give --admin for an admin's key; one of them")


def _scopes(text: str) -> list[ScopeName]:
    """Return the scopes in a list.

    Raises:
        InputError: If one is unknown.
    """
    from llmrec_peft.serving.http.schemas import ScopeName

    found = list(dict.fromkeys(text.split(",")))
    for one in found:
        if one not in get_args(ScopeName):
            raise InputError(f"--scope: {quoted(one)} is unknown; {nearest(one, get_args(ScopeName))}")
    return cast("list[ScopeName]", found)


def _day(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")

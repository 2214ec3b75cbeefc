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


def key(
    name: server.Name,
    scope: Annotated[
        str, typer.Option("--scope", metavar="LIST", help="What it may do: ask, write, manage, or several.")
    ] = "ask",
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
    """Make a key for a tenant.

    The server keeps only a digest of it, so this is the one time that it is seen.

    Examples:
      llmrec tenants key films --out films.key
      llmrec tenants key films --scope ask,write --expires 30d --label shop
    """
    if as_json and out is not None:
        raise InputError("--json prints the key on stdout and --out writes a file: give one of them")
    if out is not None and occupied(out):
        raise InputError(f"{shown(out)} exists already: name another file")
    expires_s = None if expires is None else server.seconds_of(expires, "--expires")
    with server.client_of(url, key_file) as client:
        from llmrec_peft.serving.http.key_files import write_key_file

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
    print_note(f"key {made.key_id} of {name}{where}; llmrec tenants key-end {name} {made.key_id} ends it")


def keys(
    name: server.Name,
    url: server.Url = server.URL,
    key_file: server.KeyFile = None,
    as_json: parameters.Json = False,
) -> None:
    """List the keys of a tenant.

    Examples:
      llmrec tenants keys films
    """
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
    name: server.Name,
    key_id: Annotated[str, typer.Argument(help="Id of the key, as llmrec tenants keys shows it.", metavar="KEY_ID")],
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
    """
    after_s = 0.0 if after is None else server.seconds_of(after, "--after")
    with server.client_of(url, key_file) as client:
        client.end_key(name, key_id, after_s)
    print_note(f"key {key_id} ends {'now' if after is None else f'in {after}'}")


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

"""`llmrec tenants`: the tenants of a running server, and their keys and events."""

from __future__ import annotations

import typer

from llmrec_peft.cli.command import SERVE, Command, Commands
from llmrec_peft.cli.tenants import changes, events, keys, look


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(
        cls=Commands,
        help="See and change the tenants of a running server, their keys and events.",
        epilog="Start here: llmrec tenants list",
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for name, command in (
        ("list", look.list_tenants),
        ("show", look.show),
        ("add", changes.add),
        ("weight", changes.weight),
        ("rollback", changes.rollback),
        ("pin", changes.pin),
        ("reload", changes.reload),
        ("rm", changes.rm),
        ("key", keys.key),
        ("keys", keys.keys),
        ("key-end", keys.key_end),
        ("events", events.events),
    ):
        group.command(name, cls=Command)(command)
    app.add_typer(group, name="tenants", rich_help_panel=SERVE)

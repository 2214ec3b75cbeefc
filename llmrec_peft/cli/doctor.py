"""`llmrec doctor`: can this machine do the work?"""

from __future__ import annotations

import typer

from llmrec_peft.cli import parameters
from llmrec_peft.cli.command import LOOK, Command
from llmrec_peft.cli.output import print_json, print_note, print_table


def doctor(as_json: parameters.Json = False) -> None:
    """Check whether this machine has what training and scoring need.

    Looks at versions, device, precision, plugins, embedded backbones, memory and disk. Exit code 1 when something is
    wrong; what to do about it stands on stderr.

    Examples:
      llmrec doctor
      llmrec doctor --json
    """
    from llmrec_peft.workflows.doctor import examine

    checks = examine()
    broken = [check for check in checks if not check.ok]
    if as_json:
        print_json({"ok": not broken, "checks": [check.plain() for check in checks]})
    else:
        rows = [[check.name, "ok" if check.ok else "WRONG", check.state] for check in checks]
        print_table("", ["check", "", "on this machine"], rows)
        for check in broken:
            print_note(f"{check.name}: {check.remedy}")
    raise typer.Exit(1 if broken else 0)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor", cls=Command, rich_help_panel=LOOK)(doctor)

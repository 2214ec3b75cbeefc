"""`llmrec doctor`: can this machine do the work?"""

from __future__ import annotations

from typing import Annotated

import typer

from llmrec_peft.cli.output import print_json, print_table


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False) -> None:
    """Check versions, device, precision, embedded backbones and memory; exit 1 with what to do if not."""
    from llmrec_peft.workflows.doctor import examine

    checks = examine()
    broken = [check for check in checks if not check.ok]
    if as_json:
        print_json({"ok": not broken, "checks": [check.plain() for check in checks]})
    else:
        rows = [["ok" if check.ok else "WRONG", check.name, check.found] for check in checks]
        print_table("", ["", "check", "found"], rows)
        for check in broken:
            typer.echo(f"{check.name}: {check.remedy}", err=True)
    raise typer.Exit(1 if broken else 0)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)

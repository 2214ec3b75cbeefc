"""`llmrec audit-answer`: is an answer of a server what its version gives?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmrec_peft.cli import parameters
from llmrec_peft.cli.command import SERVE, Command
from llmrec_peft.cli.output import print_json, print_line, print_table

if TYPE_CHECKING:
    from llmrec_peft.workflows.audit_answer import Audited


def audit_answer(
    answer: Annotated[
        Path,
        typer.Argument(metavar="FILE|-", help="JSON that /v1/recommend or /v1/score answered; - for stdin."),
    ],
    state: Annotated[Path, typer.Option("--state", metavar="DIR", help="State folder of the server.")] = Path(
        "serve-state"
    ),
    as_json: parameters.Json = False,
) -> None:
    """Compute an answer of a server again, and say whether it is the same.

    The version and the state that the answer names are made again from the sealed run and the events in the registry.
    The server may be running or not. Scores may differ by 0.0002, because those who were asked for in one pass change
    the last bits. Exit code 1 when an answer differs.

    Examples:
      llmrec audit-answer answer.json
      llmrec audit-answer - --state /srv/serve-state --json
    """
    from llmrec_peft.workflows.audit_answer import all_same
    from llmrec_peft.workflows.audit_answer import audit_answer as audit

    audited = audit(answer, state)
    same = all_same(audited)
    if as_json:
        print_json({"same": same, "answers": [one.plain() for one in audited]})
    else:
        _print(audited)
    raise typer.Exit(0 if same else 1)


def _print(audited: Sequence[Audited]) -> None:
    """Print a row for each part of an answer, and what came out over all."""
    rows = [
        [
            one.what,
            one.identity.version[:12],
            str(one.identity.state),
            f"{one.audit.difference:.1e}",
            "the same" if one.audit.same else one.audit.reason,
        ]
        for one in audited
    ]
    print_table("", ["", "version", "state", "difference", "outcome"], rows, (2, 3))
    print_line(f"{sum(one.audit.same for one in audited)} of {len(audited)} are what their versions give")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("audit-answer", cls=Command, rich_help_panel=SERVE)(audit_answer)

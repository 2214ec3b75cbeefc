"""`llmrec update`: a finished run learns from newer data."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from llmrec_peft.artifact.names import next_folder
from llmrec_peft.artifact.workspace import Workspace
from llmrec_peft.cli import parameters
from llmrec_peft.cli.command import TRAIN, Command
from llmrec_peft.cli.output import print_json, print_line, print_table
from llmrec_peft.errors import InterruptedTrainingError

NOT_PROMOTED = 1
"""Exit code where the updated run is not better."""


def update(
    run: parameters.Run,
    data: Annotated[
        str,
        typer.Option(
            "--data",
            metavar="NEW",
            help="All data up to now, or the new interactions with the users and items that they name, in the form"
            " that the run's reader reads.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Folder of the updated run.", show_default="RUN-u1, RUN-u2, …"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write it even if it is not better.")] = False,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="FIELD=VALUE",
            help="Set a field of update, such as update.replay=0.3, or data.graph or data.options; may be repeated.",
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted update.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run that exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print metrics.json on stdout.")] = False,
    quiet: parameters.Quiet = False,
) -> None:
    """Let a run learn from newer data, and write the updated run if it is better.

    Training goes on from the run's adapter and tables, with the new interactions and some of the old ones; new users
    and items are added. The run itself stays as it is. Old and new run are compared on the newest interactions and on
    old ones, none of which the new one learned from. Exit code 1 where it is not better, and so not written.

    Examples:
      llmrec update runs/movies-seed1 --data data/november
      llmrec update runs/films --data data/november --set update.replay=0.3
    """
    target = out or next_folder(run)

    from llmrec_peft.workflows.update import Asked
    from llmrec_peft.workflows.update import update as update_run

    how = {"force": force, "resume": resume, "overwrite": overwrite, "show": not quiet}
    try:
        metrics = update_run(run, data, target, Asked(overrides=tuple(overrides or ()), **how))
    except KeyboardInterrupt:
        if not Workspace(target, "training").resumable:
            raise
        command = ["llmrec", "update", str(run), "--data", data, "--out", str(target), "--resume"]
        raise InterruptedTrainingError(f"{shlex.join(command)} goes on from the last checkpoint") from None
    written = metrics["update"]["promoted"] or force
    if as_json:
        print_json(metrics)
    else:
        _print(metrics, target, written)
    raise typer.Exit(0 if written else NOT_PROMOTED)


def _print(metrics: dict[str, Any], target: Path, written: bool) -> None:
    """Print both comparisons and what became of the update."""
    told = metrics["update"]
    rows = []
    for name, what in (("newest", "newest interactions"), ("old", "old interactions")):
        one = told[name]
        interval = f"{one['after'] - one['before']:+.4f} [{one['low']:+.4f}, {one['high']:+.4f}]"
        figures = [f"{one[side]:.4f}" for side in ("before", "after")]
        rows.append([what, str(one["examples"]), *figures, interval, one["verdict"]])
    learned = f"{told['new']} new interactions, {told['replayed']} old ones in each of {told['epochs']} epochs"
    title = f"{told['metric']} before and after {learned}"
    columns = ["window", "examples", "before", "after", "after minus before", "verdict"]
    print_table(title, columns, rows, (1, 2, 3))
    print_line(told["reason"])
    if written:
        print_line(f"run folder: {target}" + ("" if told["promoted"] else " (kept by --force)"))
    else:
        print_line("not written; --force writes it")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("update", cls=Command, rich_help_panel=TRAIN)(update)

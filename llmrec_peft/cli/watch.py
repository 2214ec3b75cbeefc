"""`llmrec watch`: a run learns from what comes into a folder."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmrec_peft.artifact.names import first_name
from llmrec_peft.backbone.preflight import require_possible
from llmrec_peft.cli import parameters
from llmrec_peft.cli.command import TRAIN, Command
from llmrec_peft.cli.output import print_line, print_text
from llmrec_peft.errors import InputError, InterruptedTrainingError
from llmrec_peft.printable import one_line
from llmrec_peft.recipe import load_recipe, run_folder

if TYPE_CHECKING:
    from llmrec_peft.workflows.watch import Watched
    from llmrec_peft.workflows.watch_state import Decision


def watch(
    folder: Annotated[Path, typer.Argument(help="Folder into which files or folders of new data come.", metavar="DIR")],
    run: Annotated[Path | None, typer.Option("--run", metavar="RUN", help="Run to begin with.")] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe", metavar="RECIPE|FILE.yaml", help="Recipe that trains the first run from the first delivery."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FOLDER",
            help="Folder of the runs and of NAME.watch.json.",
            show_default="the folder of RUN; runs with --recipe",
        ),
    ] = None,
    enough: Annotated[
        int, typer.Option("--enough", metavar="N", min=1, max=100_000, help="New deliveries that make an update.")
    ] = 1,
    every: Annotated[
        float, typer.Option("--every", metavar="SECONDS", min=0.1, max=1e6, help="Time between two looks.")
    ] = 60.0,
    settle: Annotated[
        float,
        typer.Option(
            "--settle",
            metavar="SECONDS",
            min=0.0,
            max=1e6,
            help="A delivery is complete once nothing in it has changed for so long.",
        ),
    ] = 10.0,
    attempts: Annotated[
        int,
        typer.Option(
            "--attempts",
            metavar="N",
            min=1,
            max=100_000,
            help="Attempts to learn a delivery, after which it is set aside.",
        ),
    ] = 3,
    once: Annotated[bool, typer.Option("--once", help="Look once and end, as cron wants it.")] = False,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="FIELD=VALUE",
            help="Set a field: of the recipe with --recipe, of update with --run; may be repeated.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each decision as a line of JSON on stdout.")] = False,
    quiet: parameters.Quiet = False,
) -> None:
    """Let a run learn from what comes into a folder, one update at a time.

    Every file or folder in DIR is a delivery: data that the run's reader reads, all up to now or new interactions
    alone. Once enough have come, they are learned together; the updated run becomes the current one if it is better,
    else they wait and are part of the next update, --attempts times in all. A delivery that was not learned by then,
    or that is wrong, is set aside with its reason until it changes. NAME.watch.json names the current run and every
    decision; the same command goes on after a kill.

    Examples:
      llmrec watch deliveries --run runs/movies-seed1
      llmrec watch deliveries --recipe movies --enough 7 --every 3600
      llmrec watch deliveries --run runs/movies-seed1 --once --json
    """
    watched = _watched(folder, run, recipe, out, overrides or [])
    watched = replace(watched, enough=enough, settle=settle, attempts=attempts, show=not quiet)

    from llmrec_peft.workflows.watch import Watch

    with _terminated_as_interrupted(), Watch.held(watched) as held:
        try:
            while True:
                for decision in held.look():
                    _print(decision, as_json)
                if once:
                    return
                time.sleep(every)
        except KeyboardInterrupt:
            if held.state.working is None:
                raise
            raise InterruptedTrainingError("the same command goes on from the last checkpoint") from None


def _watched(folder: Path, run: Path | None, recipe: str | None, out: Path | None, overrides: list[str]) -> Watched:
    """Return what is watched.

    Raises:
        InputError: When it is not said what learns.
    """
    if (run is None) == (recipe is None):
        raise InputError("say what learns: --run RUN, or --recipe RECIPE, which trains the first run; one of them")
    if run is not None:
        from llmrec_peft.workflows.watch import Watched

        return Watched(folder, out or run.parent, first_name(run.name), run=run, overrides=tuple(overrides))
    resolved = load_recipe(str(recipe), overrides)
    require_possible(resolved)  # before torch is imported: an impossible pair is said at once

    from llmrec_peft.workflows.watch import Watched

    place = run_folder(resolved)
    return Watched(folder, out or place.parent, place.name, recipe=resolved)


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM, which supervisors send, end the block as Ctrl-C does."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _print(decision: Decision, as_json: bool) -> None:
    """Print a decision at once, also into a pipe."""
    if as_json:
        print_text(json.dumps(decision.model_dump(mode="json")) + "\n")
    else:
        current = f"; current run: {decision.current}" if decision.what in ("trained", "promoted") else ""
        named = ", ".join(decision.deliveries)
        print_line(one_line(f"{decision.at} {decision.what}: {named} ({decision.reason}){current}"))
    sys.stdout.flush()


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("watch", cls=Command, rich_help_panel=TRAIN)(watch)

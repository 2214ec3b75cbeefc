"""`llmrec train-tenants`: one recipe over many tenants' data, a run folder each, in one process."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmrec_peft.backbone.preflight import require_possible
from llmrec_peft.cli import parameters
from llmrec_peft.cli.command import TRAIN, Command
from llmrec_peft.cli.output import print_json, print_line, print_note, print_table
from llmrec_peft.errors import InputError, InterruptedTrainingError
from llmrec_peft.printable import shown
from llmrec_peft.recipe import load_recipe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmrec_peft.workflows.train_tenants import TenantResult

SOME_FAILED = 1
"""Exit code where a tenant's training failed."""
_OUT = Path("runs/tenants")
_SHOWN = 60
"""Rows of the table at the end, at most; tenants.json has all."""


def train_tenants(
    recipe: parameters.Recipe,
    folders: Annotated[
        list[str] | None,
        typer.Argument(metavar="DIR", help="Further folders, as a shell makes of --data DIR/*/."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="'DIR/*/'",
            help="Folders, each the data of one tenant; with --split-by, one folder.",
            show_default="with --split-by the recipe's data.path",
        ),
    ] = None,
    split_by: Annotated[
        str | None,
        typer.Option(
            "--split-by",
            metavar="COLUMN",
            help="Each value of this column of items, users or interactions is a tenant.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the run folders.")] = Path(
        "runs/tenants"
    ),
    overrides: parameters.Overrides = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="NAME", help="Train this tenant alone; may be repeated."),
    ] = None,
    start_from: Annotated[
        list[str] | None,
        typer.Option(
            "--start-from",
            metavar="mean|nearest|RUN",
            help="Begin with adapters instead of fresh ones: the mean of the other tenants' finished runs in --out, the"
            " one of these whose items' texts are nearest, or a run; of several runs, their mean. May be repeated.",
        ),
    ] = None,
    together: Annotated[
        int,
        typer.Option(
            "--together",
            metavar="N",
            min=1,
            help="Tenants whose trainings are under way at a time: more share more passes, fewer take less memory.",
        ),
    ] = 16,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with interrupted tenants; finished ones stay.")
    ] = False,
    overwrite: parameters.Overwrite = False,
    as_json: parameters.Json = False,
    quiet: parameters.Quiet = False,
) -> None:
    """Train a recipe for many tenants at once and write a run folder of each.

    Each run is what llmrec train writes for the tenant's data, and tenants.json beside them says how each ended. The
    base model is loaded once, and what its frozen layers compute of a text is computed once for all. What is wrong with
    one tenant ends that tenant alone. Exit code 1 where one failed.

    Examples:
      llmrec train-tenants movies --data 'data/shops/*/' --out runs/shops
      llmrec train-tenants movies --data data/ml-100k --split-by users.occupation
      llmrec train-tenants movies --data data/new-shop --start-from nearest
    """
    if split_by is not None and folders:
        raise InputError("--split-by divides the data of one folder; without it each folder is a tenant's data")
    if split_by is None and data is None:
        raise InputError("say whose data to train on: --data 'DIR/*/' or --split-by COLUMN")
    changes = {} if data is None or split_by is None else {"data.path": data}
    resolved = load_recipe(recipe, overrides or [], changes)
    require_possible(resolved)  # before torch is imported: an impossible pair is said at once

    from llmrec_peft.progress import Progress
    from llmrec_peft.workflows import tenants as found
    from llmrec_peft.workflows.tenant_starts import starting
    from llmrec_peft.workflows.train_tenants import train_tenants as train_all

    progress = Progress(not quiet)
    if split_by is None:
        tenants = found.tenants_of_folders(resolved, [str(data), *(folders or ())])
    else:
        tenants, notes = found.tenants_of_column(resolved, split_by)
        for line in notes:
            progress.note(line)
    tenants = starting(found.chosen(tenants, only or ()), start_from or (), out)

    def told(result: TenantResult) -> None:
        if result.reason:
            progress.note(f"{result.name}: {result.reason}")

    try:
        results = train_all(tenants, out, resume, overwrite, progress, told, together)
    except KeyboardInterrupt:
        command = shlex.join(["llmrec", *(one for one in sys.argv[1:] if one != "--overwrite"), "--resume"])
        raise InterruptedTrainingError(f"{command} goes on from the last checkpoints") from None
    if as_json:
        print_json({"tenants": [asdict(one) for one in results]})
    else:
        _print(results, out)
    raise typer.Exit(SOME_FAILED if any(one.status == "failed" for one in results) else 0)


def _print(results: Sequence[TenantResult], out: Path) -> None:
    """Print how each tenant ended."""
    metric = next((one.metric for one in results if one.metric), "figure")
    rows = [
        [
            one.name,
            f"{one.rows:,}" if one.rows else "",
            _figure(one.before),
            _figure(one.after),
            f"{one.seconds:.1f}",
            one.reason or "; ".join([*([one.status] if one.status == "finished" else []), one.recommended]),
        ]
        for one in results[:_SHOWN]
    ]
    failed = sum(one.status == "failed" for one in results)
    title = f"{len(results)} tenants" + (f", {failed} of which failed" if failed else "")
    columns = ["tenant", "rows", f"{metric} before", "after", "seconds", "what is recommended, or why it failed"]
    print_table(title, columns, rows, (1, 2, 3, 4))
    if len(results) > _SHOWN:
        print_note(f"{len(results) - _SHOWN} more are in {shown(out / 'tenants.json')}")
    print_line(f"run folders: {out}")


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("train-tenants", cls=Command, rich_help_panel=TRAIN)(train_tenants)

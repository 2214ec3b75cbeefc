"""`llmrec memory`: how much memory training takes, or an engine with many tenants, and whether that fits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from llmrec_peft.backbone.preflight import require_possible
from llmrec_peft.cli import parameters
from llmrec_peft.cli.command import TRAIN, Command, Renamed
from llmrec_peft.cli.output import print_json, print_line, print_table
from llmrec_peft.errors import InputError
from llmrec_peft.footprint.sizes import parse_memory, show_memory
from llmrec_peft.recipe import load_recipe


def memory(
    recipe: Annotated[str | None, parameters.recipe_unless("--run")] = None,
    data: parameters.Data = None,
    overrides: parameters.Overrides = None,
    gpu: Annotated[
        str | None,
        typer.Option(
            "--gpu",
            metavar="SIZE",
            help="Memory of the card with its unit, such as 12GB or 11.5GiB.",
            show_default="what this machine has",
        ),
    ] = None,
    users: Annotated[
        int | None,
        typer.Option(
            "--users", metavar="N", min=1, help="Number of users, where no data is given.", show_default="10000"
        ),
    ] = None,
    items: Annotated[
        int | None,
        typer.Option(
            "--items", metavar="N", min=1, help="Number of items, where no data is given.", show_default="5000"
        ),
    ] = None,
    tenants: Annotated[
        int | None,
        typer.Option(
            "--tenants",
            metavar="N",
            min=1,
            help="Serving instead of training: an engine with so many tenants.",
            show_default=False,
        ),
    ] = None,
    runs: Annotated[
        list[Path] | None,
        typer.Option("--run", metavar="RUN", help="With --tenants: they are like this run; may be repeated."),
    ] = None,
    ram: Annotated[
        str | None,
        typer.Option(
            "--ram", metavar="SIZE", help="With --tenants: the host's memory.", show_default="what this machine has"
        ),
    ] = None,
    as_json: parameters.Json = False,
) -> None:
    """Estimate how much memory training takes, without loading weights.

    Says it by part and phase, and which settings would need less. Exit code 1 where it does not fit.
    With --tenants it says what an engine takes that serves so many, by tier.

    Examples:
      llmrec memory movies --data demo
      llmrec memory movies --set backbone.name=./llama-8b --gpu 12GB
      llmrec memory movies --tenants 1000 --users 500 --items 2000 --ram 16GB
      llmrec memory --run runs/books --tenants 1000
    """
    if tenants is not None:
        _hosting(recipe, data, overrides, gpu, ram, users, items, tenants, runs or [], as_json)
        return
    if runs or ram is not None:
        raise InputError(f"{'--run' if runs else '--ram'} is for --tenants")
    if recipe is None:
        raise InputError("name a recipe, or --tenants and --run")
    given = None if gpu is None else parse_memory(gpu)
    resolved = load_recipe(recipe, overrides or [], {} if data is None else {"data.path": data})
    require_possible(resolved)  # before torch is imported: an impossible pair is said at once

    from llmrec_peft.backbone.precision import best_device
    from llmrec_peft.footprint.check import budget_here, check

    cuda = given is not None or best_device().type == "cuda"
    answer = check(resolved, budget_here(cuda) if given is None else given, users, items, cuda)
    if as_json:
        print_json(answer)
    else:
        _print(answer)
    if not answer["fits"]:
        raise typer.Exit(1)


def _hosting(
    recipe: str | None,
    data: str | None,
    overrides: list[str] | None,
    gpu: str | None,
    ram: str | None,
    users: int | None,
    items: int | None,
    tenants: int,
    runs: list[Path],
    as_json: bool,
) -> None:
    """Say what an engine with many tenants takes."""
    if (recipe is None) == (not runs):
        raise InputError("--tenants takes a recipe or --run, one of them")
    if runs and (data is not None or overrides or users is not None or items is not None):
        raise InputError("--run says what its tenants are: --data, --set, --users and --items are for a recipe")
    card = None if gpu is None else parse_memory(gpu)
    host = None if ram is None else parse_memory(ram, "--ram")
    changes = {} if data is None else {"data.path": data}
    recipes = [] if recipe is None else [load_recipe(recipe, overrides or [], changes)]

    from llmrec_peft.backbone.precision import best_device
    from llmrec_peft.footprint.check import budget_here
    from llmrec_peft.footprint.hosting import hosting

    cuda = card is not None or best_device().type == "cuda"
    if cuda and card is None:
        card = budget_here(True)
    host = budget_here(False) if host is None else host
    answer = hosting(recipes, runs, tenants, cuda, card, host, users, items)
    if as_json:
        print_json(answer)
    else:
        _print_hosting(answer)
    if not answer["fits"]:
        raise typer.Exit(1)


def _print_hosting(answer: dict[str, Any]) -> None:
    for tier, parts in answer["tiers"].items():
        rows = [[name, show_memory(size)] for name, size in parts.items() if size and name != "total"]
        print_table(f"{tier}: {show_memory(parts['total'])}", ["part", "memory"], rows, [1])
    names = {"adapter": "adapter", "private": "loaded version", "mapped": "mapped files", "disk": "sealed run"}
    rows = [[said, show_memory(answer["per_tenant"][name])] for name, said in names.items()]
    print_table("a tenant", ["part", "memory"], rows, [1])
    print_line(
        f"{show_memory(answer['mapped'])} of files are mapped; the system reads and drops their pages as it likes"
    )
    for line in answer["assumptions"]:
        print_line(line)
    for tier, count in answer["most"].items():
        if count is not None:
            budget = show_memory(answer["budgets"]["gpu" if tier == "accelerator" else "ram"])
            print_line(f"{tier}: {budget} has room for {count:,} tenants")
    print_line(f"{answer['tenants']:,} tenants {'fit' if answer['fits'] else 'do not fit'} in memory")


def _print(answer: dict[str, Any]) -> None:
    phases = [[name, show_memory(phase["total"])] for name, phase in answer["phases"].items()]
    title = f"{answer['recipe']}: {answer['adapter']} in {answer['backbone']} on {answer['device']}"
    print_table(title, ["phase", "memory"], phases, [1])
    parts = [[name, show_memory(size)] for name, size in answer["parts"].items() if size]
    print_table(f"most in phase: {answer['peak']}", ["part", "memory"], parts, [1])
    for line in answer["assumptions"]:
        print_line(line)
    word, spare = ("fits into", "to spare") if answer["fits"] else ("does not fit into", "too much")
    amounts = f"{show_memory(answer['budget'])}, {show_memory(abs(answer['spare']))} {spare}"
    print_line(f"{show_memory(answer['total'])} {word} {amounts}")
    if answer["fits"]:
        return
    if not answer["settings"]:
        print_line("no setting that was tried fits: take a smaller backbone")
        return
    rows = [
        [show_memory(setting["total"]), show_memory(setting["spare"]), _flags(setting["changes"])]
        for setting in answer["settings"]
    ]
    print_table("these would fit", ["memory", "to spare", "change"], rows, [0, 1])


def _flags(changes: dict[str, Any]) -> str:
    typed = {field: str(value).lower() if isinstance(value, bool) else value for field, value in changes.items()}
    return " ".join(f"--set {field}={value}" for field, value in typed.items())


class _Fit(Renamed):
    """The old name."""

    new_name = "memory"


def register(app: typer.Typer) -> None:
    """Add the command, and its old name for those who still type it."""
    app.command("memory", cls=Command, rich_help_panel=TRAIN)(memory)
    app.command("fit", cls=_Fit, hidden=True)(memory)

"""`llmrec fit`: whether training a recipe fits into a memory, by part, and what would."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from llmrec_peft.backbone.preflight import require_possible
from llmrec_peft.cli.output import print_json, print_table
from llmrec_peft.footprint.sizes import parse_memory, show_memory
from llmrec_peft.recipe import load_recipe


def fit(
    recipe: Annotated[str, typer.Argument(help="Registered recipe, or a YAML file.", metavar="RECIPE|FILE.yaml")],
    data: Annotated[str | None, typer.Option("--data", help="Data folder in its owner's layout, or 'demo'.")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Override a field; may be repeated.")
    ] = None,
    gpu: Annotated[
        str | None, typer.Option("--gpu", help="Memory of the card, such as 12GB [default: what this machine has].")
    ] = None,
    users: Annotated[int | None, typer.Option("--users", min=1, help="Users, where no data is given.")] = None,
    items: Annotated[int | None, typer.Option("--items", min=1, help="Items, where no data is given.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
) -> None:
    """Say how much memory training takes, without loading weights; exit code 1 where it does not fit.

    Examples:
      llmrec fit movies --data demo
      llmrec fit movies --set backbone.name=./llama-8b --set backbone.quantization=nf4 --gpu 12GB
    """
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


def _print(answer: dict[str, Any]) -> None:
    phases = [[name, show_memory(phase["total"])] for name, phase in answer["phases"].items()]
    title = f"{answer['recipe']}: {answer['adapter']} in {answer['backbone']} on {answer['device']}"
    print_table(title, ["phase", "memory"], phases, [1])
    parts = [[name, show_memory(size)] for name, size in answer["parts"].items() if size]
    print_table(f"most in phase: {answer['peak']}", ["part", "memory"], parts, [1])
    for line in answer["assumptions"]:
        typer.echo(line)
    word, spare = ("fits into", "to spare") if answer["fits"] else ("does not fit into", "too much")
    amounts = f"{show_memory(answer['budget'])}, {show_memory(abs(answer['spare']))} {spare}"
    typer.echo(f"{show_memory(answer['total'])} {word} {amounts}")
    if answer["fits"]:
        return
    if not answer["settings"]:
        typer.echo("no setting that was tried fits: take a smaller backbone")
        return
    rows = [
        [_flags(setting["changes"]), show_memory(setting["total"]), show_memory(setting["spare"])]
        for setting in answer["settings"]
    ]
    print_table("these would fit", ["change", "memory", "to spare"], rows, [1, 2])


def _flags(changes: dict[str, Any]) -> str:
    typed = {field: str(value).lower() if isinstance(value, bool) else value for field, value in changes.items()}
    return " ".join(f"--set {field}={value}" for field, value in typed.items())


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("fit")(fit)

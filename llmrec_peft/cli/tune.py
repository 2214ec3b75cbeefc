"""`llmrec tune`: the values of a recipe's fields that are best on validation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from llmrec_peft.backbone.preflight import require_possible
from llmrec_peft.cli import parameters
from llmrec_peft.cli.command import TRAIN, Command
from llmrec_peft.cli.output import print_json, print_line, print_table
from llmrec_peft.errors import InterruptedTrainingError
from llmrec_peft.recipe import load_recipe

_FOLDER = Path("runs")
"""Where the default storage and the default recipe lie."""


def tune(
    recipe: parameters.Recipe,
    trials: Annotated[
        int, typer.Option("--trials", metavar="N", min=1, max=100_000, help="Trials, those of earlier calls included.")
    ] = 20,
    storage: Annotated[
        str | None,
        typer.Option(
            "--storage",
            metavar="URL",
            help="Database of the trials, shared by all processes that search; any that SQLAlchemy knows.",
            show_default="sqlite:///runs/tune.db",
        ),
    ] = None,
    data: parameters.Data = None,
    overrides: parameters.Overrides = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Best recipe to write.", show_default="runs/NAME-tuned.yaml"),
    ] = None,
    overwrite: parameters.Overwrite = False,
    as_json: parameters.Json = False,
    quiet: parameters.Quiet = False,
) -> None:
    """Search the fields under 'tune' of a recipe for the values that are best on validation.

    The recipe's own values are tried first; test is never looked at. The same command goes on after an interruption,
    and started several times it shares the work.

    Examples:
      llmrec tune movies --data data/ml-100k --trials 40
      llmrec tune movies --data demo --set 'tune={fusion.dim: {choices: [4, 8]}}'
    """
    resolved = load_recipe(recipe, overrides or [], {} if data is None else {"data.path": data})
    require_possible(resolved)  # before torch is imported: an impossible pair is said at once
    if storage is None or out is None:
        _FOLDER.mkdir(exist_ok=True)

    from llmrec_peft.workflows.tune import tune as tune_recipe

    target = out or _FOLDER / f"{resolved.name.replace(' ', '-')}-tuned.yaml"
    try:
        report = tune_recipe(
            resolved, trials, storage or f"sqlite:///{_FOLDER / 'tune.db'}", target, overwrite, show=not quiet
        )
    except KeyboardInterrupt:
        raise InterruptedTrainingError("the same command goes on after the last whole trial") from None
    if as_json:
        print_json(report)
    else:
        _print(report)


def _print(report: dict[str, Any]) -> None:
    """Print the recipe's own values beside the best, what each field matters, and where the recipe lies."""
    default, best = report["default"], report["best"]
    states = [row["state"] for row in report["trials"]]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    better = "lower" if report["lower_is_better"] else "higher"
    rows = [
        [field, str(default["values"].get(field)), _short(value), _share(report["importances"].get(field))]
        for field, value in best["values"].items()
    ]
    print_table(f"{len(states)} trials: {counts}", ["field", "recipe", "best", "importance"], rows, (3,))
    figures = f"{default['figure']:.4f} with the recipe's own values, {best['figure']:.4f} with the best"
    print_line(f"validation {report['metric']} ({better} is better): {figures} (trial {best['number']})")
    print_line(f"best recipe: {report['recipe']}")


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _share(share: float | None) -> str:
    return "unknown" if share is None else f"{share:.0%}"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("tune", cls=Command, rich_help_panel=TRAIN)(tune)

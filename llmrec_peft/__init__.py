"""Parameter-efficient fine-tuning of frozen language models into recommenders.

From Python, training and using a recommender takes three lines::

    import llmrec_peft

    metrics = llmrec_peft.train(llmrec_peft.load_recipe("movies", data="demo"), "runs/movies")
    recommender = llmrec_peft.Recommender.from_pretrained("runs/movies")
    recommender.recommend(["1"], k=5)

What stands in `__all__` is promised to users; `llmrec_peft.plugins` holds what is promised to authors of plugins.
Importing the package imports no torch: it comes with the first training, evaluation or recommender.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec_peft.errors import InputError
from llmrec_peft.identity import __version__

if TYPE_CHECKING:
    from llmrec_peft.recipe import Recipe
    from llmrec_peft.run.recommender import Recommender

__all__ = ["InputError", "Recommender", "__version__", "evaluate", "load_recipe", "train"]


def load_recipe(
    source: str | Path, changes: Mapping[str, Any] | None = None, *, data: str | Path | None = None
) -> Recipe:
    """Load a recipe by its registered name or from a YAML file, and validate every field.

    >>> recipe = load_recipe("movies", {"adapter.layers": "top-2", "training.epochs": 3}, data="demo")
    >>> recipe.training.epochs
    3

    Args:
        source: Name as in `llmrec list recipes`, or path of a YAML file.
        changes: Values by dotted field, such as ``{"seed": 7, "adapter.method": "dora"}``; a mapping as a value
            replaces a whole block. They override the file and, with ``data="demo"``, its settings for made-up data.
        data: Folder of the data in its owner's layout, or ``demo`` for a small made-up set.

    Returns:
        The recipe, every default filled in. `Recipe.changed` makes a changed copy, `Recipe.to_yaml` a file's text.

    Raises:
        InputError: In one line, for a recipe, field or value that is unknown or does not fit.
    """
    from llmrec_peft.recipe import load_recipe as load

    fields = {} if data is None else {"data.path": data}
    fields |= changes or {}
    plain = {field: str(value) if isinstance(value, Path) else value for field, value in fields.items()}
    return load(str(source), changes=plain)


def train(
    recipe: Recipe,
    run: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
    trust_remote_code: bool = False,
) -> dict[str, Any]:
    """Train a recipe, evaluate it against baselines, and write a run folder.

    ``metrics = train(load_recipe("movies", data="demo"), "runs/movies")``; then
    ``metrics["test"]["after"]["rmse"]`` is the tuned model's error and ``metrics["test"]["before"]["rmse"]`` that of
    the frozen one.

    Args:
        recipe: What to train, as `load_recipe` gives it.
        run: Folder to write. It appears whole at the end; until then checkpoints lie in a hidden folder beside it.
        resume: Continue an interrupted training of the same recipe and data; a finished run is left as it is.
        overwrite: Replace an existing run, or discard an interrupted one.
        quiet: Print no notes and no progress bars on stderr.
        trust_remote_code: Whether Python code that comes with the base model may run, if the recipe asks for it.

    Returns:
        The run's figures, as in its ``metrics.json``.

    Raises:
        InputError: In one line, for input that cannot be trained, a folder that is taken, or a full disk.
    """
    from llmrec_peft.recipe import Recipe

    if not isinstance(recipe, Recipe):
        raise TypeError(f"recipe is a {type(recipe).__name__}: load it first, llmrec_peft.load_recipe(...)")
    _let_threads_sleep()
    from llmrec_peft.backbone.remote_code import allowing
    from llmrec_peft.workflows.train import train as train_recipe

    with allowing(trust_remote_code):
        return train_recipe(recipe, Path(run), resume=resume, overwrite=overwrite, show=not quiet)


def evaluate(run: str | Path, data: str | Path | None = None, *, trust_remote_code: bool = False) -> dict[str, Any]:
    """Score a run's test part again and compare the figures with the stored ones.

    ``evaluate("runs/movies")["repeats"]`` is true where all figures agree within 1e-4.

    Args:
        run: Run folder.
        data: Where the data lies now; by default where the training found it.
        trust_remote_code: Whether Python code that comes with the base model may run, if the run's recipe asks for it.

    Returns:
        ``test.after``: the figures computed now, by the first head; ``stored``: those of the run folder; ``heads``:
        both for each further head; ``repeats``: whether all agree within 1e-4.

    Raises:
        InputError: In one line, where the folder is no run or the data is not what the run was trained on.
    """
    _let_threads_sleep()
    from llmrec_peft.backbone.remote_code import allowing
    from llmrec_peft.workflows.evaluate import evaluate as evaluate_run

    with allowing(trust_remote_code):
        return evaluate_run(Path(run), None if data is None else str(data))


def _let_threads_sleep() -> None:
    """Let OpenMP's threads sleep while they wait, where torch is not imported yet and nobody chose otherwise.

    Threads that spin starve each other on shared virtual cores: a LoRA epoch took 30 s, and 9 s when they sleep.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def __getattr__(name: str) -> Any:
    """Import `Recommender` on first use, so that `import llmrec_peft` imports no torch."""
    if name == "Recommender":
        _let_threads_sleep()
        from llmrec_peft.run.recommender import Recommender

        return Recommender
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List what is promised to users."""
    return __all__

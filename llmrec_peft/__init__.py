"""Parameter-efficient fine-tuning of frozen language models into recommenders.

From Python, training and using a recommender takes three lines::

    import llmrec_peft

    data = llmrec_peft.Dataset.from_frames(ratings, films)  # two frames of your own
    recommender = llmrec_peft.train(data.recipe(), data, run="runs/films")
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
    from llmrec_peft.custom.dataset import Dataset
    from llmrec_peft.data.dataset import RecDataset
    from llmrec_peft.recipe import Recipe
    from llmrec_peft.serving.engine import Engine
    from llmrec_peft.workflows.recommender import Recommender

__all__ = ["Dataset", "Engine", "InputError", "Recommender", "__version__", "evaluate", "load_recipe", "train"]


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
    data: Dataset | None = None,
    run: str | Path | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
    trust_remote_code: bool = False,
) -> Recommender:
    """Train a recipe, evaluate it against baselines, write a run folder, and return the trained recommender.

    ``recommender = train(load_recipe("movies", data="demo"), run="runs/movies")``; then
    ``recommender.metrics["test"]["after"]["rmse"]`` is the tuned model's error and
    ``recommender.metrics["test"]["before"]["rmse"]`` that of the frozen one.

    Args:
        recipe: What to train, as `load_recipe` or `Dataset.recipe` gives it.
        data: The data, if it is in memory; else the recipe says where its files are.
        run: Folder to write; by default ``runs/NAME-seedN``, as on the command line. It appears whole at the end; until
            then checkpoints lie in a hidden folder beside it.
        resume: Continue an interrupted training of the same recipe and data; a finished run is left as it is.
        overwrite: Replace an existing run, or discard an interrupted one.
        quiet: Print no notes and no progress bars on stderr.
        trust_remote_code: Whether Python code that comes with the base model may run, if the recipe asks for it.

    Returns:
        The recommender of the run folder; its ``metrics`` are the run's figures.

    Raises:
        InputError: In one line, for input that cannot be trained, a recipe that trains a writer of explanations
            (``llmrec train`` does), a folder that is taken, or a full disk.
    """
    from llmrec_peft.recipe import Recipe, run_folder

    if not isinstance(recipe, Recipe):
        raise TypeError(f"recipe is a {type(recipe).__name__}: load it first, llmrec_peft.load_recipe(...)")
    dataset = None if data is None else _dataset(data, "train(recipe, run=...)")
    if dataset is not None:
        recipe = recipe.changed({"data.reader": "frames", "data.path": None, "data.options": None})
    _let_threads_sleep()
    from llmrec_peft.backbone.remote_code import allowing
    from llmrec_peft.workflows.recommender import Recommender
    from llmrec_peft.workflows.train import train as train_recipe
    from llmrec_peft.writing.train_writer import is_writing

    if is_writing(recipe):
        raise InputError(
            f"recipe {recipe.name} trains a writer, which is no recommender: use llmrec train RECIPE.yaml --out DIR,"
            " then llmrec explain RUN --user ID --item ID --generate --writer DIR"
        )
    folder = run_folder(recipe) if run is None else Path(run)
    with allowing(trust_remote_code):
        train_recipe(recipe, folder, resume=resume, overwrite=overwrite, show=not quiet, dataset=dataset)
    return Recommender.from_pretrained(folder, trust_remote_code=trust_remote_code)


def evaluate(
    run: str | Path, data: str | Path | Dataset | None = None, *, trust_remote_code: bool = False
) -> dict[str, Any]:
    """Score a run's test part again and compare the figures with the stored ones.

    ``evaluate("runs/movies")["repeats"]`` is true where all figures agree within 1e-4.

    Args:
        run: Run folder, or ``OWNER/NAME`` of the Hub.
        data: Where the data lies now, by default where the training found it; or the data itself, if it is in memory.
        trust_remote_code: Whether Python code that comes with the base model may run, if the run's recipe asks for it.

    Returns:
        ``test.after``: the figures computed now, by the first head; ``stored``: those of the run folder; ``heads``:
        both for each further head; ``repeats``: whether all agree within 1e-4.

    Raises:
        InputError: In one line, where the folder is no run or the data is not what the run was trained on.
    """
    _let_threads_sleep()
    from llmrec_peft.artifact.fetched import run_folder
    from llmrec_peft.backbone.remote_code import allowing
    from llmrec_peft.workflows.evaluate import evaluate as evaluate_run

    with allowing(trust_remote_code):
        if data is None or isinstance(data, str | Path):
            return evaluate_run(run_folder(run), None if data is None else str(data))
        return evaluate_run(run_folder(run), None, _dataset(data, "evaluate(run, folder)"))


def _dataset(data: Dataset, otherwise: str) -> RecDataset:
    """Return the tables of data in memory.

    Raises:
        InputError: If it is something else.
    """
    from llmrec_peft.custom.dataset import Dataset

    if isinstance(data, Dataset):
        return data.dataset
    if isinstance(data, str | Path):
        raise InputError(f"data is the path {str(data)!r} where a Dataset belongs: name the run folder by {otherwise}")
    raise InputError(f"data is a {type(data).__name__}: make it a Dataset, llmrec_peft.Dataset.from_frames(...)")


def _let_threads_sleep() -> None:
    """Let OpenMP's threads sleep while they wait, where torch is not imported yet and nobody chose otherwise.

    Threads that spin starve each other on shared virtual cores: a LoRA epoch took 30 s, and 9 s when they sleep.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def __getattr__(name: str) -> Any:
    """Import `Dataset`, `Engine` and `Recommender` on first use, so that `import llmrec_peft` imports no torch."""
    if name == "Dataset":
        from llmrec_peft.custom.dataset import Dataset

        return Dataset
    if name == "Engine":
        _let_threads_sleep()
        from llmrec_peft.serving.engine import Engine

        return Engine
    if name == "Recommender":
        _let_threads_sleep()
        from llmrec_peft.workflows.recommender import Recommender

        return Recommender
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List what is promised to users."""
    return __all__

"""The lines that a model has to beat: baselines of each task, fitted on prepared data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llmrec_peft.evaluation.baselines.baseline import Baseline
from llmrec_peft.evaluation.baselines.rating import rating_baselines
from llmrec_peft.evaluation.measures import Measure, better
from llmrec_peft.heads.contract import TaskHead
from llmrec_peft.progress import bar
from llmrec_peft.recipe import Recipe
from llmrec_peft.workflows.prepare import Prepared
from llmrec_peft.workflows.texts import Texts


def baselines_of(head: TaskHead[Any], recipe: Recipe, prepared: Prepared, texts: Texts, show: bool) -> list[Baseline]:
    """Every baseline of a head's task, tuned on validation.

    Args:
        head: Whose task it is.
        recipe: Protocol of the evaluation.
        prepared: Data.
        texts: Untuned vectors of items.
        show: Whether to show a progress bar.
    """
    found = []
    with bar("baselines", 5, show=show) as shown:
        for baseline in _fitted(head, recipe, prepared, texts):
            found.append(baseline)
            shown.advance(text=baseline.name)
    return found


def _fitted(head: TaskHead[Any], recipe: Recipe, prepared: Prepared, texts: Texts) -> Iterator[Baseline]:
    vocabulary = prepared.vocabulary
    train, valid, test, fit = prepared.train, prepared.valid, prepared.test, prepared.learned(recipe.refits)
    sizes = (vocabulary.num_users, vocabulary.num_items)
    if head.task == "rating":
        yield from rating_baselines(train, valid, fit, test, *sizes, prepared.dataset.rating_range)


def best_line(baselines: list[Baseline], metric: str, measure: Measure, prepared: Prepared) -> Baseline | None:
    """The trivial baseline that is best on validation: the line."""
    best: tuple[float, Baseline] | None = None
    for baseline in baselines:
        if baseline.trivial:
            figure = measure.report(baseline.valid, prepared.valid)[metric]
            if best is None or better(metric, figure, best[0]):
                best = (figure, baseline)
    return None if best is None else best[1]

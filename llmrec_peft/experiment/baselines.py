"""The lines that a model has to beat: baselines of each task, fitted on prepared data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from llmrec_peft.evaluation.baselines.baseline import Baseline
from llmrec_peft.evaluation.baselines.rating import rating_baselines
from llmrec_peft.evaluation.measures import Measure, better
from llmrec_peft.experiment.prepare import Prepared
from llmrec_peft.experiment.texts import Texts
from llmrec_peft.heads.contract import TaskHead
from llmrec_peft.progress import bar
from llmrec_peft.recipe import Recipe

BARS = {"rating": 5, "click": 8, "ranking": 4}
"""Baselines of each task, for the progress bar."""


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
    with bar("baselines", BARS[head.task], show=show) as shown:
        for baseline in _fitted(head, recipe, prepared, texts):
            found.append(baseline)
            shown.advance(text=baseline.name)
    return found


def _fitted(head: TaskHead[Any], recipe: Recipe, prepared: Prepared, texts: Texts) -> Iterator[Baseline]:
    vocabulary = prepared.vocabulary
    train, valid, test = prepared.records(prepared.train), prepared.valid, prepared.test
    fit = prepared.records(prepared.learned(recipe.refits))
    sizes = (vocabulary.num_users, vocabulary.num_items)
    if head.task == "rating":
        yield from rating_baselines(train, valid, fit, test, *sizes, prepared.dataset.rating_range)
    elif head.task == "click":
        from llmrec_peft.evaluation.baselines.click import ClickData, click_baselines

        span = prepared.dataset.rating_range
        parts = [replace(part, label=head.observed(part.label, span)) for part in (train, valid, fit, test)]
        in_time = recipe.data.protocol == "prequential"
        yield from click_baselines(
            ClickData(parts[0], parts[1], parts[2], parts[3], vocabulary.num_items, texts.items, in_time)
        )
    else:
        from llmrec_peft.evaluation.baselines.ranking import RankingData, ranking_baselines

        own = recipe.evaluation.own_items
        yield from ranking_baselines(
            RankingData(train, valid, fit, test, vocabulary.num_items, texts.items, own, head.metric)
        )


def best_line(baselines: list[Baseline], metric: str, measure: Measure, prepared: Prepared) -> Baseline | None:
    """The trivial baseline that is best on validation: the line."""
    best: tuple[float, Baseline] | None = None
    for baseline in baselines:
        if baseline.trivial:
            figure = measure.report(baseline.valid, prepared.valid)[metric]
            if best is None or better(metric, figure, best[0]):
                best = (figure, baseline)
    return None if best is None else best[1]

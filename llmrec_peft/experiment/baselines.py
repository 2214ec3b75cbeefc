"""Baselines of each task, fitted on prepared data, and which of them a model has to beat."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from llmrec_peft.data.dataset import titles
from llmrec_peft.data.finite import require_finite
from llmrec_peft.evaluation.baselines.baseline import Baseline
from llmrec_peft.evaluation.baselines.rating import rating_baselines
from llmrec_peft.evaluation.measures import Measure, better
from llmrec_peft.evaluation.outcomes import Ranks
from llmrec_peft.experiment.prepared import Prepared
from llmrec_peft.heads.contract import TaskHead
from llmrec_peft.progress import SILENT, Progress

if TYPE_CHECKING:
    from torch import Tensor

BASELINES = {"rating": 5, "click": 8, "ranking": 5}
"""Baselines of each task, for the progress bar."""


def baselines_of(
    head: str, prepared: Prepared, item_vectors: Tensor | None, progress: Progress = SILENT
) -> list[Baseline]:
    """Fit every baseline of a head's task, tuned on validation.

    Args:
        head: Name of the head.
        prepared: Data, its recipe and the protocol of the evaluation.
        item_vectors: Untuned vectors of all items' texts, float32 [num_items, width]; None where nothing is read.
        progress: Where to report to.
    """
    bare = prepared.recipe.reads.heads[head]
    baselines = []
    with progress.bar("baselines", BASELINES[bare.task]) as shown:
        for baseline in _fitted(bare, prepared, item_vectors):
            for part, outcome in (("validation", baseline.valid), ("test", baseline.test)):
                if not isinstance(outcome, Ranks):
                    require_finite(outcome, f"{part} scores of baseline {baseline.name}")
            baselines.append(baseline)
            shown.advance(text=baseline.name)
    return baselines


def _fitted(head: TaskHead[Any], prepared: Prepared, item_vectors: Tensor | None) -> Iterator[Baseline]:
    vocabulary, protocol = prepared.vocabulary, prepared.protocol
    train, valid, test = prepared.records(protocol.train), prepared.valid, prepared.test
    fit = prepared.records(protocol.learned)
    span = prepared.dataset.rating_range
    if head.task == "rating":
        yield from rating_baselines(train, valid, fit, test, vocabulary.num_users, vocabulary.num_items, span)
    elif head.task == "click":
        from llmrec_peft.data.rows import Columns as ItemColumns
        from llmrec_peft.evaluation.baselines.click import ClickData, click_baselines
        from llmrec_peft.evaluation.baselines.groups import groups_of

        train, valid, fit, test = (
            replace(part, label=head.observed(part.label, span)) for part in (train, valid, fit, test)
        )
        columns = ItemColumns(prepared.dataset.items)
        how = (vocabulary.num_items, item_vectors, protocol.in_time, head.metric, groups_of(columns))
        yield from click_baselines(ClickData(train, valid, fit, test, *how))
    else:
        from llmrec_peft.evaluation.baselines.ranking import ranking_baselines
        from llmrec_peft.evaluation.baselines.ranking_data import RankingData

        preferences = _preferences(prepared) if prepared.dataset.items_are_users else None
        named = "title" in prepared.dataset.items.column_names
        given = titles(prepared.dataset.items) if named else None
        sizes = (vocabulary.num_items, item_vectors, protocol.own_items, head.metric)
        yield from ranking_baselines(RankingData(train, valid, fit, test, *sizes, preferences, given))


def _preferences(prepared: Prepared) -> Any | None:
    """Return what the people of the catalogue met, by item index; None if the data do not say."""
    from llmrec_peft.data.rows import Columns
    from llmrec_peft.evaluation.baselines.people import preferences_of

    vocabulary = prepared.vocabulary
    places = vocabulary.item_indices(vocabulary.users)
    return preferences_of(Columns(prepared.dataset.users), places, vocabulary.num_items)


def best_baseline(baselines: list[Baseline], metric: str, measure: Measure, prepared: Prepared) -> Baseline | None:
    """The trivial baseline that is best on validation; None where there is none."""
    best: tuple[float, Baseline] | None = None
    for baseline in baselines:
        if baseline.trivial:
            figure = measure.report(baseline.valid, prepared.valid)[metric]
            if best is None or better(metric, figure, best[0]):
                best = (figure, baseline)
    return None if best is None else best[1]

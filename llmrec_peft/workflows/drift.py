"""Drift: how far another set of item vectors moves a run's scores, rankings and primary metric."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmrec_peft import registry
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.errors import InputError
from llmrec_peft.evaluation.protocol import outcome_of
from llmrec_peft.experiment.prepare import Prepared, prepare
from llmrec_peft.recipe import DEMO
from llmrec_peft.run.recommender import Recommender
from llmrec_peft.workflows.answer_change import change_of_scores, change_of_vectors, share_kept

RANKED_USERS = 100
"""Users whose lists are compared."""


@dataclass(frozen=True)
class Labelled:
    """Validation examples, and what it takes to measure them as the run's validation was.

    Attributes:
        part: The examples.
        prepared: All of the data, where it lies now, with the resolved recipe.
    """

    part: Interactions
    prepared: Prepared


@dataclass(frozen=True)
class Pairs:
    """What is scored with each set of vectors.

    Attributes:
        items: Rows of the catalogue whose texts are encoded, ascending.
        users: User index of each pair.
        places: Place in `items` of each pair's item.
        labelled: The pairs as examples with labels; None where the data is absent.
        ranked: User indices whose lists over `items` are compared.
        source: ``validation``, or ``sample`` where the data is absent.
        metric: Primary metric; None without labels.
        lower_is_better: Its direction.
        label_range: Lowest and highest label; where the primary head keeps no such scale, as rankings do not, the
            5th and 95th percentile of the lists' scores.
    """

    items: NDArray[np.int64]
    users: NDArray[np.int64]
    places: NDArray[np.int64]
    labelled: Labelled | None
    ranked: NDArray[np.int64]
    source: str
    metric: str | None
    lower_is_better: bool
    label_range: tuple[float, float]


def pairs_of(recommender: Recommender, run: Path, data: str | None, limit: int | None, seed: int) -> Pairs:
    """Draw items and users and find the validation pairs among them.

    Raises:
        InputError: When the data is there but is not what the run was trained on.
    """
    rng = np.random.default_rng(seed)
    count, users = len(recommender.items.texts), recommender.vocabulary.num_users
    items = np.arange(count) if limit is None or limit >= count else np.sort(rng.choice(count, limit, replace=False))
    ranked = np.sort(rng.choice(np.arange(1, users), min(RANKED_USERS, users - 1), replace=False))
    head = registry.get("heads", recommender.recipe.head.name)
    path = recommender.recipe.data.path
    if data is None and path != DEMO and (path is None or not Path(path).exists()):
        sample = np.repeat(ranked, len(items)), np.tile(np.arange(len(items)), len(ranked))
        pairs = Pairs(items, *sample, None, ranked, "sample", None, head.lower_is_better, (0.0, 1.0))
        return replace(pairs, label_range=_label_range(recommender, pairs))
    recipe = recommender.recipe if data is None else recommender.recipe.changed({"data.path": data})
    prepared = prepare(recipe)
    if prepared.digest != _data_digest(recommender, run):
        raise InputError(f"the data at {recipe.data.path} is not what {run} was trained on: its digest differs")
    valid = prepared.valid
    place = np.full(count, -1, np.int64)
    place[items] = np.arange(len(items))
    found = place[valid.item - 1]
    kept = np.flatnonzero(found >= 0)
    if not len(kept):
        raise InputError("no validation pair is about the items drawn: raise --limit")
    labelled = Labelled(valid.take(kept), prepared)
    user = labelled.part.user.astype(np.int64)
    of_valid = (items, user, found[kept], labelled, ranked, "validation")
    pairs = Pairs(*of_valid, head.metric, head.lower_is_better, (0.0, 1.0))
    return replace(pairs, label_range=_label_range(recommender, pairs))


def drift(recommender: Recommender, pairs: Pairs, vectors: Tensor, reference: Tensor) -> dict[str, Any]:
    """Compare two sets of vectors of the drawn items, each float32 [items, width]."""
    now, before = (_scores(recommender, pairs, given) for given in (vectors, reference))
    return {
        "vectors": change_of_vectors(vectors, reference),
        "scores": change_of_scores(now[0], before[0]),
        "top_10_kept": share_kept(now[1], before[1]),
        "metric": _metric(recommender, pairs, vectors, reference),
    }


def within(found: dict[str, Any], pairs: Pairs, scores: float, metric: float) -> bool:
    """Whether a drift passes; one that is not a number never does.

    Args:
        found: What `drift` gave.
        pairs: What it was measured on.
        scores: Largest mean change of a score, as a share of `Pairs.label_range`.
        metric: Largest relative worsening of the primary metric.
    """
    low, high = pairs.label_range
    passes = found["scores"]["mean"] <= scores * (high - low)
    if found["metric"] is not None:
        passes = passes and found["metric"]["worsening"] <= metric
    return bool(passes)


def _with_vectors(recommender: Recommender, pairs: Pairs, vectors: Tensor) -> Recommender:
    """The run with other vectors of the drawn items."""
    catalogue = recommender.catalogue
    assert catalogue.vectors is not None  # noqa: S101 - refused before
    replaced = catalogue.vectors.float().clone()
    replaced[torch.from_numpy(pairs.items).to(replaced.device)] = vectors.to(replaced)
    return recommender.with_vectors(replaced)


def _scores(recommender: Recommender, pairs: Pairs, vectors: Tensor) -> tuple[NDArray[Any], NDArray[Any]]:
    """Scores of the pairs, and of all drawn items for each ranked user, [users, items]."""
    other = _with_vectors(recommender, pairs, vectors)
    names, items = other.vocabulary.users, [other.catalogue.ids[row] for row in pairs.items]
    own = other.score([names[user - 1] for user in pairs.users], [items[place] for place in pairs.places])
    return own, _lists(other, pairs)


def _lists(recommender: Recommender, pairs: Pairs) -> NDArray[Any]:
    """Scores of all drawn items for each ranked user, [users, items]."""
    names, items = recommender.vocabulary.users, [recommender.catalogue.ids[row] for row in pairs.items]
    lists = recommender.score([names[user - 1] for user in pairs.ranked for _ in items], items * len(pairs.ranked))
    return lists.reshape(len(pairs.ranked), len(items))


def _metric(recommender: Recommender, pairs: Pairs, vectors: Tensor, reference: Tensor) -> dict[str, float] | None:
    """The primary metric on validation with each set of vectors, and by which share it is worse with the first."""
    if pairs.labelled is None or pairs.metric is None:
        return None
    now, before = (_figure(recommender, pairs, pairs.labelled, pairs.metric, given) for given in (vectors, reference))
    change = now - before if pairs.lower_is_better else before - now
    worsening = change / abs(before) if before else float(change > 0)
    return {"value": now, "reference": before, "worsening": worsening}


def _figure(recommender: Recommender, pairs: Pairs, labelled: Labelled, metric: str, vectors: Tensor) -> float:
    """The primary metric on validation, measured as training does: with each example's own history.

    Raises:
        InputError: When the pairs drawn have none, such as AUC where all are of one class.
    """
    other, part, prepared = _with_vectors(recommender, pairs, vectors), labelled.part, labelled.prepared
    head, protocol = prepared.recipe.head.name, prepared.protocol
    outcome = outcome_of(other.model, head, part, protocol, protocol.train)
    report = prepared.measures[head].report(outcome, part)
    if metric not in report:
        raise InputError(f"the {len(part)} validation pairs drawn have no {metric}: raise --limit")
    return report[metric]


def _label_range(recommender: Recommender, pairs: Pairs) -> tuple[float, float]:
    """What a change of scores is held against, see `Pairs.label_range`."""
    head = recommender.recipe.head.name
    if registry.get("heads", head).task == "click":
        return 0.0, 1.0
    for name, tensor in recommender.model.head_parts[head].state_dict().items():
        if name.rsplit(".", 1)[-1] == "range" and tensor.numel() == 2:  # noqa: PLR2004 - lowest and highest
            low, high = tensor.tolist()
            return float(low), float(high)
    low, high = np.quantile(_lists(recommender, pairs), (0.05, 0.95)).tolist()
    return float(low), float(high)


def _data_digest(recommender: Recommender, run: Path) -> str:
    try:
        return str(recommender.loaded.sealed.report()["data"]["digest"])
    except (KeyError, TypeError):
        raise InputError(f"{run}: metrics.json is not what a run writes") from None

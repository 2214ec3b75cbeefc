"""Baselines of clicks and likes, each tuned on validation: rates, popularity, neighbours, texts, their blend."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import expit, logit

from llmrec_peft.data.interactions import Interactions
from llmrec_peft.evaluation.baselines.baseline import Baseline
from llmrec_peft.evaluation.baselines.rates import Floats, counts_before, judged
from llmrec_peft.evaluation.click_metrics import auc
from llmrec_peft.heads.calibration import fitted

if TYPE_CHECKING:
    from torch import Tensor

USER_SHRINK = (1.0, 2.0, 5.0, 10.0)
ITEM_SHRINK = (2.0, 5.0, 10.0, 20.0)
ITEM_WEIGHTS = (0.5, 0.75, 1.0, 1.5, 2.0)
EXTRA_WEIGHTS = (0.0, 0.1, 0.2, 0.4, 0.8)
"""Grid: weights of a prior as numbers of labels, and weights of one log-odds added to another."""


@dataclass(frozen=True)
class ClickData:
    """Data of the baselines; labels are 1 and 0.

    Attributes:
        train: Training part.
        valid: Validation part.
        fit: Data of the final baselines: train + valid, or train if the model is not refit.
        test: Test part; its labels are read only with `in_time`, by later examples.
        num_items: Rows of an item table.
        texts: Untuned vectors of all items' texts, float32 [num_items, width]; None if no text is read.
        in_time: Whether every outcome before an example's own time counts (the prequential protocol).
    """

    train: Interactions
    valid: Interactions
    fit: Interactions
    test: Interactions
    num_items: int
    texts: Tensor | None
    in_time: bool


@dataclass(frozen=True)
class _Sides:
    """Log-odds of validation and of test examples."""

    valid: Floats
    test: Floats


def click_baselines(data: ClickData) -> Iterator[Baseline]:
    """Tune every baseline on validation and predict test once; scores are calibrated on validation (Platt)."""
    observed = data.valid.label
    share = _Sides(*(np.full(len(part), logit(_clip(data.train.label.mean()))) for part in (data.valid, data.test)))
    yield _calibrated("global_rate", {}, share, observed)
    users = {shrink: _user_odds(data, shrink) for shrink in USER_SHRINK}
    items = {shrink: _item_odds(data, shrink) for shrink in ITEM_SHRINK}
    yield _calibrated("user_rate", *_best([({"shrink": s}, found) for s, found in users.items()], observed), observed)
    yield _calibrated("item_rate", *_best([({"shrink": s}, found) for s, found in items.items()], observed), observed)
    residuals = {pair: _user_residuals(data, *pair) for pair in itertools.product(USER_SHRINK, ITEM_SHRINK)}
    joined = [
        (
            {"user_shrink": u, "item_shrink": i, "item_weight": w, "user_residual": float(by_residual)},
            _sum((1.0, user), (w, items[i])),
        )
        for u, i, w in itertools.product(USER_SHRINK, ITEM_SHRINK, ITEM_WEIGHTS)
        for by_residual, user in ((False, users[u]), (True, residuals[u, i]))
    ]
    rates = _best(joined, observed)
    yield _calibrated("user_and_item_rates", *rates, observed)
    yield _calibrated("popularity", {}, _popularity(data), observed)
    extra: dict[str, _Sides] = {}
    if data.valid.history is not None and data.train.history is not None:
        extra["neighbours"] = _neighbours(data)
        yield _calibrated("neighbour_counts", {}, extra["neighbours"], observed)
        if data.texts is not None:
            extra["text"] = _text(data, data.texts)
            yield _calibrated("text_cosine", {}, extra["text"], observed)
    if extra:
        mixes = []
        for weights in itertools.product(EXTRA_WEIGHTS, repeat=len(extra)):
            terms = [(w, _standard(found)) for w, found in zip(weights, extra.values(), strict=True)]
            settings = {**rates[0], **dict(zip(extra, weights, strict=True))}
            mixes.append((settings, _sum((1.0, rates[1]), *terms)))
        name = "rates_neighbours_and_text" if "text" in extra else "rates_and_neighbours"
        yield _calibrated(name, *_best(mixes, observed), observed)


def _parts(data: ClickData) -> tuple[tuple[Interactions, Interactions], tuple[Interactions, Interactions]]:
    """Return what is counted and what is predicted, for validation and for test."""
    return (data.train, data.valid), (data.fit, data.test)


def _user_odds(data: ClickData, shrink: float) -> _Sides:
    """Return log-odds of the user's rate, over known interactions and histories that contain likes and dislikes."""
    return _Sides(*(_user_side(learn, ask, data.in_time, shrink, None) for learn, ask in _parts(data)))


def _user_residuals(data: ClickData, shrink: float, item_shrink: float) -> _Sides:
    """Return log-odds of how much the user's labels differ from the rates of the same items."""
    return _Sides(*(_user_side(learn, ask, data.in_time, shrink, item_shrink) for learn, ask in _parts(data)))


def _user_side(
    learn: Interactions, ask: Interactions, in_time: bool, shrink: float, item_shrink: float | None
) -> Floats:
    mean = float(learn.label.mean())
    expected = np.full(int(max(learn.item.max(), ask.item.max(initial=0), _highest(ask))) + 1, mean)
    if item_shrink is not None:
        keys, values = _item_evidence(learn)
        sums = np.bincount(keys, values, len(expected))[: len(expected)]
        counts = np.bincount(keys, minlength=len(expected))[: len(expected)]
        expected = (sums + item_shrink * mean) / (counts + item_shrink)
    own, asked = learn.label - expected[learn.item], ask.label - expected[ask.item]
    found = counts_before(learn.user, own.astype(np.float64), ask.user, asked, ask.timestamp, in_time)
    count, total = found.count, found.total
    if _tells_dislikes(learn):
        row, item, label = judged(ask)
        count = count + np.bincount(row, minlength=len(ask))
        total = total + np.bincount(row, label - expected[item], len(ask))
    return np.asarray(logit(_clip(mean + total / (count + shrink))), np.float64)


def _item_odds(data: ClickData, shrink: float) -> _Sides:
    """Return log-odds of the item's rate, over known interactions and the histories of known examples."""
    sides = []
    for learn, ask in _parts(data):
        keys, values = _item_evidence(learn)
        counts = counts_before(keys, values, ask.item, ask.label.astype(np.float64), ask.timestamp, data.in_time)
        sides.append(np.asarray(logit(_clip(counts.rate(shrink, float(learn.label.mean())))), np.float64))
    return _Sides(*sides)


def _item_evidence(learn: Interactions) -> tuple[NDArray[np.int64], Floats]:
    """Return items and labels that are learnt from, with those of histories if each record is a user of its own."""
    if not _tells_dislikes(learn) or len(np.unique(learn.user)) < len(learn):
        return learn.item, learn.label.astype(np.float64)
    _, item, label = judged(learn)
    return np.concatenate([learn.item, item]), np.concatenate([learn.label, label]).astype(np.float64)


def _tells_dislikes(learn: Interactions) -> bool:
    """Return whether the owner gives histories with likes and dislikes: likes alone have no rate.

    Histories made from a user's own earlier interactions are already counted with those.
    """
    histories = learn.history
    alone = len(np.unique(learn.user)) == len(learn)
    return histories is not None and alone and bool((histories.label == 0.0).any())


def _popularity(data: ClickData) -> _Sides:
    sides = []
    for learn, ask in _parts(data):
        keys, _ = _item_evidence(learn)
        ones, asked = np.ones(len(keys)), np.ones(len(ask))
        sides.append(np.log1p(counts_before(keys, ones, ask.item, asked, ask.timestamp, data.in_time).count))
    return _Sides(*sides)


def _neighbours(data: ClickData) -> _Sides:
    """Return how often users who liked the history's items also liked the item, newest entries first."""
    sides = []
    for learn, ask in _parts(data):
        liked = _liked(learn, data.num_items)
        together = (liked.T @ liked).tocsr()
        together.setdiag(0.0)
        spread = np.asarray(np.sqrt(liked.sum(0) + 1.0)).reshape(-1)
        own = _signed(ask, data.num_items)
        scores = np.asarray((own @ together)[np.arange(len(ask)), ask.item]).reshape(-1)
        sides.append(scores / spread[ask.item])
    return _Sides(*sides)


def _liked(learn: Interactions, num_items: int) -> Any:
    """Return who liked what as a sparse matrix: users, and records if histories are given, by items."""
    positive = learn.label > 0.5  # noqa: PLR2004 - labels are 1 and 0
    row, item, label = judged(learn)
    width = int(learn.user.max(initial=0)) + 1
    if len(np.unique(learn.user)) == len(learn):
        rows = np.concatenate([learn.user[positive], learn.user[row[label > 0.5]]])  # noqa: PLR2004
        items = np.concatenate([learn.item[positive], item[label > 0.5]])  # noqa: PLR2004
    else:
        rows, items = learn.user[positive], learn.item[positive]
    likes = sparse.csr_matrix((np.ones(len(rows), np.float32), (rows, items)), shape=(width, num_items))
    likes.data[:] = 1.0
    return likes


def _signed(ask: Interactions, num_items: int) -> Any:
    """Return each example's history as a row: liked entries positive, disliked ones negative, absolute sum 1.

    The p-th newest entry weighs 1 / √p.
    """
    row, item, label = judged(ask)
    end = np.searchsorted(row, row, side="right")
    value = np.where(label > 0.5, 1.0, -1.0) / np.sqrt(end - np.arange(len(row)))  # noqa: PLR2004
    matrix = sparse.csr_matrix((value, (row, item)), shape=(len(ask), num_items))
    size = np.asarray(abs(matrix).sum(1)).reshape(-1)
    return sparse.diags(1.0 / np.maximum(size, 1e-9)) @ matrix


def _text(data: ClickData, texts: Tensor) -> _Sides:
    """Return the cosine of the item's text with the history's, disliked entries subtracted."""
    vectors = texts.detach().float().cpu().numpy()
    vectors = vectors - vectors.mean(0)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    sides = []
    for ask in (data.valid, data.test):
        profiles = np.asarray(_signed(ask, data.num_items) @ vectors)
        sides.append((profiles * vectors[ask.item]).sum(1))
    return _Sides(*sides)


def _best(
    candidates: list[tuple[dict[str, float], _Sides]], observed: NDArray[np.float32]
) -> tuple[dict[str, float], _Sides]:
    """Return the settings whose log-odds have the best AUC on validation, with their log-odds."""
    return max(candidates, key=lambda one: auc(one[1].valid, observed))


def _calibrated(name: str, settings: dict[str, float], sides: _Sides, observed: NDArray[np.float32]) -> Baseline:
    probability = expit(sides.valid)
    if np.ptp(sides.valid) == 0.0:
        return Baseline(name, settings, probability, expit(sides.test))
    curve = fitted("platt", probability, observed)
    slope, intercept = float(curve["slope"][0]), float(curve["intercept"][0])
    return Baseline(name, settings, *(expit(slope * odds + intercept) for odds in (sides.valid, sides.test)))


def _sum(*terms: tuple[float, _Sides]) -> _Sides:
    return _Sides(sum(w * s.valid for w, s in terms), sum(w * s.test for w, s in terms))  # type: ignore[arg-type]


def _standard(sides: _Sides) -> _Sides:
    centre, spread = sides.valid.mean(), max(float(sides.valid.std()), 1e-9)
    return _Sides((sides.valid - centre) / spread, (sides.test - centre) / spread)


def _highest(part: Interactions) -> int:
    return 0 if part.history is None else int(part.history.item.max(initial=0))


def _clip(rate: Any) -> Any:
    return np.clip(rate, 1e-3, 1.0 - 1e-3)

"""Folds: several divisions of training + validation, each by the recipe's own kind of split."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.data.histories import earlier
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.data.splits import Split
from llmrec_peft.experiment.prepared import Prepared

Rows = NDArray[np.int64]
ENOUGH = 1500
"""Examples that all folds together should predict: with as many, RMSE has a standard error of about two per cent."""
FEWEST, MOST = 3, 8
"""Number of folds, at least and at most."""
LEAST_TRAINED = 0.5
"""Share of training + validation that the earliest fold in time still learns from, at least."""


@dataclass(frozen=True)
class Fold:
    """One division of training + validation.

    Attributes:
        train: Rows of the interactions that are learned from.
        ask: Rows that are predicted; no two folds predict the same row.
    """

    train: Rows
    ask: Rows


def number_of_folds(valid: int) -> int:
    """Return how many folds predict enough examples.

    Args:
        valid: Examples of the validation part.

    >>> number_of_folds(40), number_of_folds(300), number_of_folds(900)
    (8, 5, 3)
    """
    return int(np.clip(-(-ENOUGH // max(1, valid)), FEWEST, MOST))


def folds_of(numbered: Interactions, parts: Split, kind: str, count: int, seed: int) -> list[Fold]:
    """Divide training + validation several times; the first fold is the recipe's own training and validation part.

    In time (``temporal``) each further fold predicts the stretch before the one that the fold before it predicts, and
    learns from what is earlier still: a rolling origin. With ``leave-last-out`` it predicts each user's interaction
    before. With ``cold-item`` and ``cold-user`` it predicts all interactions of other items or users. Otherwise it
    predicts other rows, drawn at random.

    Args:
        numbered: All interactions.
        parts: Rows of training, validation and test.
        kind: The recipe's split.
        count: Folds at most; in time there may be fewer, see `LEAST_TRAINED`.
        seed: Seed of what is drawn.
    """
    own = Fold(parts.train, parts.valid)
    if kind == "temporal":
        return [own, *_in_time(numbered, parts, count - 1)]
    if kind == "leave-last-out":
        return [own, *_last_out(numbered, parts, count - 1)]
    if kind in ("cold-item", "cold-user"):
        return [own, *_cold(numbered.item if kind == "cold-item" else numbered.user, parts, count - 1, seed)]
    return [own, *_drawn(parts, count - 1, seed)]


def fold_of(prepared: Prepared, fold: Fold) -> Prepared:
    """Return the data with a fold's rows as its training and validation part; test stays as it is.

    Histories that were made of earlier interactions are made again, of those that the fold learns from alone; histories
    that the owner gives stay.
    """
    numbered, section = prepared.interactions, prepared.recipe.data
    given = prepared.dataset.gives_histories and section.history != "earlier"
    if numbered.history is not None and not given:
        every = np.arange(len(numbered))
        columns = (numbered.user, numbered.item, numbered.label, numbered.timestamp)
        history = earlier(*columns, every, fold.train)
        if not prepared.dataset.repeats:
            history, _ = history.without(numbered.item, fold.train)
        numbered = replace(numbered, history=history)
    return replace(prepared, interactions=numbered, split=Split(fold.train, fold.ask, prepared.split.test))


def _in_time(numbered: Interactions, parts: Split, count: int) -> list[Fold]:
    """Stretches of training, each as long as validation, the newest first; what is later than a fold is left out."""
    order = parts.train[np.argsort(numbered.timestamp[parts.train], kind="stable")]
    time = numbered.timestamp[order]
    least, found, end = LEAST_TRAINED * len(parts.fit), [], len(order)
    for _ in range(count):
        begin = max(0, end - len(parts.valid))
        begin = int(np.searchsorted(time, time[begin], side="left"))  # one moment is not divided
        if begin < least or begin == end:
            break
        found.append(Fold(np.sort(order[:begin]), np.sort(order[begin:end])))
        end = begin
    return found


def _last_out(numbered: Interactions, parts: Split, count: int) -> list[Fold]:
    found, left = [], parts.train
    for _ in range(count):
        order = left[np.lexsort((left, numbered.timestamp[left], numbered.user[left]))]
        user = numbered.user[order]
        last = np.append(user[1:] != user[:-1], True) & ~np.insert(user[1:] != user[:-1], 0, True)
        if not last.any():
            break
        found.append(Fold(np.sort(order[~last]), np.sort(order[last])))
        left = found[-1].train
    return found


def _cold(ids: Rows, parts: Split, count: int, seed: int) -> list[Fold]:
    fit, warm = parts.fit, np.unique(ids[parts.train])
    size = max(1, len(np.unique(ids[parts.valid])))
    order = np.random.default_rng([seed, 512]).permutation(warm)
    held = [order[at * size : (at + 1) * size] for at in range(min(count, len(warm) // size))]
    inside = [np.isin(ids[fit], some) for some in held]
    return [Fold(fit[~one], fit[one]) for one in inside if one.any() and not one.all()]


def _drawn(parts: Split, count: int, seed: int) -> list[Fold]:
    order = np.random.default_rng([seed, 512]).permutation(parts.train)
    size, fit = len(parts.valid), parts.fit
    held = [order[at * size : (at + 1) * size] for at in range(min(count, len(order) // max(1, size)))]
    return [Fold(np.setdiff1d(fit, some), np.sort(some)) for some in held]

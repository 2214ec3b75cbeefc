"""Rates: the share of positive labels of a user and of an item, over known labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.data.interactions import Interactions

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Counts:
    """Labels known before each asking example.

    Attributes:
        count: Their number, float64 [a].
        total: Their sum, float64 [a].
    """

    count: Floats
    total: Floats

    def rate(self, shrink: float, prior: Floats | float) -> Floats:
        """Return the mean label, shrunk towards a prior with the weight of `shrink` labels."""
        return (self.total + shrink * prior) / (self.count + shrink)


def counts_before(
    learn_key: NDArray[np.int64],
    learn_value: Floats,
    ask_key: NDArray[np.int64],
    ask_value: Floats,
    ask_time: NDArray[np.int64],
    in_time: bool,
) -> Counts:
    """Count values by key: of the learnt part, and, with `in_time`, of asking examples before each one's time.

    Args:
        learn_key: User or item of the learnt part, [n].
        learn_value: Labels or residuals, [n].
        ask_key: User or item of the asking examples, [a].
        ask_value: Their labels or residuals, which only later examples read, [a].
        ask_time: Their times, [a].
        in_time: Whether asking examples become known after their own time.
    """
    size = int(max(learn_key.max(initial=0), ask_key.max(initial=0))) + 1
    count: Floats = np.bincount(learn_key, minlength=size)[ask_key].astype(np.float64)
    total: Floats = np.bincount(learn_key, learn_value, size)[ask_key].astype(np.float64)
    if in_time and len(ask_key):
        order = np.lexsort((ask_time, ask_key))
        key, time, value = ask_key[order], ask_time[order], ask_value[order]
        new_key = np.append(True, key[1:] != key[:-1])
        new_moment = new_key | np.append(True, time[1:] != time[:-1])
        place = np.arange(len(order))
        begin = np.maximum.accumulate(np.where(new_key, place, 0))
        moment = np.maximum.accumulate(np.where(new_moment, place, 0))
        summed = np.concatenate([[0.0], np.cumsum(value)])
        count[order] += (moment - begin).astype(np.float64)
        total[order] += summed[moment] - summed[begin]
    return Counts(np.asarray(count, np.float64), np.asarray(total, np.float64))


def judged(part: Interactions) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """Return the entries of a part's histories as (row, item, label), each [m]; nothing if all are likes.

    A history of likes alone says nothing about the share of likes.
    """
    history = part.history
    if history is None or len(history) == 0:
        return (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    row = np.repeat(np.arange(len(history)), history.lengths)
    at = np.concatenate([np.arange(b, e) for b, e in zip(history.begin, history.end, strict=True)]).astype(np.int64)
    item, label = history.item[at], history.label[at].astype(np.float64)
    known = item > 0
    return row[known], item[known], label[known]

"""Rates: how many of a user's and of an item's labels are positive, as far as they may be known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.data.interactions import Interactions

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Counts:
    """Labels seen before each asking example.

    Attributes:
        count: How many, float64 [a].
        total: Their sum, float64 [a].
    """

    count: Floats
    total: Floats

    def rate(self, shrink: float, prior: Floats | float) -> Floats:
        """Mean label, drawn towards a prior that weighs as much as `shrink` labels."""
        return (self.total + shrink * prior) / (self.count + shrink)


def counts_before(
    learn_key: NDArray[np.int64],
    learn_value: Floats,
    ask_key: NDArray[np.int64],
    ask_value: Floats,
    ask_time: NDArray[np.int64],
    in_time: bool,
) -> Counts:
    """Count values by key: of what is learnt, and, in time, of asking examples before each one's own time.

    Args:
        learn_key: User or item of what is learnt, [n].
        learn_value: Labels or residuals, [n].
        ask_key: User or item of the asking examples, [a].
        ask_value: Their labels or residuals, which only later examples see, [a].
        ask_time: Their times, [a].
        in_time: Whether asking examples become known once their time is over.
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
    """Entries of a part's histories as (row, item, label), each [m]; nothing where histories tell likes alone.

    A history that holds only what was liked says nothing of the share of likes.
    """
    told = part.history
    if told is None or len(told) == 0:
        return (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    row = np.repeat(np.arange(len(told)), told.lengths)
    at = np.concatenate([np.arange(b, e) for b, e in zip(told.begin, told.end, strict=True)]).astype(np.int64)
    item, label = told.item[at], told.label[at].astype(np.float64)
    known = item > 0
    return row[known], item[known], label[known]

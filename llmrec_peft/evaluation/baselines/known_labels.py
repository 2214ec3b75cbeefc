"""Known labels: log-odds of users' and items' rates for the examples of one part."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from scipy.special import logit

from llmrec_peft.data.interactions import Interactions
from llmrec_peft.data.order import distinct_count
from llmrec_peft.evaluation.baselines.entries import all_entries, histories_of
from llmrec_peft.evaluation.baselines.rates import Counts, Floats


class KnownLabels:
    """What is counted, and who asks: a user's and an item's labels that are known before each asking example.

    If each record is a user of its own and histories contain likes and dislikes (a history of likes alone has no rate),
    the labels of histories count as well. Histories made of a user's own earlier interactions are counted with those.
    """

    def __init__(self, learn: Interactions, ask: Interactions, num_items: int, in_time: bool) -> None:
        """Set both parts.

        Args:
            learn: Interactions that are counted; labels are 1 and 0.
            ask: Examples; their labels are read only with `in_time`, by later examples.
            num_items: Rows of an item table.
            in_time: Whether asking examples become known after their own time.
        """
        self.learn, self.ask = learn, ask
        self._num_items, self._in_time = num_items, in_time
        self._by_user: dict[float | None, Counts] = {}
        self.mean = float(learn.label.mean())

    @cached_property
    def alone(self) -> bool:
        """Whether each record is a user of its own."""
        return distinct_count(self.learn.user) == len(self.learn)

    @cached_property
    def _reads_histories(self) -> bool:
        histories = self.learn.history
        return histories is not None and self.alone and bool((histories.label == 0.0).any())

    @cached_property
    def _by_item(self) -> Counts:
        """Labels of each item index, with those of the learnt histories if they are read."""
        learn, size = self.learn, self._num_items
        counts = Counts.by_key(learn.item, learn.label.astype(np.float64), size)
        if self._reads_histories:
            for _, entries in all_entries(histories_of(learn)):
                counts = counts.plus(Counts.by_key(entries.item, entries.label, size))
        return counts

    @cached_property
    def _of_item(self) -> Counts:
        """Labels of each asking example's item that are known before it."""
        ask = self.ask
        return self._by_item.before(ask.item, ask.label.astype(np.float64), ask.timestamp, self._in_time)

    def _of_user(self, item_shrink: float | None) -> Counts:
        """Known labels of each asking example's user, less what their items let expect: the mean, or items' rates."""
        if item_shrink not in self._by_user:
            learn, ask = self.learn, self.ask
            expected = np.full(self._num_items, self.mean)
            if item_shrink is not None:
                expected = self._by_item.rate(item_shrink, self.mean)
            size = int(max(learn.user.max(initial=0), ask.user.max(initial=0))) + 1
            own = Counts.by_key(learn.user, learn.label - expected[learn.item], size)
            known = own.before(ask.user, ask.label - expected[ask.item], ask.timestamp, self._in_time)
            if self._reads_histories:
                for rows, entries in all_entries(histories_of(ask)):
                    told = Counts.by_key(entries.row, entries.label - expected[entries.item], len(rows))
                    known.count[rows] += told.count
                    known.total[rows] += told.total
            self._by_user[item_shrink] = known
        return self._by_user[item_shrink]

    def user_odds(self, shrink: float, item_shrink: float | None = None) -> Floats:
        """Return log-odds of the user's rate, float64 [n].

        Args:
            shrink: Weight of the mean, as a number of labels.
            item_shrink: If given, the user's labels are compared with the rates of the same items, shrunk by it.
        """
        known = self._of_user(item_shrink)
        return _odds(self.mean + known.total / (known.count + shrink))

    def item_odds(self, shrink: float) -> Floats:
        """Return log-odds of the item's rate, shrunk towards the mean, float64 [n]."""
        return _odds(self._of_item.rate(shrink, self.mean))

    def popularity(self) -> Floats:
        """Return log(1 + number of known labels of the item), float64 [n]."""
        return np.asarray(np.log1p(self._of_item.count), np.float64)


def _odds(rate: Any) -> Floats:
    return np.asarray(logit(clipped(rate)), np.float64)


def clipped(rate: Any) -> Any:
    """Return rates within 0.001 and 0.999, so that their log-odds are finite."""
    return np.clip(rate, 1e-3, 1.0 - 1e-3)

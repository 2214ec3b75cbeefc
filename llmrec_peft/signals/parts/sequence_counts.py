"""Sequence counts: how often an item came some steps after or before another one in users' sequences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmrec_peft.data.interactions import Interactions
from llmrec_peft.data.order import in_time
from llmrec_peft.signals.parts.item_links import strongest

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class StepCounts:
    """Counts of pairs of items by step, sorted by item, other item and step.

    Attributes:
        key: (item · num_items + other) · 2 steps + step, int64 [m]; the step is k − 1 where the other item came k
            places later, and steps + k − 1 where it came k places earlier.
        count: How often, float32 [m].
        num_items: Rows of an item table.
        steps: Places apart that are counted, at most.
    """

    key: Ints
    count: NDArray[np.float32]
    num_items: int
    steps: int

    @classmethod
    def of(cls, train: Interactions, num_items: int, steps: int) -> StepCounts:
        """Count users' sequences in the order of time."""
        order = in_time(train.user, train.timestamp)
        user, item = train.user[order], train.item[order]
        keys, counts = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for apart in range(1, steps + 1):
            first, later = item[:-apart], item[apart:]
            together = (user[apart:] == user[:-apart]) & (first > 0) & (later > 0)
            first, later = first[together], later[together]
            for one, other, step in ((first, later, apart - 1), (later, first, steps + apart - 1)):
                found, often = np.unique((one * num_items + other) * (2 * steps) + step, return_counts=True)
                keys.append(found)
                counts.append(often)
        key, count = np.concatenate(keys), np.concatenate(counts)
        order = np.argsort(key)  # each key comes once: steps differ
        return cls(key[order], count[order].astype(np.float32), num_items, steps)

    def plus(self, key: Ints) -> StepCounts:
        """Return the counts with one more for each of some keys."""
        every = np.concatenate([self.key, key])
        found, place = np.unique(every, return_inverse=True)
        count = np.bincount(place, np.concatenate([self.count, np.ones(len(key), np.float32)]), len(found))
        return StepCounts(found, count.astype(np.float32), self.num_items, self.steps)

    @property
    def item(self) -> Ints:
        """Item of each count, [m]."""
        return self.key // (2 * self.steps * self.num_items)

    @property
    def other(self) -> Ints:
        """The item that came after or before it, [m]."""
        return self.key // (2 * self.steps) % self.num_items

    @property
    def step(self) -> Ints:
        """Number of the step, [m]."""
        return self.key % (2 * self.steps)

    @property
    def begin(self) -> Ints:
        """Where the counts of each item begin, [num_items + 1]."""
        return np.searchsorted(self.key, np.arange(self.num_items + 1) * (2 * self.steps * self.num_items))

    def heaviest(self, weight: NDArray[np.float64], most: int) -> StepCounts:
        """Return the counts of the `most` heaviest pairs of each item, by the sums of their weights, float64 [m]."""
        from scipy import sparse

        pair = self.key // (2 * self.steps)
        first = np.flatnonzero(np.diff(pair, prepend=-1))
        sums = np.add.reduceat(weight, first) if len(first) else weight
        begin = np.searchsorted(pair[first], np.arange(self.num_items + 1) * self.num_items)
        links = sparse.csr_matrix((sums, pair[first] % self.num_items, begin), shape=(self.num_items,) * 2)
        chosen = np.repeat(strongest(links, most), np.diff(first, append=len(pair)))
        return StepCounts(self.key[chosen], self.count[chosen], self.num_items, self.steps)


class FollowedCounts:
    """Counts that are kept up to date with outcomes.

    Attributes:
        counts: Counts of pairs.
        often: How often each item occurred, [num_items].
    """

    def __init__(self, counts: StepCounts, often: Ints, newest: Ints) -> None:
        """Keep counts, frequencies, and each user's newest items, the newest last, [num_users, steps]; 0 for none."""
        self.counts, self.often, self._newest = counts, often, newest

    @classmethod
    def of(cls, known: Interactions, num_users: int, num_items: int, steps: int) -> FollowedCounts:
        """Count known interactions."""
        newest = np.zeros((num_users, steps), np.int64)
        order = in_time(known.user, known.timestamp)
        user = known.user[order]
        end = np.searchsorted(user, user, side="right")
        back = end - np.arange(len(order))
        near = back <= steps
        newest[user[near], steps - back[near]] = known.item[order][near]
        return cls(StepCounts.of(known, num_items, steps), known.counts_by_item(num_items), newest)

    def see(self, user: Ints, item: Ints) -> None:
        """Count some interactions, in their order; unknown users and items have no pairs."""
        keys = []
        steps, size = self.counts.steps, self.counts.num_items
        for who, what in zip(user.tolist(), item.tolist(), strict=True):
            if not who or not what:
                continue
            for apart, before in enumerate(self._newest[who, ::-1].tolist()):
                if before:
                    keys.append((before * size + what) * (2 * steps) + apart)
                    keys.append((what * size + before) * (2 * steps) + steps + apart)
            self._newest[who] = np.append(self._newest[who, 1:], what)
        self.counts = self.counts.plus(np.array(keys, np.int64))
        self.often = self.often + np.bincount(item, minlength=size)


class Sequences:
    """Users' training sequences, to find what an example itself adds to the counts.

    An example at place t of a sequence was not known before it happened, and neither was what came later: of the pairs
    of an entry before t and one from t on, each counts once less for the example.
    """

    def __init__(self, train: Interactions) -> None:
        """Order the sequences."""
        order = in_time(train.user, train.timestamp)
        self._user, self._item = torch.from_numpy(train.user[order]), torch.from_numpy(train.item[order])
        place = np.full(int(train.rows.max(initial=-1)) + 1, -1)
        place[train.rows[order]] = np.arange(len(order))
        self._place = torch.from_numpy(place)

    def around(self, example: Tensor, user: Tensor, item: Tensor, steps: int) -> tuple[Tensor, Tensor]:
        """Return the items before examples, the nearest first, and from them on, int64 [B, steps] each; 0 for none.

        Args:
            example: Rows in the whole dataset, int64 [B].
            user: Their users, int64 [B].
            item: Their items, int64 [B]; a row whose user or item is another one has nothing around it.
            steps: Items that are looked for on both sides.
        """
        row = example.cpu()
        inside = (row >= 0) & (row < len(self._place))
        place = self._place[torch.where(inside, row, 0)]
        at = place.clamp(min=0)
        same = inside & (place >= 0) & (self._user[at] == user.cpu()) & (self._item[at] == item.cpu())
        apart = torch.arange(steps)
        before, after = at[:, None] - 1 - apart, at[:, None] + apart
        return self._items(before, user, same), self._items(after, user, same)

    def _items(self, at: Tensor, user: Tensor, there: Tensor) -> Tensor:
        """Return the items at some places of the sequences, 0 where another user's begins."""
        inside = at.clamp(min=0, max=len(self._item) - 1)
        own = (at == inside) & (self._user[inside] == user.cpu()[:, None]) & there[:, None]
        return torch.where(own, self._item[inside], 0).to(user.device)

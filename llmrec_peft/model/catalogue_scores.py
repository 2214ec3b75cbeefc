"""CatalogueScores: users scored against all items of a catalogue, some items at a time; items' side computed once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from llmrec_peft.data.batches import Batch
from llmrec_peft.heads.contract import Joined
from llmrec_peft.model.fusion import Shown
from llmrec_peft.model.text_plan import TextPlan

ITEMS = 65_536
"""Items whose side is computed at a time."""
LEAST = 4096
"""Items that are scored at a time, at least."""
CELLS = 1 << 26
"""Numbers of a tensor over users, their histories and items that are scored at a time: 256 MiB in fp32."""


class Sided(Protocol):
    """A model that scores a user's side and an item's, as `RecModel` does."""

    @property
    def plan(self) -> TextPlan:
        """Plan of the texts that are read."""

    def item_side(self, items: Tensor, vectors: Tensor | None = None, keys: Tensor | None = None) -> Joined:
        """Join the side of items alone."""

    def user_side(self, batch: Batch, shown: Shown | None = None) -> Joined:
        """Join the users' side of a batch."""

    def candidate_sides(self, batch: Batch, item: Joined, user: Joined | None = None) -> tuple[Joined, Joined]:
        """Join both sides, with what signals add for a user and a candidate together."""

    def score(self, batch: Batch, user: Joined, item: Joined, head: str | None = None) -> Tensor:
        """Score two sides."""


class CatalogueScores:
    """Scores of users for every item of a catalogue.

    The items' side is computed once, and a user's side once a request. What signals add for a user and an item
    together, from the user's history, is computed for as many items at a time as `CELLS` allows.
    """

    def __init__(
        self,
        model: Sided,
        items: Tensor,
        texts: Tensor | None,
        keys: Tensor | None = None,
        side: Joined | None = None,
    ) -> None:
        """Compute the items' side.

        Args:
            model: Trained model, inside `RecModel.scoring` or without gradient.
            items: Rows of the signals' tables, int64 [C].
            texts: Vectors of the items' texts, float32 or bfloat16 [C, width], on any device; None if none are read.
            keys: Keys of their texts if they are not the rows, int64 [C].
            side: Their side, if it is known: the result of `RecModel.item_side` for all of them.
        """
        self._model, self._items, self._texts, self._keys = model, items, texts, keys
        self.side = self._joined() if side is None else side

    def __len__(self) -> int:
        return len(self._items)

    def _joined(self) -> Joined:
        """Compute the items' side a few items at a time, into one tensor."""
        vector: Tensor | None = None
        offset: Tensor | None = None
        for rows in _slices(len(self), ITEMS):
            side = self._model.item_side(self._items[rows], self._texts_of(rows))
            if len(side.offset) == len(self):
                return side
            if offset is None:
                offset = side.offset.new_empty(len(self))
                vector = None if side.vector is None else side.vector.new_empty(len(self), side.vector.shape[1])
            offset[rows] = side.offset
            if vector is not None and side.vector is not None:
                vector[rows] = side.vector
        return Joined(vector, torch.zeros(0, device=self._items.device) if offset is None else offset)

    def _texts_of(self, rows: slice) -> Tensor | None:
        """Return the vectors of some items' texts where the items are: they may lie in a mapped file, in bf16."""
        return None if self._texts is None else self._texts[rows].to(self._items.device).float()

    def at_a_time(self, users: int) -> int:
        """Return how many items are scored at a time for some users."""
        cells = users * max(1, self._model.plan.history_length or 1)
        return max(LEAST, CELLS // max(1, cells))

    def pieces(self, batch: Batch, head: str | None = None, step: int | None = None) -> Iterator[tuple[int, Tensor]]:
        """Yield scores of some items after the other, float32 [B, c], each with the place of the first item.

        Args:
            batch: Users, with their histories and the vectors of their texts.
            head: Head that scores; the primary one by default.
            step: Items at a time; by default as many as `at_a_time` says.
        """
        model = self._model
        batch, user = replace(batch, label=None), model.user_side(batch, {})
        for rows in _slices(len(self), step or self.at_a_time(len(batch))):
            texts = self._texts_of(rows)
            vectors = batch.vectors if texts is None else {**batch.vectors, "candidates": texts}
            keys = None if self._keys is None else self._keys[rows]
            asked = replace(batch, candidates=self._items[rows], candidate_key=keys, vectors=vectors)
            vector = None if self.side.vector is None else self.side.vector[rows]
            item = Joined(vector, self.side.offset[rows])
            yield rows.start, model.score(asked, *model.candidate_sides(asked, item, user), head)

    def scores(self, batch: Batch, head: str | None = None) -> Tensor:
        """Return scores of every item, float32 [B, C].

        Args:
            batch: Users, with their histories and the vectors of their texts.
            head: Head that scores; the primary one by default.
        """
        whole: Tensor | None = None
        for at, scores in self.pieces(batch, head):
            if scores.shape[1] == len(self):
                return scores
            if whole is None:
                whole = torch.empty(len(batch), len(self), device=scores.device)
            whole[:, at : at + scores.shape[1]] = scores
        return torch.empty(len(batch), 0) if whole is None else whole


def _slices(count: int, step: int) -> list[slice]:
    """Return consecutive slices of at most `step`."""
    return [slice(at, min(count, at + step)) for at in range(0, count, step)]

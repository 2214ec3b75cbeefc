"""TextSource: the one door for vectors of texts, by view and key; here from an encoder or a table, while training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from llmrec_peft.data.batches import Batch
from llmrec_peft.model.text_plan import TextPlan

if TYPE_CHECKING:
    from llmrec_peft.backbone.encoded_texts import EncodedTexts

T = TypeVar("T")


class TextSource(ABC):
    """Fills a batch with the vectors of every text that its examples read.

    Two kinds of source exist: the texts of a dataset while training (`EncodedSource`), and what a run has stored,
    which encodes the rest through its language model (`llmrec_peft.run.stored_texts`).
    """

    def __init__(self, plan: TextPlan) -> None:
        """Take note of which texts are read.

        Args:
            plan: Texts by view, and where their keys start.
        """
        self.plan = plan

    def filled(
        self, batch: Batch, own_items: bool = True, last_encoded: bool = False, inserted: Tensor | None = None
    ) -> Batch:
        """Return the batch with the vectors of its texts; views that are there already stay.

        Args:
            batch: Examples.
            own_items: Whether the examples' own items are scored, one by one or in a prompt, not only candidates.
            last_encoded: Whether texts of histories are read as they were last encoded, without gradient.
            inserted: Vectors to be put into the prompts, float32 [B, k, hidden].
        """
        views = self.missing(batch, own_items)
        return batch.with_vectors(**self.read(views, batch, last_encoded, inserted)) if views else batch

    def missing(self, batch: Batch, own_items: bool = True) -> list[str]:
        """Views that the batch reads and does not have yet, in the order in which they are encoded."""
        plan = self.plan
        read = {
            "item": plan.item and own_items,
            "candidates": plan.item and batch.candidates is not None,
            "history": plan.history and batch.history is not None,
            "user": plan.user is not None,
            "prompt": plan.prompt is not None and own_items,
        }
        return [view for view, is_read in read.items() if is_read and view not in batch.vectors]

    @property
    def inserts(self) -> bool:
        """Whether signals' tokens can be put into prompts: not where prompts' vectors are looked up."""
        return True

    @abstractmethod
    def items(self, keys: Tensor) -> Tensor:
        """Vectors of items' texts by key, float32 [n, width]."""

    @abstractmethod
    def read(
        self, views: Sequence[str], batch: Batch, last_encoded: bool, inserted: Tensor | None
    ) -> dict[str, Tensor]:
        """Vectors of some views of a batch, see `Batch.vectors`."""


class EncodedSource(TextSource):
    """A dataset's texts: encoded in the graph of the adapter, or looked up in a table of vectors that never change."""

    def __init__(self, plan: TextPlan, texts: EncodedTexts | None = None, table: Tensor | None = None) -> None:
        """Say where vectors come from.

        Args:
            plan: Texts by view, and where their keys start.
            texts: Encoder of all keys; None where `table` stands for it.
            table: Vectors of all keys, float32 [keys, width].
        """
        super().__init__(plan)
        self.texts = texts
        self.table = table

    @property
    def inserts(self) -> bool:
        """Only what is encoded can take tokens in."""
        return self.table is None

    def items(self, keys: Tensor) -> Tensor:
        """Vectors of keys, float32 [n, width]."""
        if self.table is not None:
            return self.table[keys]
        return self._encoder()(keys)

    def read(
        self, views: Sequence[str], batch: Batch, last_encoded: bool, inserted: Tensor | None
    ) -> dict[str, Tensor]:
        """Vectors of views; all that is encoded goes through the encoder in one call, each distinct text once."""
        keys = {view: self._keys(view, batch) for view in views}
        apart: dict[str, Tensor] = {}
        if last_encoded and "history" in keys:
            history = keys.pop("history")
            apart["history"] = self.table[history] if self.table is not None else self._encoder().last(history)
        if inserted is not None and "prompt" in keys:
            apart["prompt"] = self._encoder().with_inserted(keys.pop("prompt"), inserted)
        if not keys:
            return apart
        vectors = self.items(torch.cat([asked.reshape(-1) for asked in keys.values()]))
        parts = torch.split(vectors, [asked.numel() for asked in keys.values()])
        found = {
            view: part.reshape(*asked.shape, vectors.shape[-1])
            for (view, asked), part in zip(keys.items(), parts, strict=True)
        }
        return {**found, **apart}

    def _keys(self, view: str, batch: Batch) -> Tensor:
        """Keys of a view's texts among those of all views."""
        plan = self.plan
        if view == "user":
            return _known(plan.user) + _known(batch.example if plan.user_by_example else batch.user)
        if view == "prompt":
            return _known(plan.prompt) + _known(batch.example)
        return item_keys(view, batch)

    def _encoder(self) -> EncodedTexts:
        return _known(self.texts)


def item_keys(view: str, batch: Batch) -> Tensor:
    """Keys of the items that a view is about: their indices, but for items that were added to a run.

    Args:
        view: ``item``, ``candidates`` or ``history``.
        batch: Examples.
    """
    if view == "history":
        return _known(batch.history)
    if view == "candidates":
        return _known(batch.candidates if batch.candidate_key is None else batch.candidate_key)
    return batch.item if batch.item_key is None else batch.item_key


def _known(value: T | None) -> T:
    """A value that whoever built the batch or the source had to give."""
    if value is None:
        raise ValueError("the batch lacks what its texts are found by: an example's row, candidates, or a history")
    return value

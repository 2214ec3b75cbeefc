"""TextSource: the one source of vectors of texts, by view and key; here from an encoder or a table, for training."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Self, TypeVar

import torch
from torch import Tensor

from llmrec_peft.data.batches import Batch
from llmrec_peft.model.text_plan import TextPlan

if TYPE_CHECKING:
    from llmrec_peft.backbone.encoded_texts import EncodedTexts
    from llmrec_peft.backbone.vector_table import VectorTable

T = TypeVar("T")


class TextSource(ABC):
    """Adds the vectors of all texts that a batch's examples read.

    There are two kinds of source: the texts of a dataset in training (`EncodedSource`), and the stored vectors of a
    run,
    which encodes other texts by its language model (`llmrec_peft.run.stored_texts`).
    """

    def __init__(self, plan: TextPlan) -> None:
        """Set the plan of the texts that are read.

        Args:
            plan: Texts by view, and the first key of each.
        """
        self.plan = plan

    def with_plan(self, plan: TextPlan) -> Self:
        """Return the same source under another plan."""
        other = copy.copy(self)
        other.plan = plan
        return other

    def filled(
        self, batch: Batch, own_items: bool = True, last_encoded: bool = False, inserted: Tensor | None = None
    ) -> Batch:
        """Return the batch with the vectors of its texts; views that are already there stay.

        Args:
            batch: Examples.
            own_items: Whether the examples' own items are scored, in pairs or in a prompt, and not only candidates.
            last_encoded: Whether texts of histories are read as most recently encoded, without gradient.
            inserted: Vectors to be inserted into the prompts, float32 [B, k, hidden].
        """
        views = self.missing(batch, own_items)
        return batch.with_vectors(**self.read(views, batch, last_encoded, inserted)) if views else batch

    def missing(self, batch: Batch, own_items: bool = True) -> list[str]:
        """Return the views that the batch reads and does not have yet, in the order in which they are encoded."""
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
        """Whether signals' tokens can be inserted into prompts: not if prompts' vectors are looked up."""
        return True

    @abstractmethod
    def items(self, keys: Tensor) -> Tensor:
        """Return vectors of items' texts by key, float32 [n, width]."""

    @abstractmethod
    def read(
        self, views: Sequence[str], batch: Batch, last_encoded: bool, inserted: Tensor | None
    ) -> dict[str, Tensor]:
        """Return vectors of some views of a batch, see `Batch.vectors`."""


class EncodedSource(TextSource):
    """A dataset's texts: encoded in the graph of the adapter, or looked up in a table of fixed vectors."""

    def __init__(
        self, plan: TextPlan, texts: EncodedTexts | None = None, table: VectorTable | Tensor | None = None
    ) -> None:
        """Set where vectors come from.

        Args:
            plan: Texts by view, and the first key of each.
            texts: Encoder of all keys; None if `table` replaces it.
            table: Vectors of all keys, float32 [keys, width]; rows are looked up in it, and no more is read.
        """
        super().__init__(plan)
        self.texts = texts
        self.table = table

    @property
    def inserts(self) -> bool:
        """Whether tokens can be inserted: only texts that are encoded accept them."""
        return self.table is None

    def items(self, keys: Tensor) -> Tensor:
        """Return vectors of keys, float32 [n, width]."""
        if self.table is not None:
            return self.table[keys]
        return self._encoder()(keys)

    def read(
        self, views: Sequence[str], batch: Batch, last_encoded: bool, inserted: Tensor | None
    ) -> dict[str, Tensor]:
        """Return vectors of views; all encoded ones in one call of the encoder, each distinct text once."""
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
        by_view = {
            view: part.reshape(*asked.shape, vectors.shape[-1])
            for (view, asked), part in zip(keys.items(), parts, strict=True)
        }
        return {**by_view, **apart}

    def _keys(self, view: str, batch: Batch) -> Tensor:
        """Return the keys of a view's texts among those of all views."""
        plan = self.plan
        if view == "user":
            return _known(plan.user) + _known(batch.example if plan.user_by_example else batch.user)
        if view == "prompt":
            return _known(plan.prompt) + _known(batch.example)
        return item_keys(view, batch)

    def _encoder(self) -> EncodedTexts:
        return _known(self.texts)


def item_keys(view: str, batch: Batch) -> Tensor:
    """Return keys of a view's items: their indices, except for items that were added to a run.

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
    """Return a value that the builder of the batch or source must have given."""
    if value is None:
        raise ValueError("the batch lacks what its texts are found by: an example's row, candidates, or a history")
    return value

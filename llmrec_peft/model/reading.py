"""Reading: the vectors of every text that a batch's examples read, each distinct text encoded once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from llmrec_peft.data.batches import Batch
from llmrec_peft.model.text_plan import TextPlan

if TYPE_CHECKING:
    from llmrec_peft.backbone.encoder import TextEncoder


class Reader:
    """Fills in a batch's texts, from an encoder in the graph of its adapter or from a table of vectors."""

    def __init__(self, plan: TextPlan, encoder: TextEncoder | None, table: Tensor | None) -> None:
        """Say where vectors come from.

        Args:
            plan: Which texts are read, at which keys.
            encoder: Encodes keys; None where `table` stands for it.
            table: Vectors of all keys, float32 [keys, width].
        """
        self._plan = plan
        self._encoder = encoder
        self._table = table

    @property
    def looks_up(self) -> bool:
        """Whether vectors are looked up rather than encoded."""
        return self._table is not None

    def read(self, batch: Batch, pairs: bool, stored: bool, inserted: Tensor | None) -> Batch:
        """The batch with its texts' vectors; what is there already stays.

        Args:
            batch: Examples.
            pairs: Whether items are scored one by one, not only against candidates.
            stored: Whether texts of histories are read as they were last encoded, without gradient.
            inserted: Vectors to be put into the prompts, float32 [B, k, hidden].
        """
        found = self._vectors(self._wanted(batch, pairs, stored, inserted is not None))
        if stored and self._history_lacks(batch) and batch.history is not None:
            found["history_text"] = self._last(batch.history)
        if inserted is not None:
            assert self._encoder is not None and batch.example is not None and self._plan.prompt is not None  # noqa: S101 - vectors are put into a model's prompts
            found["prompt_text"] = self._encoder.with_inserted(self._plan.prompt + batch.example, inserted)
        return replace(batch, **found) if found else batch

    def prompts_lack(self, batch: Batch) -> bool:
        """Whether prompts are read and not there yet."""
        return self._plan.prompt is not None and batch.prompt_text is None and batch.example is not None

    def items(self, keys: Tensor) -> Tensor:
        """Vectors of keys, float32 [n, width]."""
        if self._table is not None:
            return self._table[keys]
        assert self._encoder is not None  # noqa: S101 - whoever builds a model gives one to signals that read text
        vectors: Tensor = self._encoder(keys)
        return vectors

    def _wanted(self, batch: Batch, pairs: bool, stored: bool, inserts: bool) -> dict[str, Tensor]:
        """Keys of texts that are to be encoded, by field of the batch."""
        plan = self._plan
        wanted: dict[str, Tensor] = {}
        if plan.item and batch.item_text is None and pairs:
            wanted["item_text"] = batch.item
        if plan.item and batch.candidates is not None and batch.candidate_text is None:
            wanted["candidate_text"] = batch.candidates
        if not stored and self._history_lacks(batch) and batch.history is not None:
            wanted["history_text"] = batch.history
        if plan.user is not None and batch.user_text is None:
            by = batch.example if plan.user_by_example else batch.user
            if by is not None:
                wanted["user_text"] = plan.user + by
        if not inserts and self.prompts_lack(batch) and plan.prompt is not None and batch.example is not None:
            wanted["prompt_text"] = plan.prompt + batch.example
        return wanted

    def _history_lacks(self, batch: Batch) -> bool:
        return self._plan.history and batch.history is not None and batch.history_text is None

    def _vectors(self, wanted: dict[str, Tensor]) -> dict[str, Tensor]:
        """Vectors of all that is wanted, in one call, so that a text asked for twice is encoded once."""
        if not wanted:
            return {}
        vectors = self.items(torch.cat([asked.reshape(-1) for asked in wanted.values()]))
        sizes = [asked.numel() for asked in wanted.values()]
        parts = zip(wanted.items(), torch.split(vectors, sizes), strict=True)
        return {name: part.reshape(*asked.shape, vectors.shape[-1]) for (name, asked), part in parts}

    def _last(self, keys: Tensor) -> Tensor:
        """Vectors of keys as they were when last encoded, without gradient."""
        if self._table is not None:
            return self._table[keys]
        assert self._encoder is not None  # noqa: S101 - see `items`
        return self._encoder.last(keys)

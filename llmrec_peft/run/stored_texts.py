"""StoredTexts: vectors of texts that a run has stored; other texts are encoded by its language model."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Self

import numpy as np
from torch import Tensor

from llmrec_peft.data.batches import Batch
from llmrec_peft.data.histories import Histories
from llmrec_peft.errors import InputError
from llmrec_peft.model.text_plan import TextPlan
from llmrec_peft.model.text_source import TextSource, item_keys
from llmrec_peft.run.catalogue import Catalogue

if TYPE_CHECKING:
    from llmrec_peft.backbone.encoded_rows import EncodedRows
    from llmrec_peft.run.tuned_model import TunedModel


class StoredTexts(TextSource):
    """Stored vectors of a run's items and users; prompts, and users' texts of single examples, are encoded."""

    def __init__(
        self, plan: TextPlan, catalogue: Catalogue, users: Tensor | None = None, model: TunedModel | None = None
    ) -> None:
        """Set what is stored.

        Args:
            plan: Texts by view.
            catalogue: Items with their vectors; the key of an item's text is its row in the catalogue plus 1.
            users: Vectors of users' texts after training, float32 [num_users, width]; None if there are none.
            model: Encodes other texts; None for a run that was not loaded from a folder.
        """
        super().__init__(plan)
        self._catalogue = catalogue
        self._users = users
        self._model = model
        self._encoded_before: Mapping[str, EncodedRows] = {}

    def storing(self, encoded: Mapping[str, EncodedRows]) -> Self:
        """Return the same source, which stores what it encodes and looks it up when it is asked for again.

        Args:
            encoded: Where the vectors of each view are stored; texts into which signals insert vectors are not.
        """
        other = copy.copy(self)
        other._encoded_before = encoded
        return other

    def items(self, keys: Tensor) -> Tensor:
        """Return vectors of items' texts, float32 [n, width]; zero for key 0.

        Raises:
            InputError: If the run stores none.
        """
        vectors = self._catalogue.vectors
        if vectors is None:
            raise InputError("this run reads texts of items and stores no vectors of them: train it again")
        rows: Tensor = vectors[(keys - 1).clamp(min=0).to(vectors.device)].to(keys.device).float()
        return rows * (keys > 0).unsqueeze(-1) if bool((keys == 0).any()) else rows

    def read(
        self, views: Sequence[str], batch: Batch, last_encoded: bool, inserted: Tensor | None
    ) -> dict[str, Tensor]:
        """Return vectors of some views of a batch; an example without a row of its own has its user's stored text."""
        return {view: self._vectors(view, batch, inserted) for view in views}

    def _vectors(self, view: str, batch: Batch, inserted: Tensor | None) -> Tensor:
        if view == "prompt":
            return self._encoded(view, batch, inserted)
        if view != "user":
            return self.items(item_keys(view, batch))
        of_example = self.plan.user_by_example and batch.example is not None
        if self._users is None or of_example:
            return self._encoded(view, batch, None)
        return self._users[batch.user]

    def _encoded(self, view: str, batch: Batch, inserted: Tensor | None) -> Tensor:
        if self._model is None:
            raise InputError("this run reads prompts: its language model has to be there to score")
        users, keys = batch.user.tolist(), item_keys("item", batch).tolist()
        vectors = self._model.encode_examples(
            view, users, keys, _histories(batch), inserted, self._catalogue.added, self._encoded_before.get(view)
        )
        return vectors.to(batch.user.device)


def _histories(batch: Batch) -> Histories:
    """Return the histories of a batch as they were before padding."""
    if batch.history is None or batch.history_label is None:
        return Histories.empty(len(batch))
    items, labels = batch.history.cpu().numpy(), batch.history_label.cpu().numpy()
    there = items > 0
    end = np.cumsum(there.sum(1)).astype(np.int64)
    return Histories(items[there], labels[there].astype(np.float32), end - there.sum(1), end)

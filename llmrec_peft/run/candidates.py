"""Candidates: scores every item of a run's catalogue for users at once; the items' side is computed once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from llmrec_peft.data.batches import Batch
from llmrec_peft.errors import InputError
from llmrec_peft.heads.contract import Joined
from llmrec_peft.model import RecModel
from llmrec_peft.model.catalogue_scores import CatalogueScores
from llmrec_peft.run.best_items import BestItems, Ranked
from llmrec_peft.run.catalogue import Catalogue

CHUNK = 4096
"""Items per chunk, at least; of few users there are more in one, since each costs a signal the same small steps."""
CELLS = 2**22
"""Size limit of a tensor over users, their histories and items: 16 MiB in fp32."""


class Candidates:
    """Scores users against a whole catalogue.

    A user's side is computed once per request, the items' side once as long as the catalogue does not change; the
    signals' `cross` terms are added chunk by chunk.
    """

    def __init__(self, model: RecModel, catalogue: Catalogue) -> None:
        """Compute the items' side.

        Args:
            model: Trained and folded model.
            catalogue: Items and their vectors.
        """
        self._model = model
        self.count = len(catalogue.ids)
        index = torch.from_numpy(catalogue.table_index).to(model.device)
        keys = torch.arange(1, self.count + 1, device=model.device)
        with torch.no_grad():
            texts = catalogue.vectors if model.plan.item else None
            self._scores = CatalogueScores(model, index, texts, keys, catalogue.side)

    @property
    def side(self) -> Joined:
        """The items' side of all scores."""
        return self._scores.side

    def scores(self, batch: Batch) -> NDArray[np.float32]:
        """Return scores of the primary head, float32 [B, items].

        Args:
            batch: Users, with their histories and the vectors of their texts.
        """
        whole = np.empty((len(batch), self.count), np.float32)
        for at, scores in self._chunks(batch):
            whole[:, at : at + scores.shape[1]] = scores
        return whole

    def best(self, batch: Batch, k: int, left_out: Sequence[NDArray[np.int64]]) -> list[Ranked]:
        """Return the best items of each user; no more scores than those of a chunk are in memory.

        Args:
            batch: Users, with their histories and the vectors of their texts.
            k: Items per user.
            left_out: Rows of the catalogue that are left out, for each user.
        """
        found = BestItems(len(batch), k)
        for at, scores in self._chunks(batch):
            found.add(at, scores, left_out)
        return found.ranked()

    @torch.no_grad()
    def _chunks(self, batch: Batch) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield finite scores of the primary head for one chunk of items after the other."""
        step = max(CHUNK, CELLS // (len(batch) * (self._model.plan.history_length or 1)))
        for at, scores in self._scores.pieces(batch, step=step):
            if scores.shape != (len(batch), min(step, self.count - at)):
                name = next(iter(self._model.heads))
                raise InputError(
                    f"head {name} does not score candidates: prove it by `python -m llmrec_peft.testing {name}`"
                )
            yield at, finite(scores.float().cpu().numpy())

    def users_at_once(self, history_length: int | None) -> int:
        """Return how many users one call of `best` may have."""
        return max(1, CELLS // max(1, min(self.count, CHUNK) * (history_length or 1)))


def finite(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return scores, or refuse them: no order can be made of NaN.

    Raises:
        InputError: If one is not finite.
    """
    if not np.isfinite(scores).all():
        raise InputError("a score is not a finite number: numbers of the run, or of a history given, are too large")
    return scores

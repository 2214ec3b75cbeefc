"""Candidates: scores every item of a run's catalogue for users at once; the items' side is computed once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmrec_peft.data.batches import Batch
from llmrec_peft.errors import InputError
from llmrec_peft.heads.contract import Joined
from llmrec_peft.model import RecModel
from llmrec_peft.run.catalogue import Catalogue

CHUNK = 4096
"""Items per chunk, which bounds the memory of terms of users and items together."""
CELLS = 2**22
"""Size limit of a tensor over users, their histories and items: 16 MiB in fp32."""


@dataclass(frozen=True)
class _Chunk:
    """Consecutive items of the catalogue.

    Attributes:
        index: Rows of the signals' tables, int64 [C].
        keys: Keys of their texts, int64 [C].
        vectors: Vectors of their texts by view, a slice of the catalogue's; empty if none are read.
        side: Their joined side.
    """

    index: Tensor
    keys: Tensor
    vectors: Mapping[str, Tensor]
    side: Joined


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
        vectors = catalogue.vectors if model.plan.item else None
        index = torch.from_numpy(catalogue.table_index).to(model.device)
        keys = torch.arange(1, self.count + 1, device=model.device)
        self._chunks = []
        for at in range(0, self.count, CHUNK):
            rows = slice(at, at + CHUNK)
            texts = None if vectors is None else vectors[rows].to(model.device)
            with torch.no_grad():
                side = model.item_side(index[rows], texts)
            known = {} if texts is None else {"candidates": texts}
            self._chunks.append(_Chunk(index[rows], keys[rows], known, side))

    @torch.no_grad()
    def scores(self, batch: Batch) -> NDArray[np.float32]:
        """Return scores of the primary head, float32 [B, items].

        Args:
            batch: Users, with their histories and the vectors of their texts.
        """
        model, user, scores_of = self._model, self._model.user_side(batch, {}), []
        for chunk in self._chunks:
            vectors = {**batch.vectors, **chunk.vectors}
            asked = replace(batch, candidates=chunk.index, candidate_key=chunk.keys, vectors=vectors)
            scores_of_chunk = model.score(asked, *model.candidate_sides(asked, chunk.side, user))
            if scores_of_chunk.shape != (len(batch), len(chunk.index)):
                name = next(iter(model.heads))
                raise InputError(
                    f"head {name} does not score candidates: prove it by `python -m llmrec_peft.testing {name}`"
                )
            scores_of.append(scores_of_chunk.float())
        whole = scores_of[0] if len(scores_of) == 1 else torch.cat(scores_of, dim=1)
        scores: NDArray[np.float32] = whole.cpu().numpy()
        return scores

    def users_at_once(self, history_length: int | None) -> int:
        """Return how many users one call of `scores` may have."""
        return max(1, CELLS // max(1, self.count, min(self.count, CHUNK) * (history_length or 1)))


def best(keys: NDArray[np.floating] | NDArray[np.integer], allowed: NDArray[np.bool_], k: int) -> NDArray[np.int64]:
    """Return the rows of the k largest keys among those allowed, largest first; equal keys in the order of rows.

    >>> best(np.array([1.0, 3.0, 3.0, 2.0]), np.array([True, True, True, True]), 2).tolist()
    [1, 2]
    """
    rows = np.flatnonzero(allowed)
    values = -keys[rows]
    if k < len(rows):
        last = np.partition(values, k - 1)[k - 1]
        if not np.isnan(last):  # NaN sorts last: then all keys are sorted
            kept = values <= last
            rows, values = rows[kept], values[kept]
    return rows[np.argsort(values, kind="stable")[:k]]

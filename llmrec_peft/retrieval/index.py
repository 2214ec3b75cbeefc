"""Index: find the vectors that have the largest inner products with some queries."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmrec_peft.errors import InputError, nearest

if TYPE_CHECKING:
    from llmrec_peft.retrieval.faiss_index import FaissVectors

Kind = Literal["exact", "faiss-flat", "faiss-hnsw"]
KINDS: tuple[Kind, ...] = ("exact", "faiss-flat", "faiss-hnsw")
"""Exact search in torch, exact search by FAISS, and FAISS's graph of neighbours, which may miss a few."""
QUERIES, ROWS = 256, 65_536
"""Queries and rows that are multiplied together: 64 MiB of scores."""

Vectors = NDArray[np.float32] | Tensor
Found = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Inner products, float32 [n, k], and rows, int64 [n, k], the largest first; row -1 if fewer were found."""


class Index(ABC):
    """Vectors that can be searched. `Index.build` makes each kind; all have the same methods.

    >>> import numpy as np
    >>> index = Index.build(np.eye(3, dtype=np.float32))
    >>> index.search(np.array([[0.1, 0.9, 0.2]], np.float32), k=2)[1].tolist()
    [[1, 2]]
    """

    kind: Kind

    @staticmethod
    def build(vectors: Vectors, kind: str = "exact") -> Index:
        """Index some vectors.

        Args:
            vectors: float32 [n, width]; if scores have an offset, it is the last dimension, and that of the queries
                is 1.
            kind: ``exact``, ``faiss-flat`` or ``faiss-hnsw``.

        Raises:
            InputError: For an unknown kind, or one whose library is not installed.
            ValueError: If these are no finite vectors.
        """
        if kind not in KINDS:
            raise InputError(f"unknown index {kind!r}: {nearest(kind, KINDS)}")
        given = torch.as_tensor(vectors, dtype=torch.float32)
        finite = all(
            bool(given[at : at + ROWS].isfinite().all()) for at in range(0, len(given) if given.ndim else 0, ROWS)
        )
        if given.ndim != 2 or 0 in given.shape or not finite:  # noqa: PLR2004 - a matrix
            raise ValueError(f"vectors of shape {list(given.shape)} are no finite matrix")
        if kind == "exact":
            return ExactIndex(given)
        from llmrec_peft.retrieval.faiss_index import FaissFlat, FaissHnsw

        if kind == "faiss-flat":
            return _FaissIndex("faiss-flat", FaissFlat(given))
        return _FaissIndex("faiss-hnsw", FaissHnsw(given))

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of vectors."""

    @property
    @abstractmethod
    def width(self) -> int:
        """Width of the vectors."""

    def search(self, queries: Vectors, k: int) -> Found:
        """Return the vectors with the largest inner products.

        Args:
            queries: float32 [n, width].
            k: Number of vectors per query; all of them if there are fewer.

        Raises:
            ValueError: If the queries have another width, or k is below 1.
        """
        given = torch.as_tensor(queries, dtype=torch.float32)
        if given.ndim != 2 or given.shape[1] != self.width:  # noqa: PLR2004 - a matrix
            raise ValueError(f"queries of shape {list(given.shape)} for vectors of width {self.width}")
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        k = min(k, len(self))
        scores, rows = np.empty((len(given), k), np.float32), np.empty((len(given), k), np.int64)
        for at in range(0, len(given), QUERIES):
            scores[at : at + QUERIES], rows[at : at + QUERIES] = self._search(given[at : at + QUERIES], k)
        return scores, rows

    @abstractmethod
    def _search(self, queries: Tensor, k: int) -> Found:
        """Search for a few queries; k is at most the number of vectors."""


class ExactIndex(Index):
    """Computes every product, some rows at a time, on the device of the vectors."""

    kind: Kind = "exact"

    def __init__(self, vectors: Tensor) -> None:
        """Store the vectors, float32 [n, width], where they are."""
        self._vectors = vectors

    def __len__(self) -> int:
        return len(self._vectors)

    @property
    def width(self) -> int:
        """Width of the vectors."""
        return int(self._vectors.shape[1])

    @torch.no_grad()
    def _search(self, queries: Tensor, k: int) -> Found:
        queries = queries.to(self._vectors.device)
        best: tuple[Tensor, Tensor] | None = None
        for at in range(0, len(self), ROWS):
            scores = queries @ self._vectors[at : at + ROWS].T
            some = scores.topk(min(k, scores.shape[1]), dim=1)
            products = (some.values, some.indices + at)
            if best is not None:
                values, rows = (torch.cat(pair, dim=1) for pair in zip(best, products, strict=True))
                top = values.topk(min(k, values.shape[1]), dim=1)
                products = (top.values, rows.gather(1, top.indices))
            best = products
        assert best is not None  # noqa: S101 - there are rows
        return best[0].cpu().numpy(), best[1].cpu().numpy()


class _FaissIndex(Index):
    """Vectors that FAISS stores and searches."""

    def __init__(self, kind: Kind, vectors: FaissVectors) -> None:
        """Store FAISS's vectors."""
        self.kind, self._vectors = kind, vectors

    def __len__(self) -> int:
        return len(self._vectors)

    @property
    def width(self) -> int:
        """Width of the vectors."""
        return self._vectors.width

    def _search(self, queries: Tensor, k: int) -> Found:
        return self._vectors.search(queries, k)

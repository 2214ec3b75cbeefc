"""The index: exact search is the order of all scores, FAISS's exact one the same, its graph nearly so."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch

from llmrec_peft.errors import InputError
from llmrec_peft.retrieval import KINDS, Index
from llmrec_peft.retrieval import index as module

RNG = np.random.default_rng(0)


def vectors(count: int, width: int = 24) -> np.ndarray:
    """Vectors whose lengths differ by as much as those of popular and of rare items do, with an offset at the end."""
    made = RNG.normal(size=(count, width)) * RNG.lognormal(sigma=0.7, size=(count, 1))
    return np.hstack([made, RNG.normal(size=(count, 1))]).astype(np.float32)


def queries(count: int, width: int = 24) -> np.ndarray:
    return np.hstack([RNG.normal(size=(count, width)), np.ones((count, 1))]).astype(np.float32)


def recall(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found, expected, strict=True)]))


def test_exact_search_is_the_order_of_all_scores() -> None:
    items, asked = vectors(3000), queries(40)
    scores, rows = Index.build(items).search(asked, k=50)
    whole = asked @ items.T
    expected = np.argsort(-whole, axis=1, kind="stable")[:, :50]
    assert np.array_equal(rows, expected)
    np.testing.assert_allclose(scores, np.take_along_axis(whole, expected, 1), rtol=1e-5, atol=1e-5)
    assert (scores.dtype, rows.dtype) == (np.float32, np.int64)


def test_search_in_chunks_of_rows_and_queries_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    items, asked = vectors(1000), queries(30)
    expected = Index.build(items).search(asked, k=20)
    monkeypatch.setattr(module, "ROWS", 64)
    monkeypatch.setattr(module, "QUERIES", 7)
    found = Index.build(items).search(asked, k=20)
    assert np.array_equal(found[1], expected[1])
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5, atol=1e-5)


def test_more_than_there_are_gives_all_of_them() -> None:
    scores, rows = Index.build(vectors(5)).search(queries(3), k=9)
    assert scores.shape == rows.shape == (3, 5)
    assert (np.sort(rows, axis=1) == np.arange(5)).all()


def test_tensors_are_taken_as_they_are() -> None:
    items, asked = vectors(50), queries(4)
    found = Index.build(torch.from_numpy(items)).search(torch.from_numpy(asked), k=5)
    assert np.array_equal(found[1], Index.build(items).search(asked, k=5)[1])


def test_flat_faiss_finds_what_exact_search_finds() -> None:
    pytest.importorskip("faiss")
    items, asked = vectors(3000), queries(40)
    expected, found = (Index.build(items, kind).search(asked, k=50) for kind in ("exact", "faiss-flat"))
    assert np.array_equal(found[1], expected[1])
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-4, atol=1e-4)


def test_graph_finds_nine_of_ten_and_says_their_products() -> None:
    pytest.importorskip("faiss")
    items, asked = vectors(5000), queries(60)
    expected = Index.build(items).search(asked, k=10)[1]
    scores, rows = Index.build(items, "faiss-hnsw").search(asked, k=10)
    assert recall(rows, expected) >= 0.9
    np.testing.assert_allclose(scores, np.take_along_axis(asked @ items.T, rows, 1), rtol=1e-4, atol=1e-4)
    assert (np.diff(scores, axis=1) <= 0).all()


def test_graph_over_equally_long_vectors_would_find_less() -> None:
    """Why the graph is one of products: the usual further dimension that makes them distances loses most here."""
    faiss = pytest.importorskip("faiss")
    items, asked = vectors(5000), queries(60)
    expected = Index.build(items).search(asked, k=10)[1]
    squares = (items.astype(np.float64) ** 2).sum(1)
    further = np.sqrt(squares.max() - squares).astype(np.float32)[:, None]
    plain = faiss.IndexHNSWFlat(items.shape[1] + 1, 32)
    plain.hnsw.efConstruction, plain.hnsw.efSearch = 200, 128
    plain.add(np.hstack([items, further]))
    found = plain.search(np.hstack([asked, np.zeros((60, 1), np.float32)]), 10)[1]
    ours = Index.build(items, "faiss-hnsw").search(asked, k=10)[1]
    assert recall(found, expected) < recall(ours, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_knows_its_size(kind: str) -> None:
    if kind.startswith("faiss"):
        pytest.importorskip("faiss")
    index = Index.build(vectors(20), kind)
    assert (len(index), index.width, index.kind) == (20, 25, kind)


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda: Index.build(vectors(4), "exat"), InputError, "unknown index 'exat': did you mean 'exact'"),
        (lambda: Index.build(np.zeros(4, np.float32)), ValueError, "no finite matrix"),
        (lambda: Index.build(np.full((2, 2), np.nan, np.float32)), ValueError, "no finite matrix"),
        (lambda: Index.build(vectors(4)).search(queries(2, 7), 1), ValueError, r"\[2, 8\] for vectors of width 25"),
        (lambda: Index.build(vectors(4)).search(queries(2), 0), ValueError, "k must be at least 1"),
    ],
)
def test_wrong_use_is_refused(ask: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ask()


def test_absent_faiss_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(InputError, match=r"pip install 'llmrec-peft\[faiss\]', or take kind exact"):
        Index.build(vectors(4), "faiss-flat")

"""Item effects: how much better than average each item is rated, by one ridge regression on users, items and texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy import sparse

Floats = NDArray[np.float64]

ALIKE = 6
"""Outcomes that two records must share to be treated as one person's."""


@dataclass(frozen=True)
class Penalties:
    """Ridge penalties on each kind of effect, as numbers of outcomes.

    Attributes:
        user: A user's level.
        item: An item's own deviation.
        text: A weight of a component of the texts.
        static: A weight of popularity or of a column.
    """

    user: float
    item: float
    text: float
    static: float


@dataclass(frozen=True)
class Effects:
    """Result of one fit.

    Attributes:
        item: Effect of each item index, the parts of its text and columns included, float64 [num_items].
        count: Outcomes of each item index, float64 [num_items].
        mean: Mean label.
    """

    item: Floats
    count: Floats
    mean: float


def fit_effects(
    user: NDArray[np.int64],
    item: NDArray[np.int64],
    label: Floats,
    text: Floats | None,
    columns: Floats,
    penalties: Penalties,
) -> Effects:
    """Fit a ridge regression of label − mean on user, item, text and columns by conjugate gradients.

        y − ȳ = a_u + b_i + x_i · β + s_i · γ,   effect_i = b_i + x_i · β + s_i · γ

    with s the popularity log(1 + n_i) / 3, each column, its positive part, and its product with popularity.

    Args:
        user: User of each outcome, [n].
        item: Item, [n].
        label: Label, [n].
        text: Components of the items' texts, [num_items, k]; None if texts are not read.
        columns: Standardized columns of the items, [num_items, c].
        penalties: Ridges.
    """
    num_items, num_users = len(columns), int(user.max()) + 1
    count = np.bincount(item, minlength=num_items).astype(np.float64)
    popularity = np.log1p(count)[:, None] / 3.0
    static = np.hstack([popularity, columns, np.maximum(columns, 0.0), columns * popularity])
    features = static if text is None else np.hstack([static, text])
    ridge = np.concatenate(
        [
            np.full(num_users, penalties.user),
            np.full(num_items, penalties.item),
            np.full(static.shape[1], penalties.static),
            np.full(features.shape[1] - static.shape[1], penalties.text),
        ]
    )
    from scipy import sparse

    mean, rows = float(label.mean()), np.arange(len(label))
    ones = np.ones(len(label))
    of_user = sparse.csr_matrix((ones, (rows, user)), shape=(len(label), num_users))
    of_item = sparse.csr_matrix((ones, (rows, item)), shape=(len(label), num_items))
    solution = _solved(of_user, of_item, features, ridge, label - mean)
    own = solution[num_users : num_users + num_items]
    return Effects(own + features @ solution[num_users + num_items :], count, mean)


def _solved(
    of_user: sparse.csr_matrix, of_item: sparse.csr_matrix, features: Floats, ridge: Floats, target: Floats
) -> Floats:
    """Solve (AᵀA + diag(ridge)) x = Aᵀ y for A = [users, items, items' features], never formed."""
    from scipy.sparse.linalg import LinearOperator, cg

    users, items = of_user.shape[1], of_item.shape[1]

    def forward(x: Floats) -> Floats:
        per_item = x[users : users + items] + features @ x[users + items :]
        return np.asarray(of_user @ x[:users] + of_item @ per_item)

    def backward(r: Floats) -> Floats:
        per_item = np.asarray(of_item.T @ r)
        return np.concatenate([np.asarray(of_user.T @ r), per_item, features.T @ per_item])

    counts = np.asarray(of_item.sum(0)).reshape(-1)
    diagonal = np.concatenate([np.asarray(of_user.sum(0)).reshape(-1), counts, (features**2).T @ counts]) + ridge
    size = len(ridge)
    normal = LinearOperator((size, size), lambda x: backward(forward(x)) + ridge * x, dtype=np.float64)
    scaled = LinearOperator((size, size), lambda x: x / diagonal, dtype=np.float64)
    solution, _ = cg(normal, backward(target), rtol=1e-6, maxiter=500, M=scaled)
    return np.asarray(solution, np.float64)


def components(vectors: NDArray[np.float32], number: int) -> Floats:
    """Return the first principal components of items' text vectors, [num_items, number].

    They are scaled to a mean square length of 1. Row 0, the unknown item's, is zero.
    """
    scores = np.zeros((len(vectors), min(number, vectors.shape[1])))
    centred = vectors[1:].astype(np.float64) - vectors[1:].mean(0)
    values, eigenvectors = np.linalg.eigh(centred.T @ centred)
    scores[1:] = centred @ eigenvectors[:, np.argsort(-values)[: scores.shape[1]]]
    return scores / max(float(np.sqrt((scores[1:] ** 2).sum(1).mean())), 1e-9)


def people(user: NDArray[np.int64], item: NDArray[np.int64], label: Floats) -> NDArray[np.int64]:
    """Number the person of each outcome: users (records) who share outcomes are one person.

    Few-shot benchmarks cut one person's ratings into overlapping records; otherwise an outcome that stands in ten
    records would count ten times.

    Args:
        user: User (record) of each outcome, [n].
        item: Item, [n].
        label: Label, [n].

    Returns:
        Number of the person of each outcome, int64 [n].
    """
    from scipy import sparse

    records, record = np.unique(user, return_inverse=True)
    kinds, kind = np.unique(np.stack([item, (label * 1000).astype(np.int64)]), axis=1, return_inverse=True)
    shape = (len(records), kinds.shape[1])
    given = sparse.csr_matrix((np.ones(len(record)), (record, kind.reshape(-1))), shape=shape)
    given.data[:] = 1.0
    shared = (given @ given.T).tocoo()
    close = shared.data >= ALIKE
    size = (len(records), len(records))
    links = sparse.csr_matrix((np.ones(int(close.sum())), (shared.row[close], shared.col[close])), shape=size)
    person = sparse.csgraph.connected_components(links, directed=False)[1]
    return np.asarray(person[record], np.int64)

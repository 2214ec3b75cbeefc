"""Scores of clicks from histories: who liked an item together with the history's, and how like their texts are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from llmrec_peft.data.histories import Histories
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.evaluation.baselines.entries import all_entries, entries_of, histories_of, pieces
from llmrec_peft.evaluation.baselines.rates import Floats
from llmrec_peft.evaluation.baselines.unit_vectors import unit_vectors

if TYPE_CHECKING:
    from torch import Tensor

NEWEST = 1000
"""Entries of a history that are read, the newest; as many as a recipe's `data.history_length` may be at most."""
CELLS = 1 << 22
"""Pairs of items whose common likes are counted together: 32 MiB with their places."""
DENSE = 4
"""A matrix of at most so many times `CELLS` cells is written out: its cells are found many times as fast."""
ROOM = 4
"""Pairs that take as much memory as an entry that is written out."""
MIDDLE = 0.5
"""Labels are 1 and 0."""


def common_likes(learn: Interactions, ask: Interactions, num_items: int, alone: bool) -> Floats:
    """Return how often users who liked the history's items also liked the item, newest entries first, float64 [n].

    With F(i) the users who liked item i and w_e the weight of entry e (`signed`):
    Σ_e w_e |F(i_e) ∩ F(item)| / √(1 + |F(item)|), over entries of other items. Only pairs of an asked item and another
    one are counted, those of a few asked items at a time.

    Args:
        learn: Likes that are counted.
        ask: Examples with histories.
        num_items: Rows of an item table.
        alone: Whether each record of `learn` is a user of its own, whose history's likes count too.
    """
    liked = liked_items(learn, num_items, alone)
    by_item = liked.tocsc()
    spread = np.asarray(np.sqrt(liked.sum(0) + 1.0)).reshape(-1)
    others = np.minimum(np.asarray(liked.T @ np.diff(liked.indptr)).reshape(-1).astype(np.int64), num_items)
    histories, scores = histories_of(ask, NEWEST), np.empty(len(ask))
    order = np.argsort(ask.item, kind="stable")
    item = ask.item[order]
    first = np.append(True, item[1:] != item[:-1])[: len(item)]
    for piece in pieces(ROOM * histories.lengths[order] + np.where(first, others[item], 0), CELLS):
        rows = order[piece]
        targets, place = np.unique(ask.item[rows], return_inverse=True)
        own = signed(histories, rows, num_items)
        row = np.repeat(np.arange(len(rows)), np.diff(own.indptr))
        likes = _looked_up(by_item[:, targets].T @ liked, place[row], own.indices)
        likes[own.indices == ask.item[rows][row]] = 0.0
        scores[rows] = np.bincount(row, own.data * likes, len(rows)) / spread[ask.item[rows]]
    return scores


def _looked_up(matrix: Any, row: NDArray[np.int64], column: NDArray[np.int64]) -> Floats:
    """Return some cells of a sparse matrix, float64 [m]."""
    if not len(row):
        return np.empty(0)
    if np.prod(matrix.shape) <= DENSE * CELLS:
        return np.asarray(matrix.toarray()[row, column], np.float64)
    matrix.sort_indices()  # cells are then found by bisection
    return np.asarray(matrix[row, column], np.float64).reshape(-1)


def text_cosines(ask: Interactions, texts: Tensor, num_items: int) -> Floats:
    """Return the cosine of the item's text with the history's, disliked entries subtracted, float64 [n].

    Args:
        ask: Examples with histories.
        texts: Vectors of all items' texts, float32 [num_items, width]; their mean is subtracted.
        num_items: Rows of an item table.
    """
    vectors = unit_vectors(texts, centred=True)
    histories, scores = histories_of(ask, NEWEST), np.empty(len(ask))
    for rows in pieces(histories.lengths + 1, max(1, CELLS // vectors.shape[1])):
        own = signed(histories, rows, num_items)
        used, column = np.unique(own.indices, return_inverse=True)
        told = sparse.csr_matrix((own.data, column, own.indptr), shape=(len(rows), len(used)))
        profiles = np.asarray(told @ vectors[used])
        scores[rows] = (profiles * vectors[ask.item[rows]]).sum(1)
    return scores


def liked_items(learn: Interactions, num_items: int, alone: bool) -> Any:
    """Return who liked what as a sparse matrix of ones, users by items, with the likes of histories if `alone`."""
    positive = learn.label > MIDDLE
    rows, items = [learn.user[positive]], [learn.item[positive]]
    if alone:
        for records, entries in all_entries(histories_of(learn)):
            liked = entries.label > MIDDLE
            rows.append(learn.user[records[entries.row[liked]]])
            items.append(entries.item[liked])
    row, item = np.concatenate(rows), np.concatenate(items)
    width = int(learn.user.max(initial=0)) + 1
    likes = sparse.csr_matrix((np.ones(len(row), np.float32), (row, item)), shape=(width, num_items))
    likes.data[:] = 1.0
    return likes


def signed(histories: Histories, rows: NDArray[np.int64], num_items: int) -> Any:
    """Return some examples' histories as sparse rows: liked entries positive, others negative, absolute sum 1.

    The p-th newest entry weighs 1 / √p.
    """
    told = entries_of(histories, rows)
    end = np.searchsorted(told.row, told.row, side="right")
    value = np.where(told.label > MIDDLE, 1.0, -1.0) / np.sqrt(end - np.arange(len(told.row)))
    matrix = sparse.csr_matrix((value, (told.row, told.item)), shape=(len(rows), num_items))
    size = np.asarray(abs(matrix).sum(1)).reshape(-1)
    return sparse.diags(1.0 / np.maximum(size, 1e-9)) @ matrix

"""Item links: which items are linked to which, as rows of a sparse table, summed over the entries of histories."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from llmrec_peft.backbone.tensor_files import is_finite
from llmrec_peft.errors import InputError
from llmrec_peft.known_contents import is_known

if TYPE_CHECKING:
    from scipy import sparse


class Found(NamedTuple):
    """Links of the entries of some histories, one value for each link.

    Attributes:
        row: Row of the history, int64 [n].
        place: Column of the entry in the history, int64 [n].
        link: Link of the entry's item, int64 [n].
    """

    row: Tensor
    place: Tensor
    link: Tensor


def links_of(begin: Tensor, history: Tensor) -> Found:
    """Find the links of all entries of histories.

    Args:
        begin: The links of item i are those from begin[i] to begin[i + 1], int64 [num_items + 1]; item 0 has none.
        history: Items of histories, int64 [B, L]; 0 for no entry.
    """
    first = begin[history].reshape(-1)
    count = begin[history + 1].reshape(-1) - first
    cell = torch.repeat_interleave(torch.arange(len(first), device=first.device), count)
    within = torch.arange(len(cell), device=first.device) - (count.cumsum(0) - count)[cell]
    columns = max(1, history.shape[1])
    return Found(cell // columns, cell % columns, first[cell] + within)


def summed(row: Tensor, item: Tensor, value: Tensor, candidates: Tensor, rows: int) -> Tensor:
    """Sum values by example and candidate, float32 [rows, C].

    Args:
        row: Example of each value, int64 [n].
        item: Item that it is for, int64 [n].
        value: The values, float32 [n].
        candidates: Items that are asked for, int64 [rows, C], or [1, C] where all examples share them; one may come
            twice.
        rows: Number of examples.
    """
    if candidates.shape[0] != 1:  # pairs: one or a few candidates a row
        same = item[:, None] == candidates[row]
        return value.new_zeros(candidates.shape).index_add(0, row, same * value[:, None])
    asked, place = torch.unique(candidates[0], return_inverse=True)
    column = torch.searchsorted(asked, item).clamp(max=len(asked) - 1)
    kept = asked[column] == item
    cells = value.new_zeros(rows * len(asked)).index_add(0, (row * len(asked) + column)[kept], value[kept])
    return cells.view(rows, len(asked))[:, place]


def link_table(links: sparse.csr_matrix) -> nn.ParameterDict:
    """Return a sparse matrix [num_items, num_items] as frozen tensors ``begin``, ``item`` and ``value``."""
    return frozen(
        {
            "begin": torch.from_numpy(links.indptr.astype(np.int64)),
            "item": torch.from_numpy(links.indices.astype(np.int32)),
            "value": torch.from_numpy(links.data.astype(np.float32)),
        }
    )


def saved_links(saved: Mapping[str, Tensor], name: str, num_items: int) -> nn.ParameterDict:
    """Return a saved table, which is checked: a stranger may have written it. It shares the saved tensors' memory.

    Args:
        saved: Tensors of the saved signal.
        name: Name of the table in it.
        num_items: Rows of an item table.

    Raises:
        InputError: If a tensor is missing, of another type or size, or points outside the table.
    """
    begin, item, value = (_saved(saved, f"{name}.{part}") for part in ("begin", "item", "value"))
    if begin.dtype != torch.int64 or tuple(begin.shape) != (num_items + 1,):
        raise InputError(f"tensor {name}.begin is not int64 [{num_items + 1}], one row more than items")
    seen_before = is_known()
    falls = not seen_before and bool((begin.diff() < 0).any())
    if int(begin[0]) != 0 or int(begin[-1]) != len(item) or falls:
        raise InputError(f"tensor {name}.begin does not divide {len(item)} links among the items")
    if item.dtype != torch.int32 or item.ndim != 1 or (not seen_before and _outside(item, num_items)):
        raise InputError(f"tensor {name}.item is not a list of items from 1 to {num_items - 1}")
    if value.dtype != torch.float32 or value.shape != item.shape or not (seen_before or is_finite(value)):
        raise InputError(f"tensor {name}.value is not one finite float32 for each link")
    return frozen({"begin": begin, "item": item, "value": value})


def frozen(tensors: Mapping[str, Tensor]) -> nn.ParameterDict:
    """Return tensors as parameters that are saved and never trained."""
    return nn.ParameterDict({name: nn.Parameter(value, requires_grad=False) for name, value in tensors.items()})


def strongest(links: sparse.csr_matrix, most: int) -> NDArray[np.bool_]:
    """Return which links are among the `most` largest of their row, of equal ones the first, bool [nnz]."""
    kept = np.ones(links.nnz, bool)
    for row in np.flatnonzero(np.diff(links.indptr) > most).tolist():
        cells = slice(int(links.indptr[row]), int(links.indptr[row + 1]))
        value = links.data[cells]
        least = np.partition(value, -most)[-most]
        equal = np.flatnonzero(value == least)
        kept[cells] = value > least
        kept[cells][equal[: most - int(kept[cells].sum())]] = True
    return kept


def _saved(saved: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in saved:
        raise InputError(f"tensor {name} is missing")
    return saved[name]


def _outside(item: Tensor, num_items: int) -> bool:
    return len(item) > 0 and (int(item.min()) < 1 or int(item.max()) >= num_items)

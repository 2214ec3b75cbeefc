"""Chunks: which texts pass through the model together, and in what shape."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import nn

STEP = 8
"""Tokens to whose next multiple a text is padded in a steady chunk."""
TOKENS_CPU = 512
"""Tokens of a steady chunk on a CPU: from there on (MiniLM, bf16) a token's time no longer falls with more of them."""
TOKENS_CUDA = 4096
"""The same on a GPU, where a pass of few tokens takes as long as one of many."""


@dataclass(frozen=True)
class Chunk:
    """Texts of one pass.

    Attributes:
        at: Places of the texts among those asked for, [n].
        rows: Rows of the pass; those beyond n are filled and their results dropped.
        width: Tokens of the pass; None for those of the longest text.
    """

    at: NDArray[np.int64]
    rows: int
    width: int | None

    def filled(self) -> NDArray[np.int64]:
        """Return the places with the first one repeated up to the rows of the pass, [rows]."""
        return np.concatenate([self.at, np.full(self.rows - len(self.at), self.at[0])])


def chunks(lengths: NDArray[np.int64], kinds: NDArray[np.int64], size: int) -> Iterator[Chunk]:
    """Divide texts into chunks of one kind and similar length: as little padding as possible, as in training.

    Args:
        lengths: Tokens of each text, [n].
        kinds: Kind of each text, [n].
        size: Rows of a chunk at most.
    """
    for order in _groups(np.lexsort((lengths, kinds)), kinds):
        for at in range(0, len(order), size):
            own = order[at : at + size]
            yield Chunk(own, len(own), None)


def steady_chunks(lengths: NDArray[np.int64], kinds: NDArray[np.int64], size: int, model: nn.Module) -> Iterator[Chunk]:
    """Divide texts into chunks whose shape depends on nothing but a text's own length.

    In half precision the shape of a pass decides in which order products are summed, so that a text's vector changes
    with the number and the length of its neighbours; in passes of the same shape it does not, whoever the neighbours
    are (`tests/backbone/test_vectors_and_neighbours.py` measures both). So a text is padded to the multiple of `STEP`
    above its length, and a pass has as many rows as `TOKENS_CPU` or `TOKENS_CUDA` hold, filled if need be. Every text
    then has padding: with a text without any, some architectures leave out the mask and take another kernel. Texts
    longer than half the model's window, beside which an adapter's virtual tokens may need the rest, pass in chunks of
    exactly their own length.

    Args:
        lengths: Tokens of each text, [n].
        kinds: Kind of each text, [n].
        size: Rows of a chunk at most.
        model: The model, which tells the window and the device.
    """
    widths = (lengths // STEP + 1) * STEP
    budget = TOKENS_CPU if next(model.parameters()).device.type == "cpu" else TOKENS_CUDA
    exact = (widths > budget // 2) | (widths > _half_window(model))
    widths = np.where(exact, lengths, widths)
    of_shape = widths * 2 + exact
    for order in _groups(np.lexsort((of_shape, kinds)), kinds, of_shape):
        width = int(widths[order[0]])
        rows = max(1, min(size, budget // max(1, width)))
        for at in range(0, len(order), rows):
            yield Chunk(order[at : at + rows], rows, width)


def rounds(model: nn.Module) -> bool:
    """Return whether a model computes in half precision, whatever its weights are stored in."""
    import torch

    return any(parameter.dtype in (torch.bfloat16, torch.float16) for parameter in model.parameters())


def _half_window(model: nn.Module) -> int:
    config: Any = model.config
    return int(getattr(config.get_text_config(), "max_position_embeddings", None) or 1 << 30) // 2


def _groups(order: NDArray[np.int64], *keys: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Cut an order wherever one of the keys changes."""
    changes = [np.flatnonzero(np.diff(key[order])) + 1 for key in keys]
    bounds = np.unique(np.concatenate([[0, len(order)], *changes])).astype(np.int64)
    for start, end in itertools.pairwise(bounds.tolist()):
        yield order[start:end]

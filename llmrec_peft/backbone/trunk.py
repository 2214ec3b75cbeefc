"""Trunk: states below the lowest adapted layer, computed once for every text and replayed from memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from llmrec_peft.data.tokens import TokenTable


def transformer_layers(model: nn.Module) -> nn.ModuleList:
    """The stack of transformer layers: the longest module list whose members share one class."""
    stacks = [
        module
        for module in model.modules()
        if isinstance(module, nn.ModuleList) and len({type(layer) for layer in module}) == 1
    ]
    if not stacks:
        raise TypeError(f"{type(model).__name__} has no stack of layers")
    return max(stacks, key=len)


class _Skip(nn.Module):
    """Stands for a layer whose work is done already."""

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return hidden_states


class _Replay(nn.Module):
    """Stands for the lowest layer and answers with stored states, whatever it is given."""

    def __init__(self, states: Tensor) -> None:
        super().__init__()
        self.states = states

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return self.states


class Trunk:
    """Stored states that enter layer `lowest`, for all distinct texts of a token table.

    The lower layers are frozen and run without dropout, so their states for a text never change; replaying
    them gives the full pass's result (a test compares both). Padding is kept apart: states are stored
    without it, ragged.
    """

    def __init__(self, model: nn.Module, tokens: TokenTable, lowest: int, chunk: int = 64) -> None:
        """Compute the states.

        Args:
            model: Frozen transformer (adapters may be attached at `lowest` and above).
            tokens: Texts.
            lowest: Index of the lowest adapted layer, at least 1.
            chunk: Texts a forward pass.
        """
        self._model = model
        self._tokens = tokens
        self._lowest = lowest
        self._states: Tensor | None = None
        self._fill(chunk)

    @staticmethod
    def megabytes(tokens: TokenTable, width: int, dtype: torch.dtype) -> float:
        """Memory that the states of all texts take."""
        return len(tokens.ids) * width * dtype.itemsize / 2**20

    @torch.no_grad()
    def _fill(self, chunk: int) -> None:
        import numpy as np

        caught: list[Tensor] = []

        def catch(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
            caught.append(args[0])
            raise _Enough

        device = next(self._model.parameters()).device
        hook = transformer_layers(self._model)[self._lowest].register_forward_pre_hook(catch)
        order = np.argsort(self._tokens.lengths(np.arange(self._tokens.num_distinct)), kind="stable")
        try:
            for at in range(0, len(order), chunk):
                rows = order[at : at + chunk]
                ids, mask = self._tokens.padded(rows)
                with suppress(_Enough):
                    self._model(input_ids=ids.to(device), attention_mask=mask.to(device))
                states = caught.pop()
                if self._states is None:
                    self._states = states.new_empty(len(self._tokens.ids), states.shape[-1])
                for row, length, own in zip(rows, self._tokens.lengths(rows), states, strict=True):
                    start = self._tokens.start[row]
                    self._states[start : start + length] = own[:length]
        finally:
            hook.remove()

    def padded(self, rows: NDArray[np.int64]) -> Tensor:
        """Stored states of some texts, zero beyond each text's end, [len(rows), longest, width]."""
        import numpy as np

        assert self._states is not None  # noqa: S101 - `_fill` has run
        lengths = self._tokens.lengths(rows)
        place = np.arange(int(lengths.max()))[None, :]
        inside = place < lengths[:, None]
        at = np.where(inside, self._tokens.start[rows][:, None] + place, 0)
        states = self._states[torch.from_numpy(at).to(self._states.device)]
        return states * torch.from_numpy(inside).to(states.device, states.dtype).unsqueeze(-1)

    @contextmanager
    def replayed(self, rows: NDArray[np.int64]) -> Iterator[None]:
        """Let the model's lower layers answer from the store inside the block."""
        layers = transformer_layers(self._model)
        below = list(layers[: self._lowest])
        for index in range(self._lowest):
            layers[index] = _Skip()
        layers[self._lowest - 1] = _Replay(self.padded(rows))
        try:
            yield
        finally:
            for index, layer in enumerate(below):
                layers[index] = layer


class _Enough(Exception):  # noqa: N818 - no error: it ends a forward pass early
    """Raised inside a forward pass once its states are caught."""

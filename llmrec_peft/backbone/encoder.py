"""TextEncoder: vectors of texts from the frozen model and the adapter inside it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from llmrec_peft.backbone.pooling import pool
from llmrec_peft.backbone.trunk import Trunk, UnknownLayersError, state_width
from llmrec_peft.data.tokens import TokenTable


class TextEncoder(nn.Module):
    """Encodes keys (items) by their texts; what cannot change is computed once.

    With an adapter whose lowest layer is above the first, the states below it are computed once (`Trunk`)
    where they fit in memory. Each distinct text is encoded once a call, in chunks of rows of similar length.
    """

    def __init__(
        self,
        model: nn.Module,
        frozen: list[nn.Module],
        tokens: TokenTable,
        pooling: str,
        normalize: bool,
        lowest_layer: int | None,
        chunk: int = 64,
    ) -> None:
        """Wrap a model.

        Args:
            model: Transformer with or without an adapter attached.
            frozen: Modules of the bare transformer: they stay in evaluation mode, so that their dropout
                never blurs a text.
            tokens: Texts of all keys.
            pooling: See `llmrec_peft.backbone.pooling.pool`.
            normalize: Whether vectors are scaled to length 1.
            lowest_layer: Lowest layer that the adapter touches; None where nothing is adapted.
            chunk: Rows a forward pass.
        """
        super().__init__()
        self.model = model
        self._frozen = frozen
        self.tokens = tokens
        self._pooling = pooling
        self._normalize = normalize
        self._lowest = lowest_layer
        self._chunk = chunk
        self._vectors: Tensor | None = None
        self._partial = False
        self._trunk: Trunk | None = None
        self.held = False
        """Whether the adapter's vectors are computed once and kept for now."""

    def train(self, mode: bool = True) -> TextEncoder:
        """Put the adapter into training mode, never the frozen model."""
        super().train(mode)
        for module in self._frozen:
            # a layer recomputes its activations only in training mode; dropout is in modules of its own
            module.training = mode and bool(getattr(module, "gradient_checkpointing", False))
        return self

    def store_trunk(self, limit_mb: float) -> bool:
        """Compute and keep the states below the adapter if they take at most `limit_mb`.

        Returns:
            Whether they are kept: not where nothing lies below the adapter, and not in a model in which
            replayed states would not give the full pass's result.
        """
        if not self._lowest or self.tokens.num_distinct == 0:
            return False
        if Trunk.megabytes(self.tokens, state_width(self.model), next(self.model.parameters()).dtype) > limit_mb:
            return False
        training = self.training
        self.eval()
        try:
            trunk = Trunk(self.model, self.tokens, self._lowest, self._chunk)
            if trunk.holds():
                self._trunk = trunk
        except UnknownLayersError:
            return False
        finally:
            self.train(training)
        return self._trunk is not None

    def share_trunk(self, other: TextEncoder) -> None:
        """Use the states that another encoder of the same frozen model and texts has stored."""
        self._trunk = other._trunk

    def forward(self, keys: Tensor) -> Tensor:
        """Vectors of keys.

        Args:
            keys: Key numbers, int64 [n].

        Returns:
            float32 [n, width]; differentiable with respect to the adapter in training mode.
        """
        if self._vectors is not None:
            return self._vectors[keys]
        rows = torch.as_tensor(self.tokens.row_of, device=keys.device)[keys]
        distinct, place = torch.unique(rows, return_inverse=True)
        return self.encode(distinct.cpu().numpy())[place]

    @contextlib.contextmanager
    def fixed(self, keys: NDArray[np.int64] | None = None) -> Iterator[Tensor]:
        """Inside the block, vectors of keys are computed once, without gradient, and looked up.

        Args:
            keys: Keys that will be asked for; None for all. The others' vectors are zero.
        """
        before, partial = self._vectors, self._partial
        if before is None or partial:
            training = self.training
            self.eval()
            row_of = self.tokens.row_of
            rows = np.arange(self.tokens.num_distinct) if keys is None else np.unique(row_of[keys])
            with torch.no_grad():
                encoded = self.encode(rows)
            distinct = encoded.new_zeros(self.tokens.num_distinct, encoded.shape[1])
            distinct[torch.as_tensor(rows, device=encoded.device)] = encoded
            self._vectors = distinct[torch.as_tensor(row_of, device=encoded.device)]
            self._partial = keys is not None
            self.train(training)
        assert self._vectors is not None  # noqa: S101 - set above
        try:
            yield self._vectors
        finally:
            self._vectors, self._partial = before, partial

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Inside the block the adapter stands still: its vectors are computed once, also in training mode."""
        with self.fixed():
            self.held = True
            try:
                yield
            finally:
                self.held = False

    def encode(self, rows: NDArray[np.int64], tokens: TokenTable | None = None) -> Tensor:
        """Encode distinct texts by their row numbers.

        Args:
            rows: Distinct texts, [n].
            tokens: Another table of texts (new items); the trunk's store is not used then.

        Returns:
            float32 [n, width] in the order of `rows`.
        """
        table = self.tokens if tokens is None else tokens
        order = np.argsort(table.lengths(rows), kind="stable")
        parts = [
            self._encode_chunk(rows[order[at : at + self._chunk]], table, tokens is None)
            for at in range(0, len(order), self._chunk)
        ]
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        stacked = torch.cat(parts)
        return stacked[torch.as_tensor(back, device=stacked.device)]

    def _encode_chunk(self, rows: NDArray[np.int64], table: TokenTable, stored: bool) -> Tensor:
        device = next(self.model.parameters()).device
        ids, mask = table.padded(rows)
        ids, mask = ids.to(device), mask.to(device)
        replay = self._trunk.replayed(rows) if self._trunk and stored else contextlib.nullcontext()
        with replay:
            states = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        vectors = pool(states, mask, self._pooling)
        return nn.functional.normalize(vectors, dim=-1) if self._normalize else vectors

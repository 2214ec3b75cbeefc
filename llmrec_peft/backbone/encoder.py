"""TextEncoder: vectors of texts from the frozen model and its adapter; it stores nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from llmrec_peft.backbone.adapter_modules import AdapterModules
from llmrec_peft.backbone.chunks import Chunk, chunks, rounds, steady_chunks
from llmrec_peft.backbone.pooling import pool
from llmrec_peft.data.tokens import TokenTable

if TYPE_CHECKING:
    from llmrec_peft.backbone.trunk import Trunk


@dataclass(frozen=True)
class Reading:
    """How the states of one kind of texts become vectors.

    Attributes:
        pooling: See `llmrec_peft.backbone.pooling.pool`.
        normalize: Whether vectors are scaled to length 1.
        dense: Linear layers of an embedding model, between pooling and scaling; None for most models.
        skipped: Tokens at the beginning of each text that are read but do not count in pooling.
    """

    pooling: str
    normalize: bool
    dense: nn.Module | None = None
    skipped: int = 0

    def vectors(self, states: Tensor, mask: Tensor) -> Tensor:
        """Return vectors of texts, float32 [n, width].

        Args:
            states: [n, length, hidden].
            mask: 1 for tokens, 0 for padding on the right, [n, length].
        """
        if self.skipped:
            counted = mask.clone()
            counted[:, : self.skipped] = 0
            mask = torch.where(counted.any(1, keepdim=True), counted, mask)
        vectors = pool(states, mask, self.pooling)
        if self.dense is not None:
            vectors = self.dense(vectors)
        return nn.functional.normalize(vectors, dim=-1) if self.normalize else vectors


class TextEncoder(nn.Module):
    """Encodes texts of a token table, each row once per call, in chunks of rows of similar length.

    In evaluation a text's vector does not depend on the other texts of the call, bit for bit also in half precision
    (`llmrec_peft.backbone.chunks.steady_chunks`); in fp32 it does not up to rounding, about 1e-6, and bit for bit
    where `steady` is set.

    Vectors that are computed once and looked up are stored in `llmrec_peft.backbone.encoded_texts.EncodedTexts`.
    """

    def __init__(
        self,
        model: nn.Module,
        frozen: list[nn.Module],
        pooling: str,
        normalize: bool,
        chunk: int = 64,
        further: Sequence[Reading] = (),
        word_dropout: float = 0.0,
        dense: nn.Module | None = None,
        skipped: int = 0,
    ) -> None:
        """Wrap a model.

        Args:
            model: Transformer with or without an adapter attached.
            frozen: Modules of the bare transformer: they stay in evaluation mode, so that their dropout never changes a
                text's vector.
            pooling: See `llmrec_peft.backbone.pooling.pool`.
            normalize: Whether vectors are scaled to length 1.
            chunk: Rows per forward pass.
            further: How texts of kind 1, 2, ... (`TokenTable.kind`) are pooled; `pooling` and `normalize` are for
                kind 0.
            word_dropout: Probability that a token of an item's text is left out in training.
            dense: See `Reading.dense`.
            skipped: See `Reading.skipped`.
        """
        super().__init__()
        self.model = model
        self.chunk = chunk
        self.steady = False
        """Whether passes in fp32, too, have shapes that follow from a text's own length alone."""
        self._frozen = frozen
        self._readings = (Reading(pooling, normalize, dense, skipped), *further)
        self._word_dropout = word_dropout
        self._found: AdapterModules | None = None

    def train(self, mode: bool = True) -> TextEncoder:
        """Put the adapter into training mode, never the frozen model."""
        self.training = mode
        self.adapter.train(mode)
        return self

    @property
    def adapter(self) -> AdapterModules:
        """The adapter's modules and tensors, found by a walk when they are first asked for."""
        if self._found is None:
            self._found = AdapterModules(self, self._frozen)
        return self._found

    @property
    def reading(self) -> Reading:
        """How states of items' texts become vectors."""
        return self._readings[0]

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        device: torch.device = next(self.model.parameters()).device
        return device

    def encode(self, tokens: TokenTable, rows: NDArray[np.int64] | None = None, trunk: Trunk | None = None) -> Tensor:
        """Encode distinct texts by their row numbers.

        Args:
            tokens: Texts.
            rows: Row numbers of distinct texts, [n]; the whole table by default.
            trunk: Stored states of these texts below the adapter, which are replayed.

        Returns:
            float32 [n, width] in the order of `rows`.
        """
        rows = np.arange(tokens.num_distinct) if rows is None else rows
        passes = self.passes(tokens, rows)
        return in_order(passes, [self._chunk_vectors(rows[one.filled()], one, tokens, trunk) for one in passes])

    @torch.no_grad()
    def encode_in_parts(
        self, tokens: TokenTable, rows: NDArray[np.int64] | None = None, trunk: Trunk | None = None
    ) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        """Encode distinct texts as `encode` does, without gradient and a pass at a time, so that none has to wait.

        Args:
            tokens: Texts.
            rows: As in `encode`.
            trunk: As in `encode`.

        Yields:
            Places of some texts among `rows`, int64 [n], and their vectors, float32 [n, width].
        """
        rows = np.arange(tokens.num_distinct) if rows is None else rows
        for one in self.passes(tokens, rows):
            yield one.at, self._chunk_vectors(rows[one.filled()], one, tokens, trunk)

    def encode_as(self, tokens: TokenTable, reading: Reading, inserted: Tensor | None = None) -> Tensor:
        """Return vectors of all keys of a table of texts, pooled in the given way.

        Args:
            tokens: Texts.
            reading: How their states become vectors.
            inserted: Vectors to be inserted into each text, float32 [keys, k, hidden].

        Returns:
            float32 [keys, width].
        """
        if inserted is not None:
            return self.with_inserted(tokens, tokens.row_of, inserted, reading)
        tokens = replace(tokens, kind=np.full(tokens.num_distinct, len(self._readings)))
        usual, self._readings = self._readings, (*self._readings, reading)
        try:
            vectors = self.encode(tokens)
        finally:
            self._readings = usual
        return vectors[torch.as_tensor(tokens.row_of, device=vectors.device)]

    def with_inserted(
        self,
        tokens: TokenTable,
        rows: NDArray[np.int64],
        inserted: Tensor,
        reading: Reading | None = None,
        frozen: bool = False,
    ) -> Tensor:
        """Return vectors of texts into which others are inserted after their first token; nothing is stored or shared.

        Args:
            tokens: Texts.
            rows: Row numbers of distinct texts of one kind, [n].
            inserted: Vectors of the model's token width, float32 [n, k, hidden].
            reading: How states become vectors; by default that of the texts' kind.
            frozen: Whether the adapter gets no gradient.

        Returns:
            float32 [n, width]; differentiable with respect to adapter and inserted vectors.
        """
        reading = self._readings[int(tokens.kind[rows[0]])] if reading is None else reading
        embed = self.model.get_input_embeddings()  # type: ignore[operator]
        passes, parts = self.passes(tokens, rows), []
        for chunk in passes:
            chosen = chunk.filled()
            ids, mask = (tensor.to(self.device) for tensor in tokens.padded(rows[chosen], chunk.width))
            embedded = embed(ids)
            between = inserted[torch.as_tensor(chosen, device=inserted.device)].to(embedded.dtype)
            embedded = torch.cat([embedded[:, :1], between, embedded[:, 1:]], dim=1)
            mask = torch.cat([mask.new_ones(len(chosen), between.shape[1]), mask], dim=1)
            states = self._states(frozen, inputs_embeds=embedded, attention_mask=mask)
            parts.append(reading.vectors(states, mask)[: len(chunk.at)])
        return in_order(passes, parts)

    def passes(self, tokens: TokenTable, rows: NDArray[np.int64]) -> list[Chunk]:
        """Divide texts into passes; in evaluation no text's vector may depend on the others."""
        lengths, kinds = tokens.lengths(rows), tokens.kind[rows]
        if self.training or not (self.steady or rounds(self.model)):
            return list(chunks(lengths, kinds, self.chunk))
        return list(steady_chunks(lengths, kinds, self.chunk, self.model))

    def pooled(self, states: Tensor, mask: Tensor, kind: int) -> Tensor:
        """Return vectors of texts of a kind from the model's states, float32 [n, width]; see `Reading.vectors`."""
        return self._readings[kind].vectors(states, mask)

    @property
    def mixable(self) -> bool:
        """Whether a step's texts can pass beside another encoder's: not if tokens are left out or layers recomputed."""
        return self._word_dropout == 0.0 and not self.adapter.recompute

    def _states(self, frozen: bool, **given: Tensor) -> Tensor:
        """Return states of a pass that no store can replace; without gradient to a frozen adapter."""
        if not frozen:
            states: Tensor = self.model(**given).last_hidden_state
            return states
        still = {name: p.detach() for name, p in self.model.named_parameters() if p.requires_grad}
        states = torch.func.functional_call(self.model, still, (), given).last_hidden_state
        return states

    def _chunk_vectors(self, rows: NDArray[np.int64], chunk: Chunk, tokens: TokenTable, trunk: Trunk | None) -> Tensor:
        ids, mask = tokens.padded(rows, chunk.width)
        kind = int(tokens.kind[rows[0]])
        if self.training and self._word_dropout > 0.0 and kind == 0:
            mask = self._thinned(mask)
        ids, mask = ids.to(self.device), mask.to(self.device)
        with contextlib.nullcontext() if trunk is None else trunk.replayed(rows, chunk.width):
            states = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        return self.pooled(states, mask, kind)[: len(chunk.at)]

    def _thinned(self, mask: Tensor) -> Tensor:
        """Hide tokens at random, never a text's first or last one; layers that are replayed have already read them."""
        place, length = torch.arange(mask.shape[1])[None, :], mask.sum(1, keepdim=True)
        inner = (place > 0) & (place < length - 1)
        return torch.where(inner & (torch.rand(mask.shape) < self._word_dropout), torch.zeros_like(mask), mask)


def in_order(parts: Sequence[Chunk], vectors: Sequence[Tensor]) -> Tensor:
    """Join the vectors of chunks in the order in which their texts were asked for."""
    order = np.concatenate([chunk.at for chunk in parts])
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    stacked = torch.cat(list(vectors))
    return stacked[torch.as_tensor(back, device=stacked.device)]

"""TextEncoder: vectors of texts from the frozen model and the adapter inside it."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from llmrec_peft.backbone.pooling import pool
from llmrec_peft.backbone.trunk import Trunk, UnknownLayersError, state_width
from llmrec_peft.data.tokens import TokenTable


@dataclass(frozen=True)
class Reading:
    """How the states of a kind of texts become vectors.

    Attributes:
        pooling: See `llmrec_peft.backbone.pooling.pool`.
        normalize: Whether vectors are scaled to length 1.
    """

    pooling: str
    normalize: bool


class TextEncoder(nn.Module):
    """Encodes keys (items, users, prompts) by their texts; what cannot change is computed once.

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
        further: Sequence[Reading] = (),
        word_dropout: float = 0.0,
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
            further: How texts of kind 1, 2, ... (`TokenTable.kind`) are read; `pooling` and `normalize` are for kind 0.
            word_dropout: Chance that a token of an item's text is left out while training.
        """
        super().__init__()
        self.model = model
        self._frozen = frozen
        self.tokens = tokens
        self._readings = (Reading(pooling, normalize), *further)
        self._word_dropout = word_dropout
        self._row_of = tokens.row_of
        self._last: Tensor | None = None
        self._lowest = lowest_layer
        self._chunk = chunk
        self._vectors: Tensor | None = None
        self._covered: NDArray[np.bool_] | None = None
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
        row_of = self._row_of if self.training else self.tokens.row_of
        rows = torch.as_tensor(row_of, device=keys.device)[keys]
        distinct, place = torch.unique(rows, return_inverse=True)
        vectors = self.encode(distinct.cpu().numpy())
        if self._last is not None:
            self._last[distinct] = vectors.detach()
        return vectors[place]

    def draw_wordings(self, seed: int, epoch: int) -> None:
        """Choose the wording of each key for an epoch, where texts have several; evaluation reads the first."""
        if self.tokens.variants is not None:
            wordings = np.concatenate([self.tokens.row_of[None], self.tokens.variants])
            which = np.random.default_rng([seed, 2, epoch]).integers(0, len(wordings), wordings.shape[1])
            self._row_of = wordings[which, np.arange(wordings.shape[1])]

    def remember(self, vectors: Tensor | None) -> None:
        """Keep each text's vector as it was when last encoded, from these [keys, width] on; None for no longer."""
        if vectors is None:
            self._last = None
            return
        distinct = vectors.new_zeros(self.tokens.num_distinct, vectors.shape[1])
        distinct[torch.as_tensor(self.tokens.row_of, device=vectors.device)] = vectors
        self._last = distinct

    @property
    def remembered(self) -> Tensor | None:
        """What `remember` keeps, by distinct text: part of a checkpoint."""
        return self._last

    def last(self, keys: Tensor) -> Tensor:
        """Vectors of keys as they were when last encoded, without gradient."""
        if self._vectors is not None:
            return self._vectors[keys]
        assert self._last is not None  # noqa: S101 - `remember` was called by whoever trains with stored texts
        return self._last[torch.as_tensor(self.tokens.row_of, device=keys.device)[keys]]

    def with_inserted(self, keys: Tensor, inserted: Tensor) -> Tensor:
        """Vectors of texts into which other vectors are put behind their first token; nothing is stored or shared.

        Args:
            keys: Key numbers of texts of one kind, int64 [n].
            inserted: Vectors of the model's token width, float32 [n, k, hidden].

        Returns:
            float32 [n, width]; differentiable with respect to adapter and inserted vectors.
        """
        rows = self.tokens.row_of[keys.cpu().numpy()]
        return self._with_inserted(rows, self.tokens, self._readings[int(self.tokens.kind[rows[0]])], inserted)

    def encode_as(self, tokens: TokenTable, reading: Reading, inserted: Tensor | None = None) -> Tensor:
        """Vectors of new texts that are read in a way of their own.

        Args:
            tokens: Texts.
            reading: How their states become vectors.
            inserted: Vectors to be put into each text, float32 [keys, k, hidden].

        Returns:
            float32 [keys, width].
        """
        if inserted is None:
            tokens = replace(tokens, kind=np.full(tokens.num_distinct, len(self._readings)))
            kept, self._readings = self._readings, (*self._readings, reading)
            try:
                vectors = self.encode(np.arange(tokens.num_distinct), tokens)
            finally:
                self._readings = kept
            return vectors[torch.as_tensor(tokens.row_of, device=vectors.device)]
        return self._with_inserted(tokens.row_of, tokens, reading, inserted)

    def _with_inserted(self, rows: NDArray[np.int64], table: TokenTable, reading: Reading, inserted: Tensor) -> Tensor:
        order = np.argsort(table.lengths(rows), kind="stable")
        device = next(self.model.parameters()).device
        embed = self.model.get_input_embeddings()  # type: ignore[operator]
        parts = []
        for at in range(0, len(order), self._chunk):
            chosen = order[at : at + self._chunk]
            ids, mask = (tensor.to(device) for tensor in table.padded(rows[chosen]))
            tokens = embed(ids)
            between = inserted[torch.as_tensor(chosen, device=inserted.device)].to(tokens.dtype)
            tokens = torch.cat([tokens[:, :1], between, tokens[:, 1:]], dim=1)
            mask = torch.cat([mask.new_ones(len(chosen), between.shape[1]), mask], dim=1)
            states = self._states(inputs_embeds=tokens, attention_mask=mask)
            parts.append(_read(states, mask, reading))
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return torch.cat(parts)[torch.as_tensor(back, device=device)]

    def _states(self, **given: Tensor) -> Tensor:
        """States of a pass that no store can answer; an adapter that is held gets no gradient from it."""
        if not self.held:
            states: Tensor = self.model(**given).last_hidden_state
            return states
        still = {name: p.detach() for name, p in self.model.named_parameters() if p.requires_grad}
        states = torch.func.functional_call(self.model, still, (), given).last_hidden_state
        return states

    @contextlib.contextmanager
    def fixed(self, keys: NDArray[np.int64] | None = None) -> Iterator[Tensor]:
        """Inside the block, vectors of keys are computed once, without gradient, and looked up.

        Args:
            keys: Keys that will be asked for; None for all. The others' vectors are zero.
        """
        before, covered = self._vectors, self._covered
        row_of = self.tokens.row_of
        rows = np.unique(row_of if keys is None else row_of[keys])
        missing = rows if covered is None else rows[~covered[rows]]
        if before is None or len(missing):
            training = self.training
            self.eval()
            with torch.no_grad():
                encoded = self.encode(missing)
            place = torch.as_tensor(row_of, device=encoded.device)
            distinct = encoded.new_zeros(self.tokens.num_distinct, encoded.shape[1])
            if before is not None:
                distinct[place] = before
            distinct[torch.as_tensor(missing, device=encoded.device)] = encoded
            self._vectors = distinct[place]
            self._covered = np.zeros(self.tokens.num_distinct, bool) if covered is None else covered.copy()
            self._covered[missing] = True
            self.train(training)
        assert self._vectors is not None  # noqa: S101 - set above
        try:
            yield self._vectors
        finally:
            self._vectors, self._covered = before, covered

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
        order = np.lexsort((table.lengths(rows), table.kind[rows]))
        kinds = table.kind[rows[order]]
        bounds = [0, *(np.flatnonzero(np.diff(kinds)) + 1).tolist(), len(order)]
        parts = [
            self._encode_chunk(rows[order[at : min(end, at + self._chunk)]], table, tokens is None)
            for start, end in itertools.pairwise(bounds)
            for at in range(start, end, self._chunk)
        ]
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        stacked = torch.cat(parts)
        return stacked[torch.as_tensor(back, device=stacked.device)]

    def _encode_chunk(self, rows: NDArray[np.int64], table: TokenTable, stored: bool) -> Tensor:
        device = next(self.model.parameters()).device
        ids, mask = table.padded(rows)
        kind = int(table.kind[rows[0]])
        if self.training and self._word_dropout > 0.0 and kind == 0:
            mask = self._thinned(mask)
        ids, mask = ids.to(device), mask.to(device)
        replay = self._trunk.replayed(rows) if self._trunk and stored else contextlib.nullcontext()
        with replay:
            states = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        return _read(states, mask, self._readings[kind])

    def _thinned(self, mask: Tensor) -> Tensor:
        """Hide words at random, never a text's first or last token; layers that are replayed have read them."""
        place, length = torch.arange(mask.shape[1])[None, :], mask.sum(1, keepdim=True)
        inner = (place > 0) & (place < length - 1)
        return torch.where(inner & (torch.rand(mask.shape) < self._word_dropout), torch.zeros_like(mask), mask)


def _read(states: Tensor, mask: Tensor, reading: Reading) -> Tensor:
    vectors = pool(states, mask, reading.pooling)
    return nn.functional.normalize(vectors, dim=-1) if reading.normalize else vectors

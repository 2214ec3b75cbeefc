"""EncodedTexts: vectors of the keys of one table of texts; what cannot change is computed once and looked up."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmrec_peft.backbone.encoder import TextEncoder
from llmrec_peft.backbone.row_pool import RowPool
from llmrec_peft.backbone.trunk import Trunk, UnknownLayersError, state_width
from llmrec_peft.backbone.vector_table import VectorTable, room
from llmrec_peft.data.order import distinct
from llmrec_peft.data.tokens import TokenTable
from llmrec_peft.progress import SILENT, Progress

if TYPE_CHECKING:
    from llmrec_peft.backbone.mixed_training import MixedTraining


@dataclass(frozen=True)
class _Fixed:
    """Vectors that are looked up instead of computed.

    Attributes:
        table: Vectors by key; zero for texts that are not covered.
        covered: Which stored texts were computed, bool [stored].
        adapter: Digest of the adapter whose vectors these are.
    """

    table: VectorTable
    covered: NDArray[np.bool_]
    adapter: bytes = b""


class EncodedTexts:
    """Vectors by key (items, users, prompts) of one encoder over one table of texts.

    Three stores save forward passes: the states below the adapter, which are replayed (`Trunk`); vectors that are fixed
    for some time, because nothing is trained (`fixed`) or the adapter is frozen (`freeze`), and until the adapter is
    trained again; and each text's most recent vector (`remember`, `last`).
    """

    def __init__(
        self,
        encoder: TextEncoder,
        tokens: TokenTable,
        lowest_layer: int | None = None,
        folder: Path | None = None,
        pool: RowPool | None = None,
    ) -> None:
        """Combine an encoder and its texts.

        Args:
            encoder: Encoder, with or without an adapter inside.
            tokens: Texts of all keys.
            lowest_layer: Lowest layer that the adapter changes; None without an adapter.
            folder: Where vectors are stored if they are many, see `llmrec_peft.backbone.vector_table.room`.
            pool: Vectors of other tables' texts from the same model, read in the same way; only of an encoder in which
                nothing is trained.
        """
        self.encoder = encoder
        self.tokens = tokens
        self.frozen = False
        """Whether the adapter is frozen: its vectors are then computed once, also in training mode."""
        self.mixed: MixedTraining | None = None
        """Where the texts of a step pass together with those of other trainings."""
        self._lowest = lowest_layer
        self._trunk: Trunk | None = None
        self._fixed: _Fixed | None = None
        self._kept: _Fixed | None = None
        self._last: Tensor | None = None
        self._row_of = tokens.row_of
        self._folder = folder
        self._pool = pool
        self._trained_tokens = 0

    def __call__(self, keys: Tensor) -> Tensor:
        """Return vectors of keys.

        Args:
            keys: Key numbers, int64 [n].

        Returns:
            float32 [n, width]; differentiable with respect to the adapter in training mode.
        """
        if self._fixed is not None:
            return self._fixed.table[keys]
        row_of = self._row_of if self.encoder.training else self.tokens.row_of
        rows = torch.as_tensor(row_of, device=keys.device)[keys]
        found, place = torch.unique(rows, return_inverse=True)
        vectors = self.encode(found.cpu().numpy())
        if self._last is not None:
            self._last[found] = vectors.detach()
        return vectors[place]

    def encode(self, rows: NDArray[np.int64]) -> Tensor:
        """Encode distinct texts by their row numbers, float32 [n, width]."""
        trains = self.encoder.training and torch.is_grad_enabled()
        if trains:
            self._kept = None
            self._trained_tokens += int(self.tokens.lengths(rows).sum())
        if self.mixed is not None and trains:
            return self.mixed.encode(self.encoder, self.tokens, rows, self._trunk)
        return self.encoder.encode(self.tokens, rows, self._trunk)

    def taken_tokens(self) -> int:
        """Return how many tokens of texts were encoded for training since the last call, padding not counted."""
        taken, self._trained_tokens = self._trained_tokens, 0
        return taken

    def finish_backward(self) -> None:
        """Hand gradients on to the adapter after a backward pass, where passes are shared with other trainings."""
        if self.mixed is not None:
            self.mixed.backward(self.encoder)

    def with_inserted(self, keys: Tensor, inserted: Tensor) -> Tensor:
        """Return vectors of texts into which other vectors are inserted, see `TextEncoder.with_inserted`.

        Args:
            keys: Key numbers of texts of one kind, int64 [n].
            inserted: Vectors of the model's token width, float32 [n, k, hidden].
        """
        rows = self.tokens.row_of[keys.cpu().numpy()]
        if self.encoder.training and torch.is_grad_enabled() and not self.frozen:
            self._trained_tokens += int(self.tokens.lengths(rows).sum())
        return self.encoder.with_inserted(self.tokens, rows, inserted, frozen=self.frozen)

    def store_trunk(self, limit_mb: float, pool: RowPool | None = None) -> bool:
        """Compute and keep the states below the adapter if they take at most `limit_mb`.

        Args:
            limit_mb: Memory that they may take, in MiB; those of all tables together in a pool.
            pool: States of other tables' texts below the same layer of the same model.

        Returns:
            Whether they are stored: not if no layer lies below the adapter, and not in a model in which replayed
                states would not give the result of the full pass.
        """
        encoder = self.encoder
        if not self._lowest or self.tokens.num_distinct == 0:
            return False
        dtype = next(encoder.model.parameters()).dtype
        if Trunk.megabytes(self.tokens, state_width(encoder.model), dtype, pool) > limit_mb:
            return False
        training = encoder.training
        encoder.eval()
        try:
            trunk = Trunk(encoder.model, self.tokens, self._lowest, encoder.chunk, pool)
            if trunk.replays_exactly():
                self._trunk = trunk
        except UnknownLayersError:
            return False
        finally:
            encoder.train(training)
        return self._trunk is not None

    def share_trunk(self, other: EncodedTexts) -> None:
        """Use another encoder's stored states of the same texts; both have the same frozen model."""
        self._trunk = other._trunk

    def draw_variants(self, seed: int, epoch: int) -> None:
        """Choose the variant of each text for an epoch, if texts have several; evaluation reads the first."""
        if self.tokens.variants is not None:
            variants = np.concatenate([self.tokens.row_of[None], self.tokens.variants])
            which = np.random.default_rng([seed, 2, epoch]).integers(0, len(variants), variants.shape[1])
            self._row_of = variants[which, np.arange(variants.shape[1])]

    def remember(self, vectors: VectorTable | None) -> None:
        """Store each text's most recent vector from now on, starting with these of all keys; None to stop."""
        self._last = None
        if vectors is not None:
            self._last = torch.zeros(self.tokens.num_distinct, vectors.shape[1], device=self.encoder.device)
            self._last[: len(vectors.stored)] = vectors.stored

    @property
    def remembered(self) -> Tensor | None:
        """Vectors that `remember` stores, by distinct text: part of a checkpoint."""
        return self._last

    def last(self, keys: Tensor) -> Tensor:
        """Return the most recent vectors of keys, without gradient.

        Raises:
            RuntimeError: If no vectors are stored.
        """
        if self._fixed is not None:
            return self._fixed.table[keys]
        if self._last is None:
            raise RuntimeError("no vectors are remembered: call `remember` before training with stored texts")
        return self._last[torch.as_tensor(self.tokens.row_of, device=keys.device)[keys]]

    @contextlib.contextmanager
    def fixed(self, keys: NDArray[np.int64] | None = None, progress: Progress = SILENT) -> Iterator[VectorTable]:
        """Compute vectors of keys once, without gradient, and look them up inside the block.

        A block inside another one adds what is missing to the vectors of the outer one; so does a block after another
        one, if the adapter still, or again, has the same values.

        Args:
            keys: Keys that will be read; None for all. Vectors of other keys are zero.
            progress: Where the encoding is shown.

        Yields:
            The vectors; who keeps them, or a part of them, keeps them after the block.
        """
        before = self._fixed
        self._fixed = fixed = self._covering(keys, self._before() if before is None else before, progress)
        try:
            yield fixed.table
        finally:
            self._fixed = before
            self._kept = fixed if fixed.adapter else None

    def _before(self) -> _Fixed | None:
        """Return the vectors of the block before, if they are those of the present adapter."""
        kept, self._kept = self._kept, None
        return kept if kept is not None and kept.adapter == self.encoder.adapter.digest() else None

    def _covering(self, keys: NDArray[np.int64] | None, before: _Fixed | None, progress: Progress) -> _Fixed:
        """Return fixed vectors of these keys in addition to those that are fixed already."""
        row_of = self.tokens.row_of
        rows = distinct(row_of if keys is None else row_of[keys])
        missing = rows if before is None else rows[~before.covered[rows]]
        if before is not None and not len(missing):
            return before
        training = self.encoder.training
        self.encoder.eval()
        try:
            fixed = self._encode_into(before, missing, progress)
        finally:
            self.encoder.train(training)
        fixed.covered[missing] = True
        return fixed

    def _encode_into(self, fixed: _Fixed | None, rows: NDArray[np.int64], progress: Progress) -> _Fixed:
        """Encode distinct texts into fixed vectors, which are made with the first of them."""
        pool, lacking = self._pool, rows
        if pool is not None:
            starts = pool.starts(self.tokens)[rows]
            known, lacking = rows[starts >= 0], rows[starts < 0]
            if len(known) and pool.tensor is not None:
                fixed = self._written(fixed, known, pool.tensor[torch.from_numpy(starts[starts >= 0])])
        with progress.bar("reading texts", len(lacking)) as shown:
            for at, vectors in self.encoder.encode_in_parts(self.tokens, lacking, self._trunk):
                fixed = self._written(fixed, lacking[at], vectors)
                shown.advance(len(at))
        if fixed is None:
            raise ValueError("there are no texts to encode")
        if pool is not None and len(lacking):
            stored = fixed.table.stored
            places, end = pool.used + np.arange(len(lacking)), pool.used + len(lacking)
            held = pool.reserved(len(lacking), stored)
            held[pool.used : end] = stored[torch.from_numpy(lacking).to(stored.device)]
            pool.keep(self.tokens, lacking, places, end)
        return fixed

    def _written(self, fixed: _Fixed | None, rows: NDArray[np.int64], vectors: Tensor) -> _Fixed:
        """Write vectors of distinct texts into the fixed ones, which are made if there are none."""
        if fixed is None:
            count = int(self.tokens.row_of.max()) + 1  # texts of variants, which follow, are never fixed
            stored = room(count, vectors.shape[1], self._folder, vectors.device)
            table = VectorTable(stored, self.tokens.row_of, self._folder)
            fixed = _Fixed(table, np.zeros(count, bool), self.encoder.adapter.digest())
        stored = fixed.table.stored
        stored[torch.from_numpy(rows).to(stored.device)] = vectors.to(stored.device)
        return fixed

    @contextlib.contextmanager
    def freeze(self) -> Iterator[None]:
        """Freeze the adapter inside the block: its vectors are computed once, also in training mode."""
        with self.fixed():
            self.frozen = True
            try:
                yield
            finally:
                self.frozen = False

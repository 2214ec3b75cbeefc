"""MixedEncoder: vectors of many tenants' texts from one frozen base, each under its own tenant's adapter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from llmrec_peft import registry
from llmrec_peft.backbone.chunks import Chunk, chunks, rounds, steady_chunks
from llmrec_peft.backbone.encoder import Reading
from llmrec_peft.data.tokens import TokenTable
from llmrec_peft.errors import InputError
from llmrec_peft.run.language_model import adapter_files
from llmrec_peft.serving.mixing.freed_memory import keep_freed_memory
from llmrec_peft.serving.mixing.front import require_room
from llmrec_peft.serving.mixing.passes import mixed_states
from llmrec_peft.serving.mixing.room import NoRoomError
from llmrec_peft.serving.mixing.saved import grouped_because, read_slots
from llmrec_peft.serving.mixing.slots import Seat, Slots

if TYPE_CHECKING:
    from llmrec_peft.backbone.batched import BatchedForm, Slot
    from llmrec_peft.backbone.load import Backbone
    from llmrec_peft.backbone.text_reader import TextReader
    from llmrec_peft.run.language_model import LanguageModel, TenantAdapter

ROWS = 64
"""Rows of a pass at most."""


@dataclass(frozen=True)
class MixedRow:
    """A text of a mixed batch.

    Attributes:
        seat: Its adapter; None for the bare base.
        ids: Its token ids.
        reading: How its states become a vector.
    """

    seat: Seat | None
    ids: Sequence[int]
    reading: Reading


def mixed_vectors(backbone: Backbone, slots: Slots, rows: Sequence[MixedRow], size: int = ROWS) -> list[Tensor]:
    """Return vectors of texts, each under its own adapter, in passes of texts of similar length.

    Args:
        backbone: The bare base (`LanguageModel.bare`).
        slots: The adapters in memory.
        rows: The texts.
        size: Rows of a pass at most.

    Returns:
        float32 [width] for each text, in order.

    Raises:
        InputError: If one of the adapters was dropped.
    """
    tokens = TokenTable.of_rows([row.ids for row in rows], backbone.pad_id)
    found: dict[int, Tensor] = {}
    for one in _passes(tokens, slots.fronts([row.seat for row in rows]), backbone, size):
        chosen = one.filled()
        chosen = chosen[slots.order([rows[at].seat for at in chosen])]
        ids, mask = (tensor.to(backbone.device) for tensor in tokens.padded(chosen, one.width))
        states = mixed_states(backbone, slots, ids, mask, [rows[at].seat for at in chosen])
        for reading in dict.fromkeys(rows[at].reading for at in chosen):
            same = [place for place, at in enumerate(chosen.tolist()) if rows[at].reading == reading]
            index = torch.tensor(same, device=states.device)
            vectors = reading.vectors(states[index], mask[index])
            found |= {int(chosen[place]): vector for place, vector in zip(same, vectors, strict=True)}
    return [found[at] for at in range(len(rows))]


def _passes(tokens: TokenTable, fronts: Sequence[object], backbone: Backbone, size: int) -> list[Chunk]:
    """Divide texts into passes as `TextEncoder` does in evaluation, whosever they are.

    In half precision a pass has the shape that a text has in a single run, whatever its neighbours: so a text before
    which something stands shares passes only with those that have as many tokens there.
    """
    rows = np.arange(tokens.num_distinct)
    lengths = tokens.lengths(rows)
    if not rounds(backbone.model):
        return list(chunks(lengths, tokens.kind, size))
    kinds = {front: at for at, front in enumerate(dict.fromkeys(fronts))}
    return list(steady_chunks(lengths, np.array([kinds[front] for front in fronts]), size, backbone.model))


@dataclass(frozen=True)
class Admitted:
    """A tenant's adapter, ready to encode: what a caller holds from its name to its vectors.

    Attributes:
        tenant: The adapter's files; None for the bare base.
        seat: Its slot; None if its rows are run in passes of their own, or it changes nothing.
        because: Why its rows are run in passes of their own; None if they share passes.
        reader: How its recipe reads texts.
        before: Embeddings before each text of it.
    """

    tenant: TenantAdapter | None
    seat: Seat | None
    because: str | None
    reader: TextReader
    before: int = 0

    @property
    def grouped(self) -> bool:
        """Whether its rows are run in passes of their own."""
        return self.because is not None

    def require_room(self, length: int, room: int | None) -> None:
        """Refuse a text that does not fit the model's window, before it is in a pass with others.

        Args:
            length: Its tokens.
            room: Tokens of the window (`llmrec_peft.backbone.positions.token_room`).

        Raises:
            InputError: If the text and what stands before it are too long together.
        """
        if self.before:
            require_room(self.before, length, room)


@dataclass(frozen=True)
class AskedText:
    """A text of a tenant.

    Attributes:
        adapter: The tenant's adapter.
        ids: Token ids, prompt and special tokens included.
        view: Kind of the text, one of `llmrec_peft.backbone.text_reader.VIEWS`.
    """

    adapter: Admitted
    ids: Sequence[int]
    view: str = "item"


class MixedEncoder:
    """Encodes texts of many tenants; those whose methods have a form share passes.

    No line of it reads which adapter is attached: each text carries its own, and a slot that went to another adapter
    since answers with an error.
    """

    def __init__(self, language: LanguageModel, slots: Slots) -> None:
        """Set what encodes.

        Args:
            language: The base.
            slots: Memory for adapters, on the base's device.
        """
        self._language = language
        self.slots = slots
        if slots.device.type == "cpu":
            keep_freed_memory()

    def admit(self, tenant: TenantAdapter, make_room: Callable[[], bool] | None = None) -> Admitted:
        """Put a tenant's adapter into a slot, if its method has a form and the memory can hold it.

        Args:
            tenant: The adapter.
            make_room: Dismisses another adapter and returns True; False if there is none that may go. An adapter for
                which the memory is too small by itself is run in passes of its own then.

        Raises:
            NoRoomError: If no memory is left for now.
            InputError: If its files do not fit.
        """
        choice, folder = tenant.recipe.adapter, tenant.folder
        with self._language.bare() as backbone:
            reader = backbone.reads(tenant.recipe.backbone)
            method = registry.get("adapters", choice.method)(choice.config)
            because = grouped_because(method, backbone)
            form = method.batched(backbone) if because is None else None
            if form is None:
                return Admitted(tenant, None, because or f"{choice.method} has no form", reader)
            with adapter_files(folder, tenant.manifest, backbone) as place:
                slots = read_slots(method, form, place, backbone, str(folder), tenant.checked)
                tenant.checked = True
            seat = self._seat(form, slots, make_room)
            if seat is None:
                budget = self.slots.slabs.budget
                return Admitted(tenant, None, f"its adapter is larger than the {budget:,} bytes for adapters", reader)
            (front,) = self.slots.fronts([seat])
            before = front[1] if front is not None and front[0] == "embeddings" else 0
            return Admitted(tenant, seat, None, reader, before)

    def _seat(self, form: BatchedForm, slots: Mapping[str, Slot], make_room: Callable[[], bool] | None) -> Seat | None:
        """Return a slot that was filled; None if even all memory is too little."""
        while True:
            try:
                return self.slots.add(form, slots)
            except NoRoomError:
                if make_room is not None and not self.slots.fits(form, slots):
                    return None
                if make_room is None or not make_room():
                    raise

    def dismiss(self, adapter: Admitted) -> None:
        """Free what an adapter takes; texts that still carry it are refused.

        Raises:
            InputError: If it was dismissed before.
        """
        if adapter.seat is not None:
            self.slots.drop(adapter.seat)
        if adapter.grouped and adapter.tenant is not None:
            self._language.drop(adapter.tenant)

    @torch.no_grad()
    def encode(self, texts: Sequence[AskedText]) -> list[Tensor]:
        """Return vectors of texts in order, each float32 [its tenant's width].

        Raises:
            InputError: If an adapter was dismissed.
        """
        mixed = [at for at, text in enumerate(texts) if not text.adapter.grouped]
        found: dict[int, Tensor] = {}
        if mixed:
            rows = [
                MixedRow(one.adapter.seat, one.ids, one.adapter.reader.reading(one.view))
                for one in (texts[at] for at in mixed)
            ]
            with self._language.bare() as backbone:
                found |= zip(mixed, mixed_vectors(backbone, self.slots, rows), strict=True)
        by_adapter: dict[int, list[int]] = {}
        for at, text in enumerate(texts):
            if text.adapter.grouped:
                by_adapter.setdefault(id(text.adapter), []).append(at)
        for places in by_adapter.values():
            found |= zip(places, self._alone(texts[places[0]].adapter, [texts[at] for at in places]), strict=True)
        return [found[at] for at in range(len(texts))]

    def _alone(self, adapter: Admitted, texts: Sequence[AskedText]) -> list[Tensor]:
        """Return vectors of texts of an adapter that shares no pass."""
        assert adapter.tenant is not None  # noqa: S101 - the bare base is never grouped
        if adapter.tenant.dropped:
            raise InputError(f"{adapter.tenant.folder}: the adapter is no longer in memory")
        with self._language.inside(adapter.tenant) as (backbone, encoder):
            found: dict[int, Tensor] = {}
            for view in dict.fromkeys(text.view for text in texts):
                places = [at for at, text in enumerate(texts) if text.view == view]
                tokens = TokenTable.of_rows([texts[at].ids for at in places], backbone.pad_id)
                vectors = encoder.encode_as(tokens, adapter.reader.reading(view))
                found |= zip(places, vectors, strict=True)
            return [found[at] for at in range(len(texts))]

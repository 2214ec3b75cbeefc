"""MixedEncoder: vectors of many tenants' texts from one frozen base, each under its own tenant's adapter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from llmrec_peft import registry
from llmrec_peft.backbone.chunks import Chunk, chunks, rounds, steady_chunks
from llmrec_peft.backbone.encoder import Reading
from llmrec_peft.backbone.text_reader import VIEWS
from llmrec_peft.data.tokens import TokenTable
from llmrec_peft.errors import InputError
from llmrec_peft.run.language_model import adapter_files
from llmrec_peft.serving.mixing.freed_memory import keep_freed_memory
from llmrec_peft.serving.mixing.passes import mixed_states
from llmrec_peft.serving.mixing.saved import mixed_form, read_slots
from llmrec_peft.serving.mixing.slots import Seat, Slots

if TYPE_CHECKING:
    from llmrec_peft.backbone.load import Backbone
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
        grouped: Whether its rows are run in passes of their own.
        readings: How states of each kind of texts become vectors, in the order of `VIEWS`.
    """

    tenant: TenantAdapter | None
    seat: Seat | None
    grouped: bool
    readings: tuple[Reading, ...]


@dataclass(frozen=True)
class AskedText:
    """A text of a tenant.

    Attributes:
        adapter: The tenant's adapter.
        ids: Token ids, prompt and special tokens included.
        view: Kind of the text, one of `VIEWS`.
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

    def admit(self, tenant: TenantAdapter) -> Admitted:
        """Put a tenant's adapter into a slot, if its method has a form.

        Raises:
            InputError: If its files do not fit, or no memory is left.
        """
        choice, folder = tenant.recipe.adapter, tenant.folder
        with self._language.bare() as backbone:
            reader = backbone.reads(tenant.recipe.backbone)
            readings = tuple(reader.reading(view) for view in VIEWS)
            method = registry.get("adapters", choice.method)(choice.config)
            form = mixed_form(method, backbone)
            if form is None:
                return Admitted(tenant, None, True, readings)
            with adapter_files(folder, tenant.manifest, backbone) as place:
                slots = read_slots(method, form, place, backbone, str(folder))
            return Admitted(tenant, self.slots.add(form, slots), False, readings)

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
                MixedRow(one.adapter.seat, one.ids, one.adapter.readings[VIEWS.index(one.view)])
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
                vectors = encoder.encode_as(tokens, adapter.readings[VIEWS.index(view)])
                found |= zip(places, vectors, strict=True)
            return [found[at] for at in range(len(texts))]

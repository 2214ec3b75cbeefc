"""Slots: adapters in memory, each a number; what a pass gathers for its rows is found by these numbers."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from llmrec_peft.backbone.batched import MODEL, BatchedForm, Slot
from llmrec_peft.errors import InputError
from llmrec_peft.serving.mixing.gathered import Gathered, Layout, Numbers, gathered
from llmrec_peft.serving.mixing.room import NoRoomError, fits, kinds_of, page_count
from llmrec_peft.serving.mixing.shared_tensors import Key, SharedTensors
from llmrec_peft.serving.mixing.slabs import EXTENT, PageKind, Slabs

if TYPE_CHECKING:
    import torch

CAPACITY = 4096
"""Adapters that can be in memory at once, whatever the budget."""
Which = tuple[object, ...]
"""What adapters of one layout share."""


@dataclass(frozen=True)
class Seat:
    """An adapter's place in memory; void once the adapter was dropped, whoever has the slot then.

    Attributes:
        slot: Number of the slot, from 1; slot 0 changes nothing.
        serial: How many adapters were put into slots before this one.
    """

    slot: int
    serial: int


@dataclass
class _Held:
    serial: int
    form: int
    pages: list[tuple[PageKind, list[int]]] = field(default_factory=list)
    layouts: dict[Which, Layout] = field(default_factory=dict)
    front: tuple[str, int] | None = None
    shared: Key | None = None
    longest: int = 0

    @property
    def place(self) -> tuple[int, int]:
        """What rows are ordered by: form and longest ragged tensor."""
        return self.form + 1, self.longest


class Slots:
    """Adapters of any forms on one device.

    Adding and dropping adapters fills and frees pages of memory that was allocated once (`Slabs`). Which pages a slot
    has is told by one table for each site; a slot's entries are zeroed in all of them before it is filled, so that it
    keeps nothing of the adapter that was there before.
    """

    def __init__(self, budget: int, device: torch.device, capacity: int = CAPACITY, extent: int = EXTENT) -> None:
        """Allocate the memory.

        Args:
            budget: Bytes for all adapters together.
            device: Device of the base.
            capacity: Adapters at most.
            extent: See `Slabs`.
        """
        self.slabs = Slabs(budget, device, extent)
        self.device = device
        self._capacity, self._extent = capacity, extent
        self._shared = SharedTensors(self.slabs)
        self._free = list(range(capacity, 0, -1))
        self._held: dict[int, _Held] = {}
        self._layouts: dict[Which, Layout] = {}
        self._forms: dict[tuple[object, ...], int] = {}
        self._serial = 0
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._held)

    def add(self, form: BatchedForm, slots: Mapping[str, Slot]) -> Seat:
        """Put an adapter into a free slot.

        Args:
            form: The adapter's form.
            slots: What it fills a slot with (`llmrec_peft.backbone.batched.filled`).

        Raises:
            NoRoomError: If no slot is free, or the budget has no room; nothing is changed then.
        """
        with self._lock:
            if not self._free:
                raise NoRoomError(f"all {self._capacity} slots of adapters are taken")
            number = self._free.pop()
            self._zero(number)
            which = self._forms.setdefault(form.key, len(self._forms))
            held = self._held[number] = _Held(self._serial, which)
            self._serial += 1
            try:
                held.shared = self._shared.take(form)
                for site, slot in slots.items():
                    self._fill(number, held, form, site, slot)
            except InputError as error:
                self._remove(number)
                raise NoRoomError(str(error)) from error
            except BaseException:
                self._remove(number)
                raise
            if held.shared is not None:
                self._shared.hand(held.shared, form)
            return Seat(number, held.serial)

    def fits(self, form: BatchedForm, slots: Mapping[str, Slot]) -> bool:
        """Return whether the budget has room for an adapter when no other one is in memory."""
        return fits(form, slots, self.slabs, self._extent)

    def drop(self, seat: Seat) -> None:
        """Free an adapter's slot and pages.

        Raises:
            InputError: If it was dropped before.
        """
        with self._lock:
            self._require(seat)
            self._remove(seat.slot)

    def plan(self, seats: Sequence[Seat | None]) -> list[Gathered]:
        """Return what the rows of a pass gather, site by site.

        Args:
            seats: Adapter of each row; None for rows that nothing changes.

        Raises:
            InputError: If one of them was dropped.
        """
        with self._lock:
            for seat in set(seats):
                if seat is not None:
                    self._require(seat)
            numbers = np.array([0 if seat is None else seat.slot for seat in seats], np.int64)
            held = [self._held[number] for number in set(numbers.tolist()) - {0}]
            found = {id(layout): layout for one in held for layout in one.layouts.values()}
            return gathered(numbers, list(found.values()), self.slabs, self.device)

    def order(self, seats: Sequence[Seat | None]) -> Numbers:
        """Return an order of rows in which those of one form, size and adapter are neighbours: fewer are copied."""
        with self._lock:
            held = [(0, 0, 0) if seat is None else (*self._require(seat).place, seat.slot) for seat in seats]
        return np.array(sorted(range(len(held)), key=held.__getitem__), np.int64)

    def fronts(self, seats: Sequence[Seat | None]) -> list[tuple[str, int] | None]:
        """Return what stands before each row's text: kind (`BatchedForm.front`) and number of tokens; None for nothing.

        Raises:
            InputError: If one of the adapters was dropped.
        """
        with self._lock:
            return [None if seat is None else self._require(seat).front for seat in seats]

    def _require(self, seat: Seat) -> _Held:
        held = self._held.get(seat.slot)
        if held is None or held.serial != seat.serial:
            raise InputError(f"the adapter that was in slot {seat.slot} is no longer in memory")
        return held

    def _zero(self, number: int) -> None:
        """Let a slot point nowhere, at every site of every form."""
        for layout in self._layouts.values():
            layout.length[number], layout.here[number] = 0, False
            for pages in layout.pages.values():
                pages[number] = 0

    def _remove(self, number: int) -> None:
        held = self._held.pop(number)
        for kind, pages in held.pages:
            self.slabs.give(kind, pages)
        for which in held.layouts:
            self._layouts[which].users -= 1
            if not self._layouts[which].users:  # its form may hold more than tensors of slots
                del self._layouts[which]
        if held.shared is not None:
            self._shared.give(held.shared)
        self._free.append(number)

    def _fill(self, number: int, held: _Held, form: BatchedForm, site: str, slot: Slot) -> None:
        which, layout = self._layout(form, site, slot)
        held.layouts[which] = layout
        layout.users += 1
        layout.here[number] = True
        for name, tensor in slot.tensors.items():
            kind, ragged = layout.kinds[name], name in form.ragged
            count = page_count(len(tensor), kind) if ragged else 1
            pages = self.slabs.take(kind, count)
            held.pages.append((kind, pages))
            self.slabs.write(kind, pages, tensor)
            table = layout.pages[name]
            if table.shape[1] < count:
                table = layout.pages[name] = np.pad(table, ((0, 0), (0, count - table.shape[1])))
            table[number, :count] = pages
            if ragged:
                layout.length[number] = len(tensor)
                held.longest = max(held.longest, len(tensor))
        if site == MODEL and form.front is not None:
            held.front = (form.front, int(layout.length[number]))

    def _layout(self, form: BatchedForm, site: str, slot: Slot) -> tuple[Which, Layout]:
        kinds = kinds_of(form, slot, self.slabs)
        which = (form.key, site, slot.reads, tuple(kinds.items()))
        if which not in self._layouts:
            slots = self._capacity + 1
            pages = {name: np.zeros((slots, 1), np.int64) for name in kinds}
            here = np.zeros(slots, bool)
            self._layouts[which] = Layout(site, slot.reads, form, kinds, pages, np.zeros(slots, np.int64), here)
        return which, self._layouts[which]

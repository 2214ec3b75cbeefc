"""Slots: what an adapter left is never read by the next one, and memory stays where it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from llmrec_peft.backbone.batched import BatchedForm, SavedTensors, Slot
from llmrec_peft.backbone.load import Backbone
from llmrec_peft.errors import InputError
from llmrec_peft.serving.mixing.room import NoRoomError
from llmrec_peft.serving.mixing.slots import Seat, Slots

CPU = torch.device("cpu")


class Added(BatchedForm):
    """output + the sum of a row's vectors."""

    ragged: ClassVar[frozenset[str]] = frozenset({"vectors"})

    def __init__(self, name: str = "added") -> None:
        self._name = name

    @property
    def key(self) -> tuple[object, ...]:
        return (self._name,)

    def slots(self, saved: SavedTensors, backbone: Backbone) -> dict[str, Slot]:
        raise NotImplementedError

    def behind(self, inputs: Tensor, output: Tensor, slot: Mapping[str, Tensor]) -> Tensor:
        return output + slot["vectors"].sum(1, keepdim=True)


def vectors(rank: int, value: float, *sites: str) -> dict[str, Slot]:
    return {site: Slot({"vectors": torch.full((rank, 6), value)}) for site in sites}


def gathered(slots: Slots, seats: list[Seat | None]) -> dict[str, tuple[list[int], Tensor]]:
    """Rows and their vectors by site."""
    return {one.layout.site: (one.rows.tolist(), one.tensors()["vectors"]) for one in slots.plan(seats)}


def test_rows_gather_their_own_tensors_padded_to_the_longest_of_the_pass() -> None:
    slots = Slots(1 << 20, CPU, extent=1 << 16)
    one = slots.add(Added(), vectors(3, 1.0, "a", "b"))
    other = slots.add(Added(), vectors(7, 2.0, "b"))
    found = gathered(slots, [other, None, one, other])
    rows, tensor = found["b"]
    assert rows == [0, 2, 3]
    assert tensor.shape == (3, 7, 6)
    assert tensor.sum((1, 2)).tolist() == [84.0, 18.0, 84.0]
    assert not tensor[1, 3:].any()
    rows, tensor = found["a"]
    assert (rows, tensor.shape) == ([2], (1, 3, 6))


class AddedByToken(Added):
    """The same for each token by itself."""

    by_token: ClassVar[bool] = True


def test_rows_of_one_adapter_are_gathered_once_and_unlike_sizes_apart() -> None:
    slots = Slots(1 << 20, CPU, extent=1 << 16)
    form = AddedByToken()
    small, large, alike = (
        slots.add(form, vectors(rank, value, "a")) for rank, value in ((3, 1.0), (9, 2.0), (12, 3.0))
    )
    seats = [small, small, None, large, large, alike, alike, alike, alike]
    parts = [(one.rows.tolist(), one.joined, one.tensors()["vectors"]) for one in slots.plan(seats)]
    assert [(rows, joined, tuple(tensor.shape)) for rows, joined, tensor in parts] == [
        ([0, 1], 2, (1, 3, 6)),
        ([3, 4, 5, 6, 7, 8], 2, (3, 12, 6)),
    ]
    assert parts[1][2].sum((1, 2)).tolist() == [9 * 6 * 2.0, 12 * 6 * 3.0, 12 * 6 * 3.0]
    apart = slots.plan([small, large, small])
    assert sorted((one.rows.tolist(), one.joined) for one in apart) == [([0, 2], 2), ([1], 1)]


def test_rows_of_one_form_size_and_adapter_are_put_side_by_side() -> None:
    slots = Slots(1 << 20, CPU, extent=1 << 16)
    large, small, other = (slots.add(Added(), vectors(rank, 1.0, "a")) for rank in (9, 3, 9))
    order = slots.order([large, small, None, other, large, small])
    assert order.tolist() == [2, 1, 5, 0, 4, 3]


@pytest.mark.parametrize("zeroed", [True, False])
def test_a_slot_keeps_nothing_of_the_adapter_before(zeroed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next adapter has fewer sites and a lower rank; without zeroing, the old one's site would be read."""
    slots = Slots(1 << 20, CPU, extent=1 << 16)
    neighbour = slots.add(Added(), vectors(8, 5.0, "a", "b"))
    first = slots.add(Added(), vectors(8, 1.0, "a", "b"))
    slots.drop(first)
    if not zeroed:
        monkeypatch.setattr(slots, "_zero", lambda number: None)
    second = slots.add(Added(), vectors(2, 2.0, "b"))
    assert second.slot == first.slot
    found = gathered(slots, [neighbour, second])
    assert found["b"][1][1].sum() == 2 * 6 * 2.0 or not zeroed
    assert (found["a"][0] == [0]) is zeroed


def test_two_hundred_swaps_reallocate_nothing() -> None:
    slots = Slots(1 << 20, CPU, capacity=4, extent=1 << 14)
    address, seats = slots.slabs.address, []
    for swap in range(200):
        if len(seats) == 3:
            slots.drop(seats.pop(swap % 3))
        seats.append(slots.add(Added(f"form {swap % 5}"), vectors(1 + swap % 17, float(swap), "a", "b")))
        rank, value = gathered(slots, [seats[-1]])["a"][1].shape[1], gathered(slots, [seats[-1]])["a"][1].mean()
        assert (rank, float(value)) == (1 + swap % 17, float(swap))
    assert slots.slabs.address == address
    while seats:
        slots.drop(seats.pop())
    assert (slots.slabs.used, len(slots), slots.plan([None])) == (0, 0, [])


def test_a_seat_is_void_once_its_adapter_was_dropped() -> None:
    slots = Slots(1 << 21, CPU, capacity=1)
    seat = slots.add(Added(), vectors(1, 1.0, "a"))
    with pytest.raises(InputError, match="all 1 slots of adapters are taken"):
        slots.add(Added(), vectors(1, 1.0, "a"))
    slots.drop(seat)
    later = slots.add(Added(), vectors(1, 2.0, "a"))
    assert later.slot == seat.slot
    with pytest.raises(InputError, match="the adapter that was in slot 1 is no longer in memory"):
        slots.plan([later, seat])
    with pytest.raises(InputError, match="no longer in memory"):
        slots.drop(seat)


def test_an_adapter_that_finds_no_room_changes_nothing() -> None:
    slots = Slots(4 << 12, CPU, extent=1 << 12)
    kept = slots.add(Added(), vectors(4, 3.0, "a"))
    before = slots.slabs.used
    with pytest.raises(InputError, match="has no room"):
        slots.add(Added(), vectors(400, 1.0, "a", "b"))
    assert (slots.slabs.used, len(slots)) == (before, 1)
    assert gathered(slots, [kept])["a"][1].unique().tolist() == [3.0]


class Beside(Added):
    """Vectors, and a table that all adapters of its name read."""

    def __init__(self, name: str, table: Tensor) -> None:
        super().__init__(name)
        self.table = table

    @property
    def shared(self) -> Mapping[str, Tensor]:
        return {"table": self.table}

    def share(self, tensors: Mapping[str, Tensor]) -> None:
        self.table = tensors["table"]


def test_what_forms_share_is_counted_once_and_freed_with_the_last_adapter() -> None:
    slots = Slots(1 << 20, CPU, extent=1 << 16)
    forms = [Beside("a", torch.full((64, 64), 3.0)) for _ in range(2)]
    seats = [slots.add(form, vectors(2, 1.0, "a")) for form in forms]
    page = 4 * 6 * 4
    assert slots.slabs.used == 64 * 64 * 4 + 2 * page
    assert forms[0].table.data_ptr() == forms[1].table.data_ptr(), "both read the same bytes, inside the budget"
    assert 0 <= forms[0].table.data_ptr() - slots.slabs.address < slots.slabs.budget
    slots.drop(seats[0])
    slots.add(Beside("b", torch.full((64, 64), 5.0)), vectors(2, 1.0, "a"))
    assert forms[1].table.unique().tolist() == [3.0]
    slots.drop(seats[1])
    assert slots.slabs.used == 64 * 64 * 4 + page


def test_an_adapter_that_found_room_after_another_left_reads_what_it_shares() -> None:
    """The first try takes room for the table and gives it back: others may write there before the second."""
    slots = Slots(4 << 14, CPU, extent=1 << 14)
    first = slots.add(Added(), vectors(1000, 1.0, "a"))
    form, asked = Beside("b", torch.full((32, 32), 7.0)), vectors(300, 2.0, "a", "b")
    assert slots.fits(form, asked)
    with pytest.raises(NoRoomError):
        slots.add(form, asked)
    slots.drop(first)
    slots.add(form, asked)
    assert form.table.unique().tolist() == [7.0]


def test_what_fits_an_empty_memory_is_told_from_what_never_does() -> None:
    slots = Slots(4 << 12, CPU, extent=1 << 12)
    slots.add(Added(), vectors(100, 1.0, "a"))
    assert slots.fits(Added(), vectors(300, 1.0, "a"))
    assert not slots.fits(Added(), vectors(600, 1.0, "a"))
    assert not slots.fits(Beside("b", torch.zeros(64, 64)), vectors(1, 1.0, "a"))
    assert not slots.fits(Added(), {"a": Slot({"vectors": torch.zeros(1, 4000)})}), "a row is larger than an extent"

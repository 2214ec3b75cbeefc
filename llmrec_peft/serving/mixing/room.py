"""Room: whether the memory for adapters holds one more, and the error that says it does not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from llmrec_peft.errors import InputError
from llmrec_peft.serving.mixing.shared_tensors import whole
from llmrec_peft.serving.mixing.slabs import PageKind, Slabs

if TYPE_CHECKING:
    from llmrec_peft.backbone.batched import BatchedForm, Slot


class NoRoomError(InputError):
    """No slot is free, or the budget has no room for another adapter."""


def kinds_of(form: BatchedForm, slot: Slot, slabs: Slabs) -> dict[str, PageKind]:
    """Return the kind of page of each tensor, by name in order.

    Raises:
        InputError: If a row of a ragged tensor is larger than an extent.
    """
    return {
        name: slabs.ragged_kind(tuple(tensor.shape[1:]), tensor.dtype) if name in form.ragged else whole(tensor)
        for name, tensor in sorted(slot.tensors.items())
    }


def page_count(length: int, kind: PageKind) -> int:
    """Return the pages of a ragged tensor; one of zeros where it has no row."""
    return max(1, -(-length // kind.shape[0]))


def fits(form: BatchedForm, slots: Mapping[str, Slot], slabs: Slabs, extent: int) -> bool:
    """Return whether an adapter has room in slabs that hold no other one.

    Args:
        form: The adapter's form.
        slots: What it fills a slot with.
        slabs: The memory.
        extent: Bytes of an extent of it.
    """
    pages: Counter[PageKind] = Counter(whole(tensor) for tensor in form.shared.values())
    try:
        for slot in slots.values():
            for name, kind in kinds_of(form, slot, slabs).items():
                pages[kind] += page_count(len(slot.tensors[name]), kind) if name in form.ragged else 1
    except InputError:
        return False
    needed = sum(_extents(kind, count, extent) for kind, count in pages.items())
    return needed < slabs.budget // extent  # one of them holds zeros


def _extents(kind: PageKind, count: int, extent: int) -> int:
    """Return for how many extents pages may ask: the first and the last one of a run may lie across its border."""
    length = 1 if 2 * kind.size <= extent else -(-2 * kind.size // extent)
    return length * -(-count // max(1, length * extent // max(1, kind.size) - 1))

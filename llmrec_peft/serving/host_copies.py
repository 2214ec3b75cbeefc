"""Host copies: what adapters fill their slots with, kept in host memory, so that they come back without their files."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from llmrec_peft.backbone.batched import BatchedForm, Slot

ALIGNED = 64
"""A tensor begins at a multiple of so many bytes of its block, where it can be seen in any number format."""
_SHARED = None
"""In place of a site's name: tensors that the form shares (`BatchedForm.shared`)."""


@dataclass(frozen=True)
class _Place:
    """Where a tensor lies in a block.

    Attributes:
        site: Name of its module; None for a tensor that the form shares.
        name: Its name in the slot.
        begin: Its first byte.
        shape: Its shape.
        dtype: Its number format.
    """

    site: str | None
    name: str
    begin: int
    shape: torch.Size
    dtype: torch.dtype

    @property
    def end(self) -> int:
        """The byte behind it."""
        return self.begin + self.shape.numel() * self.dtype.itemsize

    def of(self, block: Tensor) -> Tensor:
        """Return the tensor; a view."""
        return block[self.begin : self.end].view(self.dtype).view(self.shape)


@dataclass(frozen=True)
class HostCopy:
    """What one adapter fills a slot with, in one block of bytes.

    Attributes:
        form: The adapter's form.
        block: Its tensors, uint8; page-locked beside a CUDA device, so that one transfer sends all of them.
    """

    form: BatchedForm
    block: Tensor
    _reads: Mapping[str, str | None]
    _places: Sequence[_Place]

    @property
    def nbytes(self) -> int:
        """Bytes of host memory: PyTorch rounds page-locked blocks up to a power of two."""
        size = self.block.nbytes
        return 1 << (size - 1).bit_length() if size and self.block.is_pinned() else size

    @classmethod
    def of(cls, form: BatchedForm, slots: Mapping[str, Slot], device: torch.device) -> HostCopy:
        """Copy an adapter's tensors into host memory.

        Args:
            form: The adapter's form, after `BatchedForm.slots`.
            slots: What it fills a slot with.
            device: Device of the slots.
        """
        groups = [(_SHARED, form.shared), *((site, slot.tensors) for site, slot in slots.items())]
        named = [(site, name, tensor) for site, tensors in groups for name, tensor in tensors.items()]
        places, end = list[_Place](), 0
        for site, name, tensor in named:
            begin = -(-end // ALIGNED) * ALIGNED
            places.append(_Place(site, name, begin, tensor.shape, tensor.dtype))
            end = places[-1].end
        block = torch.empty(end, dtype=torch.uint8, pin_memory=device.type == "cuda")
        for place, (_, _, tensor) in zip(places, named, strict=True):
            place.of(block).copy_(tensor.detach())
        return cls(form, block, {site: slot.reads for site, slot in slots.items()}, places)

    def slots(self, device: torch.device) -> dict[str, Slot]:
        """Return what the adapter fills a slot with, on a device; its form reads shared tensors from there too."""
        block = self.block.to(device, non_blocking=True)
        tensors: dict[str | None, dict[str, Tensor]] = {site: {} for site in (*self._reads, _SHARED)}
        for place in self._places:
            tensors[place.site][place.name] = place.of(block)
        if tensors[_SHARED]:
            self.form.share(tensors[_SHARED])
        return {site: Slot(tensors[site], reads) for site, reads in self._reads.items()}


class HostCopies:
    """Copies by the digest of their run, within a number of bytes; what was used longest ago leaves.

    One thread keeps and finds copies; any thread may read `used`.
    """

    def __init__(self, budget: int, device: torch.device) -> None:
        """Begin without copies.

        Args:
            budget: Bytes of all copies; 0 keeps none.
            device: Device of the slots.
        """
        self.budget, self.used = budget, 0
        self._device = device
        self._kept: OrderedDict[str, HostCopy] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, digest: str) -> HostCopy | None:
        """Return the copy of a run's adapter; None if there is none."""
        found = self._kept.get(digest)
        if found is not None:
            self._kept.move_to_end(digest)
        return found

    def copy(self, form: BatchedForm, slots: Mapping[str, Slot]) -> HostCopy | None:
        """Copy what an adapter fills a slot with; None if that is larger than all memory for copies.

        Args:
            form: The adapter's form, which has not been given its shared tensors by the slots yet.
            slots: What it fills a slot with.
        """
        size = sum(tensor.nbytes for slot in slots.values() for tensor in slot.tensors.values())
        if size + sum(tensor.nbytes for tensor in form.shared.values()) > self.budget:
            return None
        return HostCopy.of(form, slots, self._device)

    def keep(self, digest: str, copy: HostCopy) -> None:
        """Keep the copy of a run's adapter, of which there is none; others leave if there is no room."""
        self._kept[digest] = copy
        self.used += copy.nbytes
        while self.used > self.budget:
            _, gone = self._kept.popitem(last=False)
            self.used -= gone.nbytes

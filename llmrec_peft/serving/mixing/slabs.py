"""Slabs: the memory of all adapters on one device, allocated once, in pages that a pass gathers by their numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmrec_peft.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

EXTENT = 1 << 20
"""Bytes of an extent: what one kind of page takes from the budget at a time."""
PAGE_ROWS = 4
"""Rows of a page of a ragged tensor: an adapter of rank 6 takes two pages, the last half of zeros."""


@dataclass(frozen=True)
class PageKind:
    """What a page holds: a whole tensor, or some rows of a ragged one.

    Attributes:
        shape: Shape of a page.
        dtype: Number format.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def size(self) -> int:
        """Bytes of a page."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass
class _Run:
    """Extents that follow one another and belong to one kind of page."""

    first: int
    length: int
    total: int
    free: list[int] = field(default_factory=list)


class Slabs:
    """One allocation of `budget` bytes, divided into extents, which kinds of pages take and give back.

    The whole allocation seen as pages of one kind is a tensor [pages, *shape], of which a kind owns the pages inside
    its extents. So one index gathers pages from any of its extents, and neither another adapter nor another form ever
    reallocates anything. Extent 0 belongs to nobody and stays zero: page 0 of every kind is the page of zeros.
    """

    def __init__(self, budget: int, device: torch.device, extent: int = EXTENT) -> None:
        """Allocate.

        Args:
            budget: Bytes; rounded down to whole extents.
            device: Where.
            extent: Bytes of an extent, a multiple of 64.

        Raises:
            InputError: If there is no room for two extents.
        """
        import torch

        count = budget // extent
        if count < 2:  # noqa: PLR2004 - one of zeros, one of pages
            raise InputError(f"a budget of {budget:,} bytes for adapters is below the smallest, {2 * extent:,}")
        self._extent = extent
        self._bytes = torch.zeros(count * extent, dtype=torch.uint8, device=device)
        self._free = list(range(1, count))
        self._runs: dict[PageKind, list[_Run]] = {}
        self._run_of: dict[int, _Run] = {}
        self._views: dict[PageKind, Tensor] = {}
        self._used = 0

    @property
    def budget(self) -> int:
        """Bytes that were allocated."""
        return len(self._bytes)

    @property
    def used(self) -> int:
        """Bytes of the pages that are in use."""
        return self._used

    @property
    def address(self) -> int:
        """Where the allocation begins: the same as long as the slabs live."""
        return self._bytes.data_ptr()

    def ragged_kind(self, row: tuple[int, ...], dtype: torch.dtype) -> PageKind:
        """Return the pages of a ragged tensor whose rows have this shape: `PAGE_ROWS` rows, fewer where they are large.

        Raises:
            InputError: If a single row is larger than an extent.
        """
        size = math.prod(row) * dtype.itemsize
        if size > self._extent:
            raise InputError(f"a row of {size:,} bytes is larger than an extent of {self._extent:,} bytes")
        return PageKind((min(PAGE_ROWS, max(1, self._extent // max(1, size))), *row), dtype)

    def pages(self, kind: PageKind) -> Tensor:
        """Return the whole allocation as pages of a kind, [pages, *shape]; a view."""
        found = self._views.get(kind)
        if found is None:
            count = len(self._bytes) // kind.size
            found = self._bytes[: count * kind.size].view(kind.dtype).view(count, *kind.shape)
            self._views[kind] = found
        return found

    def take(self, kind: PageKind, count: int) -> list[int]:
        """Return the numbers of pages that are in use from now on; they hold zeros.

        Raises:
            InputError: If the budget has no room for them; nothing is taken then.
        """
        taken: list[int] = []
        while len(taken) < count:
            run = next((run for run in self._runs.get(kind, ()) if run.free), None) or self._claimed(kind)
            if run is None:
                self.give(kind, taken)
                raise InputError(
                    f"the budget of {self.budget:,} bytes for adapters has no room for {count} pages of"
                    f" {kind.size:,} bytes: {self.used:,} bytes are in use"
                )
            for _ in range(min(count - len(taken), len(run.free))):
                taken.append(run.free.pop())
                self._used += kind.size
        self.pages(kind).index_fill_(0, self._numbers(taken), 0)
        return taken

    def write(self, kind: PageKind, pages: Sequence[int], tensor: Tensor) -> None:
        """Fill pages that were taken: with one tensor of their shape, or with the rows of a ragged one, zeros behind.

        Args:
            kind: Their kind.
            pages: Their numbers.
            tensor: What to write; of a ragged tensor as many rows as fit the pages, at most.
        """
        memory = self.pages(kind)
        tensor = tensor.detach().to(memory.device)
        if tuple(tensor.shape) == kind.shape and len(pages) == 1:
            memory[pages[0]].copy_(tensor)
            return
        whole = tensor.new_zeros(len(pages) * kind.shape[0], *kind.shape[1:])
        whole[: len(tensor)] = tensor
        memory.index_copy_(0, self._numbers(pages), whole.view(len(pages), *kind.shape))

    def give(self, kind: PageKind, pages: Sequence[int]) -> None:
        """Take pages back; extents without a page in use are free for any kind."""
        for page in pages:
            run = self._run_of[page * kind.size // self._extent]
            run.free.append(page)
            self._used -= kind.size
            if len(run.free) == run.total:
                self._runs[kind].remove(run)
                for extent in range(run.first, run.first + run.length):
                    del self._run_of[extent]
                    self._free.append(extent)

    def _numbers(self, pages: Sequence[int]) -> Tensor:
        import torch

        return torch.tensor(pages, dtype=torch.int64, device=self._bytes.device)

    def _claimed(self, kind: PageKind) -> _Run | None:
        """Give a kind more extents; None if no free ones follow one another."""
        length = 1 if 2 * kind.size <= self._extent else -(-2 * kind.size // self._extent)
        self._free.sort()
        for at in range(len(self._free) - length + 1):
            first = self._free[at]
            if self._free[at + length - 1] == first + length - 1:
                break
        else:
            return None
        del self._free[at : at + length]
        start, end = first * self._extent, (first + length) * self._extent
        numbers = range(-(-start // kind.size), end // kind.size)
        run = _Run(first, length, len(numbers), list(reversed(numbers)))
        self._runs.setdefault(kind, []).append(run)
        self._run_of.update(dict.fromkeys(range(first, first + length), run))
        return run

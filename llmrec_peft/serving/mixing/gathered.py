"""Gathered: what the rows of a pass read from the memory of adapters, layout by layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.backbone.batched import MODEL, BatchedForm
from llmrec_peft.serving.mixing.room import page_count
from llmrec_peft.serving.mixing.slabs import PAGE_ROWS, PageKind, Slabs

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Numbers = NDArray[np.int64]


@dataclass
class Layout:
    """Adapters that are computed together at one site: equal keys, equal names and shapes of tensors.

    Attributes:
        site: Name of a module, or `MODEL`.
        reads: See `Slot.reads`.
        form: Form of the first of them.
        kinds: Kind of page of each tensor.
        pages: Pages of each tensor by slot, int64 [slots, pages]; page 0, of zeros, behind a ragged tensor's last.
        length: First axis of ragged tensors by slot, int64 [slots].
        here: Which slots have something here, bool [slots].
        users: Number of these slots; without any, the layout is forgotten.
    """

    site: str
    reads: str | None
    form: BatchedForm
    kinds: dict[str, PageKind]
    pages: dict[str, Numbers]
    length: Numbers
    here: NDArray[np.bool_]
    users: int = 0


@dataclass(frozen=True)
class Gathered:
    """What the rows of a pass that belong to one layout gather.

    Attributes:
        layout: The layout.
        rows: Rows of the pass that have a slot there, ascending, int64 [n].
        lengths: First axis of each one's ragged tensors, int64 [n].
        pages: Pages of each tensor, joined row after joined row, int64 [n / joined · pages] on the device.
        slabs: Where they lie.
        joined: How many rows that follow one another, all of one adapter, its form is given as one.
    """

    layout: Layout
    rows: Numbers
    lengths: Numbers
    pages: Mapping[str, Tensor]
    slabs: Slabs
    joined: int = 1

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors of joined rows, each [n / joined, …]; ragged ones padded with zeros to the longest."""
        found = {}
        for name, pages in self.pages.items():
            kind = self.layout.kinds[name]
            chosen = self.slabs.pages(kind).index_select(0, pages)
            if name in self.layout.form.ragged:
                chosen = chosen.view(len(self.rows) // self.joined, -1, *kind.shape[1:])[:, : int(self.lengths.max())]
            found[name] = chosen
        return found


def gathered(numbers: Numbers, layouts: Sequence[Layout], slabs: Slabs, device: torch.device) -> list[Gathered]:
    """Find the pages that rows gather in all layouts, and send their numbers to the device at once.

    Args:
        numbers: Slot of each row, [rows].
        layouts: Layouts in which some of them have something.
        slabs: Where the pages lie.
        device: Device of the slabs.
    """
    import torch

    parts: list[tuple[Layout, Numbers, Numbers, int]] = []
    flat: list[Numbers] = []
    known: dict[tuple[bytes, bool], list[tuple[Numbers, int]]] = {}  # most layouts have the rows of another one
    for layout in layouts:
        lengths = np.where(layout.here[numbers], layout.length[numbers], -1)
        by_token = layout.form.by_token and layout.site != MODEL
        which = lengths.tobytes(), by_token
        if which not in known:
            known[which] = [
                (rows, _joined(numbers[rows]) if by_token else 1)
                for rows in (_alike(lengths, device) if by_token else [np.flatnonzero(lengths >= 0)])
            ]
        for rows, joined in known[which]:
            parts.append((layout, rows, lengths[rows], joined))
            longest, own = int(lengths[rows].max()), numbers[rows[::joined]]
            for name, kind in layout.kinds.items():
                count = page_count(longest, kind) if name in layout.form.ragged else 1
                flat.append(layout.pages[name][own, :count].ravel())
    if not flat:
        return []
    sent = torch.split(torch.from_numpy(np.concatenate(flat)).to(device), [len(one) for one in flat])
    pages = iter(sent)
    return [
        Gathered(layout, rows, lengths, {name: next(pages) for name in layout.kinds}, slabs, joined)
        for layout, rows, lengths, joined in parts
    ]


def _alike(lengths: Numbers, device: torch.device) -> list[Numbers]:
    """Divide rows whose ragged tensors have lengths of 0 or more so that none is padded to twice its pages or more.

    A GPU computes them together: a launch more costs it more than the padding.
    """
    rows = np.flatnonzero(lengths >= 0)
    if device.type != "cpu":
        return [rows]
    doublings = np.ceil(np.log2(np.maximum(1, -(-lengths[rows] // PAGE_ROWS))))
    return [rows[doublings == one] for one in np.unique(doublings)]


def _joined(slots: Numbers) -> int:
    """Return the largest number by which every run of rows of one slot can be divided.

    Args:
        slots: Slot of each row, [n].
    """
    ends = np.flatnonzero(np.diff(slots)) + 1
    return int(np.gcd.reduce(np.diff(ends, prepend=0, append=len(slots))))

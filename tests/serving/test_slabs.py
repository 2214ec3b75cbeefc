"""Slabs: one allocation, shared by pages of many kinds, never reallocated and never more than its budget."""

from __future__ import annotations

import random

import pytest
import torch

from llmrec_peft.errors import InputError
from llmrec_peft.serving.mixing.slabs import PageKind, Slabs

CPU = torch.device("cpu")
EXTENT = 4096


def kinds(slabs: Slabs) -> list[PageKind]:
    return [
        slabs.ragged_kind((24,), torch.float32),
        slabs.ragged_kind((7, 3), torch.bfloat16),
        PageKind((5,), torch.float32),
        PageKind((), torch.float32),
        PageKind((40, 40), torch.float32),  # larger than an extent
        PageKind((11,), torch.int64),
    ]


def test_pages_of_all_kinds_keep_what_was_written_while_others_come_and_go() -> None:
    slabs, draw = Slabs(64 * EXTENT, CPU, EXTENT), random.Random(0)
    address, held = slabs.address, []
    for step in range(400):
        if held and (draw.random() < 0.5 or slabs.used > 20 * EXTENT):
            kind, pages, tensor = held.pop(draw.randrange(len(held)))
            torch.testing.assert_close(slabs.pages(kind)[pages], tensor, rtol=0, atol=0)
            slabs.give(kind, pages)
            continue
        kind = draw.choice(kinds(slabs))
        pages = slabs.take(kind, draw.randint(1, 3))
        assert not slabs.pages(kind)[pages].any(), "pages that were taken hold zeros"
        tensor = torch.randint(1, 100, (len(pages), *kind.shape)).to(kind.dtype)
        for page, part in zip(pages, tensor, strict=True):
            slabs.write(kind, [page], part)
        held.append((kind, pages, tensor))
        assert slabs.used == sum(kind.size * len(pages) for kind, pages, _ in held), step
    for kind, pages, tensor in held:
        torch.testing.assert_close(slabs.pages(kind)[pages], tensor, rtol=0, atol=0)
        slabs.give(kind, pages)
    assert (slabs.used, slabs.address) == (0, address)
    assert all(not slabs.pages(kind)[0].any() for kind in kinds(slabs) if kind.size <= EXTENT)


def test_rows_behind_a_ragged_tensor_are_zero() -> None:
    slabs = Slabs(8 * EXTENT, CPU, EXTENT)
    kind = slabs.ragged_kind((6,), torch.float32)
    pages = slabs.take(kind, 2)
    slabs.write(kind, pages, torch.ones(5, 6))
    found = slabs.pages(kind)[pages].view(8, 6)
    assert bool((found[:5] == 1).all())
    assert not found[5:].any()


def test_extents_that_are_free_again_serve_another_kind() -> None:
    slabs = Slabs(3 * EXTENT, CPU, EXTENT)
    small, other = PageKind((16,), torch.float32), PageKind((8, 4), torch.float32)
    everything = slabs.take(small, 2 * EXTENT // small.size)
    with pytest.raises(
        InputError, match=r"the budget of 12,288 bytes .* no room for 1 pages of 128 bytes: 8,192 bytes"
    ):
        slabs.take(other, 1)
    slabs.give(small, everything)
    assert len(slabs.take(other, 2 * EXTENT // other.size)) == 64


def test_a_refused_request_takes_nothing() -> None:
    slabs = Slabs(3 * EXTENT, CPU, EXTENT)
    kind = PageKind((16,), torch.float32)
    with pytest.raises(InputError, match="no room"):
        slabs.take(kind, 2 * EXTENT // kind.size + 1)
    assert slabs.used == 0
    assert len(slabs.take(kind, 2 * EXTENT // kind.size)) == 128


def test_a_budget_below_two_extents_and_a_row_above_one_are_refused() -> None:
    with pytest.raises(InputError, match=r"8,191 bytes .* below the smallest, 8,192"):
        Slabs(2 * EXTENT - 1, CPU, EXTENT)
    with pytest.raises(InputError, match="a row of 4,100 bytes is larger than an extent of 4,096 bytes"):
        Slabs(2 * EXTENT, CPU, EXTENT).ragged_kind((1025,), torch.float32)

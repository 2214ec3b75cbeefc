"""Mixed rows: whatever stands beside a row in a pass, its vector is the one that it has alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from mixed_pool import READINGS, Pool
from torch import Tensor

from llmrec_peft.backbone.encoder import Reading
from llmrec_peft.errors import InputError
from llmrec_peft.serving.mixing.gathered import Gathered
from llmrec_peft.serving.mixing.slots import Slots

pytestmark = pytest.mark.trains
BASES = ("tiny-bert", "tiny-llama")
Asked = tuple[int, int, Reading]


def a_mix(pool: Pool, seed: int) -> list[Asked]:
    """Some rows of some adapters, with texts of any length, in any order; a row may come twice."""
    draw = np.random.default_rng(seed)
    some = draw.permutation(len(pool.seats))[: draw.integers(1, len(pool.seats) + 1)]
    return [
        (int(draw.choice(some)), int(draw.integers(len(pool.texts))), READINGS[draw.integers(len(READINGS))])
        for _ in range(draw.integers(1, 40))
    ]


def both(pool: Pool, rows: list[Asked], size: int = 64) -> tuple[Tensor, Tensor]:
    """Vectors of the rows mixed, and alone; all of them finite."""
    mixed, alone = torch.stack(pool.mixed(rows, size)), torch.stack([pool.alone(*row) for row in rows])
    assert mixed.isfinite().all()
    assert alone.isfinite().all()
    return mixed, alone


@pytest.mark.parametrize("base", BASES)
def test_any_mix_gives_each_row_the_vector_that_it_has_alone(base: str, pool_of: Callable[[str, str], Pool]) -> None:
    pool = pool_of(base, "fp32")
    for seed in range(24):
        rows = a_mix(pool, seed)
        mixed, alone = both(pool, rows, size=1 + seed % 24)
        wrong = ((mixed - alone).abs().amax(1) > 1e-5 * alone.abs().amax().clamp(min=1.0)).nonzero().flatten().tolist()
        assert not wrong, (seed, [(pool.names[rows[at][0]], len(pool.texts[rows[at][1]])) for at in wrong])


@pytest.mark.parametrize("base", BASES)
def test_any_mix_in_half_precision(base: str, pool_of: Callable[[str, str], Pool]) -> None:
    pool = pool_of(base, "bf16")
    for seed in range(12):
        rows = a_mix(pool, seed)
        mixed, alone = both(pool, rows)
        usual = torch.stack([pool.usual[adapter][reading][text] for adapter, text, reading in rows])
        apart, least = _apart(mixed, usual), torch.full((len(rows),), 1e-4, dtype=torch.float64)
        means = [at for at, row in enumerate(rows) if row[2].pooling == "mean"]  # one token alone rounds by 1e-4
        unpadded = _apart(mixed, alone)
        far = least.maximum(1.1 * _apart(usual, alone))  # as its own run's pass of another shape is, on this processor
        wrong = {*(apart > least).nonzero().flatten().tolist(), *(at for at in means if unpadded[at] > far[at])}
        assert not wrong, (seed, [(pool.names[rows[at][0]], rows[at][1], float(unpadded[at])) for at in wrong])


def _apart(vectors: Tensor, others: Tensor) -> Tensor:
    """Return 1 − cosine of vectors."""
    return 1 - torch.cosine_similarity(vectors.double(), others.double())


@pytest.mark.parametrize("base", BASES)
def test_a_slot_that_is_off_by_one_changes_every_row(base: str, pool_of: Callable[[str, str], Pool]) -> None:
    pool = pool_of(base, "fp32")
    tuned = [at for at, seat in enumerate(pool.seats) if seat is not None and not pool.names[at].startswith("none")]
    rows = [(at, text, READINGS[0]) for at in tuned for text in range(1, len(pool.texts))]
    shifted = [
        (tuned[(place + 1) % len(tuned)], text, reading)
        for place, (_, text, reading) in zip((tuned.index(at) for at, _, _ in rows), rows, strict=True)
    ]
    alone = torch.stack([pool.alone(*row) for row in rows])
    off = (torch.stack(pool.mixed(shifted)) - alone).norm(dim=1) / alone.norm(dim=1)
    assert len(tuned) >= 13
    assert float(off.min()) > 1e-3, pool.names[rows[int(off.argmin())][0]]


def test_a_gather_that_is_off_by_one_fails_the_comparison(
    pool_of: Callable[[str, str], Pool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The comparison above has to notice a runner that reads the neighbour's pages."""
    pool = pool_of("tiny-bert", "fp32")
    rows = [(at, 4, READINGS[0]) for at in (2, 4)]  # of one form and as many pages, so that they are gathered together
    right = Gathered.tensors

    def neighbours(self: Gathered) -> dict[str, Tensor]:
        return {name: tensor.roll(1, 0) for name, tensor in right(self).items()}

    mixed, alone = both(pool, rows)
    assert float((mixed - alone).abs().max()) < 1e-5
    monkeypatch.setattr(Gathered, "tensors", neighbours)
    mixed, alone = both(pool, rows)
    assert float((mixed - alone).abs().amax(1).min()) > 1e-3


def test_a_row_without_an_adapter_is_the_bare_base_bit_for_bit(pool_of: Callable[[str, str], Pool]) -> None:
    pool = pool_of("tiny-bert", "fp32")
    bare = pool.seats.index(None)
    rows = [(at, 5, READINGS[0]) for at in (*range(3), bare, 6, 7, 8)]
    alike = [(bare, 5, READINGS[0])] * len(rows)
    assert torch.equal(pool.mixed(rows)[3], pool.mixed(alike)[3])


def test_hooks_are_gone_after_a_pass_and_after_a_failed_one(
    pool_of: Callable[[str, str], Pool], monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = pool_of("tiny-bert", "fp32")

    def hooks() -> int:
        modules = list(pool.backbone.model.modules())
        return sum(len(one._forward_hooks) + len(one._forward_pre_hooks) for one in modules)

    pool.backbone.detach()
    before = hooks()
    pool.mixed([(0, 1, READINGS[0]), (6, 2, READINGS[0])])
    assert hooks() == before

    def broken(self: Gathered) -> dict[str, Tensor]:
        raise RuntimeError("no memory")

    monkeypatch.setattr(Gathered, "tensors", broken)
    with pytest.raises(RuntimeError, match="no memory"):
        pool.mixed([(0, 1, READINGS[0])])
    assert hooks() == before


def test_rows_of_a_dropped_adapter_are_refused(pool_of: Callable[[str, str], Pool]) -> None:
    pool = pool_of("tiny-bert", "fp32")
    slots = Slots(1 << 21, pool.backbone.device)
    usual, pool.slots = pool.slots, slots
    try:
        with pytest.raises(InputError, match="no longer in memory"):
            pool.mixed([(0, 1, READINGS[0])])
    finally:
        pool.slots = usual

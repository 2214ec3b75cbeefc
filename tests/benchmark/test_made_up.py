"""Made-up ratings of any size: what `benchmarks/made_up.py` promises those who measure with it."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from llmrec_peft.data.dataset import column, numbers
from llmrec_peft.data.soundness import sound


@pytest.fixture(scope="module")
def room() -> ModuleType:
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(Path(__file__).resolve().parents[2] / "benchmarks")
        return importlib.import_module("made_up")


def test_made_up_ratings_are_sound_and_each_pair_is_met_once(room: ModuleType) -> None:
    data = sound(room.made_up(6_000, users=150, items=400))
    pairs = set(zip(column(data.interactions, "user_id"), column(data.interactions, "item_id"), strict=True))
    assert len(pairs) == len(data.interactions) == 6_000
    assert len(data.users) == 150
    assert len(set(column(data.items, "title"))) > 350


def test_made_up_ratings_are_the_same_for_a_seed_and_others_for_another(room: ModuleType) -> None:
    first, again, other = (room.made_up(2_000, 80, 200, seed) for seed in (3, 3, 4))
    assert first.interactions[:] == again.interactions[:]
    assert first.items[:] == again.items[:]
    assert first.interactions[:] != other.interactions[:]


def test_popularity_is_skewed_and_tastes_can_be_learned(room: ModuleType) -> None:
    data = room.made_up(12_000, users=300, items=400)
    counts = np.sort(np.unique(column(data.interactions, "item_id"), return_counts=True)[1])[::-1]
    assert counts[: len(counts) // 10].sum() > 0.3 * counts.sum()
    item = np.unique(column(data.interactions, "item_id"), return_inverse=True)[1]
    stars = numbers(data.interactions, "rating")
    means = np.bincount(item, stars) / np.bincount(item)
    assert np.var(stars - means[item]) < 0.9 * np.var(stars)


def test_too_dense_data_are_refused(room: ModuleType) -> None:
    with pytest.raises(ValueError, match="too dense"):
        room.made_up(1_000, users=30, items=40)

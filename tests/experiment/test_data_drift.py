"""Drift of newer data: shares of new users and items, and distances beside what they are by chance."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec_peft.data.interactions import Interactions
from llmrec_peft.experiment.data_drift import data_drift, in_words

ITEMS, WIDTH = 12, 5


def interactions(user: list[int], item: list[int], label: float) -> Interactions:
    count = len(user)
    return Interactions(np.array(user), np.array(item), np.full(count, label, np.float32), np.arange(count))


def vectors() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(ITEMS, WIDTH)).astype(np.float32)


def test_shares_and_labels_are_those_of_the_new_interactions() -> None:
    old = interactions([1, 1, 2, 2], [1, 2, 3, 4], 3.0)
    new = interactions([2, 3, 3, 3], [4, 5, 5, 1], 4.0)
    found = data_drift(old, new, ITEMS, None)
    assert (found["old"], found["new"]) == (4, 4)
    assert found["new_users"] == 0.75
    assert found["new_items"] == 0.5
    assert found["mean_label"] == {"old": 3.0, "new": 4.0}
    assert found["popularity"]["distance"] == pytest.approx(0.5)  # ¼ at items 1 and 4, nothing at 2 and 3, ½ at 5
    assert "text" not in found


def test_distance_of_texts_is_the_cosine_distance_of_their_means() -> None:
    text, rng = vectors(), np.random.default_rng(1)
    old = interactions([1] * 300, rng.integers(1, 6, 300).tolist(), 3.0)
    new = interactions([2] * 200, rng.integers(6, ITEMS, 200).tolist(), 3.0)
    found = data_drift(old, new, ITEMS, text)["text"]
    means = [text[part.item].mean(axis=0, dtype=np.float64) for part in (old, new)]
    cosine = means[0] @ means[1] / np.linalg.norm(means[0]) / np.linalg.norm(means[1])
    assert found["distance"] == pytest.approx(1.0 - cosine, abs=1e-5)
    assert found["distance"] > found["by_chance"]


def test_more_of_the_same_is_no_more_than_chance() -> None:
    rng = np.random.default_rng(5)
    draw = [rng.integers(1, ITEMS, size).tolist() for size in (4000, 1000)]
    old, new = (interactions([1] * len(item), item, 3.0) for item in draw)
    lines = in_words(data_drift(old, new, ITEMS, vectors()))
    assert len(lines) == 3
    assert all(line.endswith(": no more than chance") for line in lines[1:])
    moved = interactions([1] * 1000, rng.integers(1, 4, 1000).tolist(), 3.0)
    assert all(line.endswith(": more than chance") for line in in_words(data_drift(old, moved, ITEMS, vectors()))[1:])

"""Preparing data: what grows with the interactions is arrays, not calls and objects of Python."""

from __future__ import annotations

import importlib
import sys
import tracemalloc
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import pytest

from llmrec_peft.data.dataset import RecDataset
from llmrec_peft.experiment.prepare import prepare
from llmrec_peft.recipe import Recipe, load_recipe

FEW, MANY = 10_000, 40_000
USERS, ITEMS = 400, 500
BYTES = 230
"""Bytes of an interaction at the peak, all in arrays, 187 measured; its ids as texts of Python would take 120 more."""


@pytest.fixture(scope="module")
def room() -> ModuleType:
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(Path(__file__).resolve().parents[2] / "benchmarks")
        return importlib.import_module("made_up")


def recipe(split: str) -> Recipe:
    changes = {
        "data.path": "demo",
        "data.split": split,
        "data.allow_leakage": True,
        "views.item.template": "{{ title }}. {{ description }}",
        "views.user.template": "{{ user.age }} years old",
        "signals.history": {},
        "signals.graph": False,
    }
    return load_recipe("movies", changes=changes)


def calls(asked: Recipe, dataset: RecDataset) -> int:
    """Calls of functions in Python, steps of generators among them, while data are prepared."""
    count = 0

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        prepare(asked, dataset)
    finally:
        sys.setprofile(None)
    return count


def peak(asked: Recipe, dataset: RecDataset) -> int:
    tracemalloc.start()
    try:
        prepare(asked, dataset)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("split", ["random", "temporal", "leave-last-out", "cold-item"])
def test_four_times_the_interactions_take_no_more_calls_of_python(split: str, room: ModuleType) -> None:
    few, many = (room.made_up(count, USERS, ITEMS) for count in (FEW, MANY))
    asked = recipe(split)
    prepare(asked, few)  # what is imported and compiled once
    assert calls(asked, many) < 1.05 * calls(asked, few) + 200


def test_an_interaction_takes_bounded_memory_and_no_objects_of_python(room: ModuleType) -> None:
    few, many = (room.made_up(count, USERS, ITEMS) for count in (FEW, MANY))
    asked = recipe("random")
    prepare(asked, few)
    assert (peak(asked, many) - peak(asked, few)) / (MANY - FEW) < BYTES

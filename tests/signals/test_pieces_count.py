"""Every signal does something: where it alone carries the labels, the model without it is far off."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from learning import Task, crossed, divided, fitted_error, interactions, signs

from llmrec_peft.data.graph import Neighbours

pytestmark = pytest.mark.trains

USERS, ITEMS = 31, 61
NEW = np.arange(ITEMS) > 44
"""Items without training interactions."""
ALONE: dict[str, Any] = {"user_history": "none", "item_history": "none"}
"""A collaborative signal of U, I and biases."""

Signals = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Case:
    """A task, signals that can tell its labels, and the same without the piece."""

    task: Callable[[], Task]
    whole: Signals
    without: Signals
    options: dict[str, Any] = field(default_factory=dict)


def _of_items(effect: np.ndarray, **further: Any) -> Task:
    """Every user rates every item by an effect [users, items]; new items are predicted."""
    user, item = crossed(range(1, USERS), range(1, ITEMS))
    train, test = divided(interactions(user, item, 3.0 + effect[user, item]), NEW[item])
    return Task(train, test, USERS, ITEMS, **further)


def _of_users(effect: np.ndarray, **further: Any) -> Task:
    """Every user rates every item by an effect [users, items]; new users are predicted."""
    user, item = crossed(range(1, USERS), range(1, ITEMS))
    train, test = divided(interactions(user, item, 3.0 + effect[user, item]), user > 22)
    return Task(train, test, USERS, ITEMS, **further)


def _texts(seed: int, rows: int) -> tuple[torch.Tensor, np.ndarray]:
    """Texts' vectors, and what a direction in them says, about 1 in size."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(rows, 6))
    told = vectors @ (np.array([1.0, -1.0, 1.0, 0.0, 0.0, 0.0]) / np.sqrt(3.0))
    return torch.from_numpy(vectors).float() + 2.0, np.clip(told, -1.8, 1.8)


def _tastes(seed: int = 5) -> np.ndarray:
    return signs(np.random.default_rng(seed), USERS)


def text_of_items(taste: bool) -> Task:
    """How well liked an item is, or by whom, stands in its text."""
    vectors, told = _texts(0, ITEMS)
    return _of_items(np.outer(_tastes() if taste else np.ones(USERS), told), text=vectors)


def text_of_users(taste: bool) -> Task:
    """How much a user likes items, or which, stands in his text."""
    vectors, told = _texts(0, USERS)
    of_items = _texts(1, ITEMS)
    return _of_users(np.outer(told, of_items[1] if taste else np.ones(ITEMS)), text=of_items[0], user_text=vectors)


def tastes() -> Task:
    """Users and items of two kinds; a third of the pairs is held out."""
    rng = np.random.default_rng(0)
    user, item = crossed(range(1, USERS), range(1, ITEMS))
    label = 3.0 + 1.5 * _tastes()[user] * signs(rng, ITEMS)[item]
    train, test = divided(interactions(user, item, label), rng.random(len(user)) < 0.33)
    return Task(train, test, USERS, ITEMS)


def leanings(of_items: bool) -> Task:
    """Some items are liked by all, or some users like all."""
    rng = np.random.default_rng(0)
    user, item = crossed(range(1, USERS), range(1, ITEMS))
    label = 3.0 + 1.5 * (signs(rng, ITEMS)[item] if of_items else _tastes()[user])
    train, test = divided(interactions(user, item, label), rng.random(len(user)) < 0.33)
    return Task(train, test, USERS, ITEMS, text=torch.zeros(ITEMS, 6))


def graph(taste: bool, noise: bool = False) -> Task:
    """An item is as its director is; with noise, beside up to eight others that say nothing."""
    rng = np.random.default_rng(0)
    directors, others = 6, 12
    says = signs(rng, directors + 1)
    relation, entity = np.zeros((ITEMS, 9), np.int64), np.zeros((ITEMS, 9), np.int64)
    relation[1:, 0], entity[1:, 0] = 1, 1 + np.arange(ITEMS - 1) % directors
    for row in range(1, ITEMS) if noise else ():
        count = rng.integers(0, 9)
        relation[row, 1 : 1 + count] = 2
        entity[row, 1 : 1 + count] = 1 + directors + rng.choice(others, count, replace=False)
    names = tuple(f"entity {n}" for n in range(directors + others))
    neighbours = Neighbours(relation, entity, ("director", "other"), names)
    told = np.append(0.0, 1.5 * says[entity[1:, 0]])
    return _of_items(np.outer(_tastes() if taste else np.ones(USERS), told), neighbours=neighbours)


def columns(kind: str) -> Task:
    """What a column says of new users or new items."""
    rng = np.random.default_rng(0)
    letters = np.array(list("?abcdef"))
    says = dict(zip("abcdef", signs(rng, 7)[1:], strict=True))
    of_user, of_item = rng.integers(1, 7, USERS), rng.integers(1, 7, ITEMS)
    user_says = np.array([says[letters[n]] for n in of_user])
    item_says = np.array([says[letters[n]] for n in of_item])
    number = rng.normal(size=ITEMS)
    missing = np.arange(ITEMS) % 2 == 0
    items = {
        "kinds": [[str(letters[n]), "all"] for n in of_item[1:]],
        "number": (100.0 + 20.0 * number[1:]).tolist(),
        "gaps": [
            None if gap else float(value) for gap, value in zip(missing[1:], rng.normal(size=ITEMS), strict=False)
        ],
    }
    further: dict[str, Any] = {"users": {"letter": letters[of_user[1:]].tolist()}, "items": items}
    flat = np.ones(USERS)
    if kind == "users":
        return _of_users(1.5 * np.outer(user_says, np.ones(ITEMS)), **further)
    if kind == "both":
        return _of_items(1.5 * np.outer(user_says, item_says), **further)
    told = {"items": 1.5 * item_says, "number": np.clip(number, -1.8, 1.8), "gaps": np.where(missing, 1.5, -1.5)}[kind]
    return _of_items(np.outer(flat, told), **further)


TEXT = {"text": {"dropout": 0.0}}
OFFSETS = {"text": {"dropout": 0.0, "init_std": 0.0}}
"""Vectors that start at zero on both sides stay there: an item's constant would stand in for users' offsets."""
PLACED: dict[str, Any] = {"aggregation": "none", "init_std": 0.1, "margin": 4.0, "regularizer_weight": 1.0}
UNWEIGHTED = {"regularizer_weight": 0.0}
CASES = {
    "text: item offset": Case(lambda: text_of_items(False), OFFSETS, {"collaborative": ALONE}),
    "text: item vector": Case(lambda: text_of_items(True), {"collaborative": ALONE, **TEXT}, {"collaborative": ALONE}),
    "text: user offset": Case(lambda: text_of_users(False), OFFSETS, {"text": {"dropout": 0.0, "users": False}}),
    "text: user vector": Case(lambda: text_of_users(True), TEXT, {"text": {"dropout": 0.0, "users": False}}),
    "collaborative: factors": Case(tastes, {"collaborative": ALONE}, {"collaborative": {"factors": False}}),
    "collaborative: item bias": Case(
        lambda: leanings(True),
        {"collaborative": {"factors": False}},
        {"collaborative": {"factors": False, "items": False}},
    ),
    "collaborative: user bias": Case(lambda: leanings(False), {"collaborative": {"factors": False}}, TEXT),
    "graph: offset": Case(lambda: graph(False), {"graph": {"vectors": False}}, {"collaborative": ALONE}),
    "graph: vector": Case(
        lambda: graph(True), {"collaborative": ALONE, "graph": {"dropout": 0.0}}, {"collaborative": ALONE}
    ),
    "graph: relation weights": Case(
        lambda: graph(False, noise=True),
        {"graph": {"aggregation": "weighted", "vectors": False, "dropout": 0.0}},
        {"graph": {"aggregation": "mean", "vectors": False, "dropout": 0.0}},
    ),
    **{
        f"graph: {kind}": Case(
            lambda: graph(True),
            {"collaborative": {**ALONE, "items": False}, "graph": {**PLACED, "regularizer": kind}},
            {"collaborative": {**ALONE, "items": False}, "graph": {**PLACED, "regularizer": kind, **UNWEIGHTED}},
            {"epochs": 150},
        )
        for kind in ("transe", "distmult")
    },
    "features: users": Case(
        lambda: columns("users"), {"features": {"users": ("letter",)}}, {"features": {"items": ("kinds",)}}
    ),
    "features: items": Case(
        lambda: columns("items"), {"features": {"items": ("kinds",)}}, {"features": {"users": ("letter",)}}
    ),
    "features: vectors": Case(
        lambda: columns("both"),
        {"features": {"users": ("letter",), "items": ("kinds",)}},
        {"features": {"items": ("kinds",)}},
    ),
    "features: numbers": Case(
        lambda: columns("number"), {"features": {"items": ("number",)}}, {"features": {"users": ("letter",)}}
    ),
    "features: what is missing": Case(
        lambda: columns("gaps"), {"features": {"items": ("gaps",)}}, {"features": {"items": ("number",)}}
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_without_the_piece_its_labels_cannot_be_told(name: str) -> None:
    case = CASES[name]
    task = case.task()
    spread = float(task.test.label.std())
    assert spread > 0.8
    whole, without = (fitted_error(task, chosen, **case.options) for chosen in (case.whole, case.without))
    assert whole < 0.5 * without, f"{whole:.3f} with the piece, {without:.3f} without it"
    assert without > 0.7 * spread

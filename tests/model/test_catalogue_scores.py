"""A catalogue is scored in pieces: the same scores as at once, and as the pairs', in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from llmrec_peft.data.batches import Batch
from llmrec_peft.experiment.prepare import Prepared, prepare
from llmrec_peft.model import RecModel, catalogue_scores, plan_texts
from llmrec_peft.model.build import build_heads, build_model, build_signals
from llmrec_peft.model.contexts import LanguageFacts, training_contexts
from llmrec_peft.model.text_source import EncodedSource
from llmrec_peft.recipe import load_recipe
from llmrec_peft.signals.contract import Signal

WIDTH, ROWS = 16, np.arange(9)


@pytest.fixture(scope="module")
def world() -> tuple[RecModel, Prepared]:
    """A model whose signals read histories and texts, over vectors that were drawn."""
    changes = {"data.path": "demo", "fusion.dim": WIDTH, "data.history_length": 7}
    prepared = prepare(load_recipe("amazon-scientific", changes=changes))
    recipe = prepared.recipe
    torch.manual_seed(0)
    table = torch.randn(prepared.vocabulary.num_items, WIDTH)
    facts = LanguageFacts(item_vectors=table, user_vectors=None)
    contexts = training_contexts(recipe, prepared.facts, prepared.train, facts)
    plan = plan_texts(recipe, prepared.vocabulary.num_items, prepared.vocabulary.num_users, len(prepared.interactions))
    heads, signals = build_heads(recipe, contexts.head), build_signals(recipe, contexts.signal)
    return build_model(recipe, signals, heads, EncodedSource(plan, table=table)).eval(), prepared


def scored(world: tuple[RecModel, Prepared]) -> torch.Tensor:
    model, prepared = world
    with model.ranking(prepared.test, prepared.vocabulary.num_items) as scores:
        return scores(ROWS)


def test_scores_of_a_catalogue_are_those_of_its_pairs(world: tuple[RecModel, Prepared]) -> None:
    model, prepared = world
    count, found = prepared.vocabulary.num_items - 1, scored(world)
    assert found.shape == (len(ROWS), count)
    for row in ROWS[:3]:
        pairs = prepared.test.take(np.full(count, row))
        pairs = replace(pairs, item=np.arange(1, count + 1))
        np.testing.assert_allclose(model.scores(pairs), found[row].numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("pieces", [(1, 1, 1), (7, 3, 1), (10**6, 5, 1), (7, 10**6, 1), (3, 4, 63 * 11)])
def test_scores_are_the_same_in_pieces(
    pieces: tuple[int, int, int], world: tuple[RecModel, Prepared], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = scored(world)
    for name, value in zip(("ITEMS", "LEAST", "CELLS"), pieces, strict=True):
        monkeypatch.setattr(catalogue_scores, name, value)
    np.testing.assert_allclose(scored(world).numpy(), whole.numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("items", "least", "cells"), [(5, 3, 0), (50, 1, 63 * 11), (10**6, 1, 1 << 26)])
def test_users_meet_a_bounded_number_of_items_at_a_time(
    items: int, least: int, cells: int, world: tuple[RecModel, Prepared], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signals see users, their histories of seven and items together: nine users, eleven items, 693 cells."""
    model, prepared = world
    met: list[int] = []
    sides: list[int] = []
    for signal in model.signals.values():
        monkeypatch.setattr(signal, "cross", _watched(signal, met))
    item_side = RecModel.item_side
    monkeypatch.setattr(
        RecModel, "item_side", lambda model, some, *rest: sides.append(len(some)) or item_side(model, some, *rest)
    )
    for name, value in (("ITEMS", items), ("LEAST", least), ("CELLS", cells)):
        monkeypatch.setattr(catalogue_scores, name, value)
    scored(world)
    count = prepared.vocabulary.num_items - 1
    assert max(met) == min(count, max(least, cells // (9 * 7)))
    assert max(sides) == min(count, items)
    assert sum(sides) == count, "the items' side is computed once"


def _watched(signal: Signal, met: list[int]) -> Callable[[Batch, torch.Tensor], torch.Tensor | None]:
    cross = signal.cross

    def watched(batch: Batch, items: torch.Tensor) -> torch.Tensor | None:
        met.append(items.shape[-1])
        return cross(batch, items)

    return watched

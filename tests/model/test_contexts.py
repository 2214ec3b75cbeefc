"""Contexts: what heads and signals are told when they are built is the same from whoever builds them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from worlds import made_up_likes, write_likes

from llmrec_peft.experiment.prepare import Prepared, prepare
from llmrec_peft.model.build import build_heads, build_signals
from llmrec_peft.model.contexts import LanguageFacts, loading_contexts, training_contexts
from llmrec_peft.recipe import load_recipe


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    """Likes in CoLLM's files, read by a recipe of two signals and two heads."""
    data = write_likes(tmp_path / "data", made_up_likes())
    heads = ["click", {"name": "ranking", "positive_from": 1}]
    signals = {"collaborative": {}, "popularity": {}}
    changes = {"data.path": str(data), "signals": signals, "heads": heads, "adapter.method": "none", "seed": 7}
    return prepare(load_recipe("collm-ml-1m", changes={**changes, "fusion.dim": 6}))


def test_training_tells_the_data_and_loading_only_sizes(prepared: Prepared) -> None:
    recipe, train = prepared.recipe, prepared.train
    training = training_contexts(recipe, prepared.facts, train, None)
    loading = loading_contexts(recipe, prepared.vocabulary.num_users, prepared.vocabulary.num_items)
    for name in ("num_users", "num_items", "dim", "task", "listwise", "history_length"):
        assert getattr(training.signal, name) == getattr(loading.signal, name)
    assert (training.signal.num_users, training.signal.num_items) == (17, 21)
    assert (training.signal.task, training.signal.listwise, training.signal.seed) == ("click", True, 7)
    assert training.signal.train is train
    assert loading.signal.train is None
    assert training.signal.items == prepared.facts.items
    assert training.head.dim == loading.head.dim == 6
    assert training.head.label_mean == pytest.approx(float(train.label.mean()))
    assert training.head.label_range == (0, 1)
    assert training.head.labels is train.label
    assert loading.head.labels is None


def test_language_model_is_told_as_far_as_it_is_known(prepared: Prepared) -> None:
    vectors = torch.zeros(21, 4)
    facts = LanguageFacts(vectors, hidden=8, token_norm=1.5, prompt_width=4, decodes=True, yes_no=torch.zeros(2, 4))
    contexts = training_contexts(prepared.recipe, prepared.facts, prepared.train, facts)
    assert contexts.signal.text is vectors
    assert (contexts.signal.hidden, contexts.signal.token_norm) == (8, 1.5)
    assert (contexts.head.text_width, contexts.head.decodes) == (4, True)
    assert contexts.head.yes_no is facts.yes_no


def test_parts_are_filled_by_their_own_names_and_a_missing_tensor_is_named(prepared: Prepared) -> None:
    recipe = prepared.recipe
    trained = training_contexts(recipe, prepared.facts, prepared.train, None)
    signals = build_signals(recipe, trained.signal)
    for signal in signals.values():
        signal.fold()
    saved = {
        f"{name}.{key}": tensor for name, signal in signals.items() for key, tensor in signal.parts.state_dict().items()
    }
    loading = loading_contexts(recipe, 17, 21)
    again = build_signals(recipe, loading.signal, saved)
    shapes = {name: tensor.shape for name, tensor in saved.items()}
    found = {f"{name}.{key}": t.shape for name, one in again.items() for key, t in one.parts.state_dict().items()}
    assert found == shapes
    lost = "popularity.known.count"
    with pytest.raises(KeyError, match=lost):
        build_signals(recipe, loading.signal, {name: tensor for name, tensor in saved.items() if name != lost})
    heads = build_heads(recipe, loading.head)
    assert [head is not prepared.recipe.reads.heads[name] for name, head in heads.items()] == [True, True]
    assert np.isfinite(float(next(heads["click"].parts.parameters()).sum()))

"""RecModel: every trainable parameter in one group, signals summed, states that come back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from llmrec_peft.backbone.load import load_backbone
from llmrec_peft.data.batches import Batch
from llmrec_peft.data.graph import Neighbours
from llmrec_peft.experiment.prepare import Prepared, prepare
from llmrec_peft.experiment.texts import Texts
from llmrec_peft.heads.contract import HeadContext
from llmrec_peft.model import RecModel
from llmrec_peft.model.build import build_heads, build_model, build_signals
from llmrec_peft.recipe import Recipe, load_recipe
from llmrec_peft.signals.contract import SignalContext


@pytest.fixture
def model_of(tiny_data: Path, tiny_backbone: Path) -> Callable[..., tuple[RecModel, Prepared]]:
    """A fresh model of the movies recipe with all three signals, some of them switched off by name."""

    def make(*off: str, **changes: Any) -> tuple[RecModel, Prepared]:
        given = {name.replace("__", "."): value for name, value in changes.items()}
        base = {"data.path": str(tiny_data), "backbone.name": str(tiny_backbone), "backbone.precision": "fp32"}
        recipe: Recipe = load_recipe("movies", changes={**base, **given})
        prepared = prepare(recipe)
        recipe = recipe.changed({f"signals.{name}": False for name in off})
        texts = Texts(load_backbone(recipe.backbone, torch.device("cpu")), prepared, recipe)
        items = prepared.vocabulary.num_items
        relation = np.ones((items, 2), np.int64)
        entity = np.arange(2 * items, dtype=np.int64).reshape(items, 2) % 3
        neighbours = Neighbours(relation, entity, ("directed",), ("a", "b"))
        context = SignalContext(
            prepared.vocabulary.num_users, items, recipe.fusion.dim, prepared.train, texts.items, neighbours
        )
        torch.manual_seed(0)
        heads = build_heads(recipe, HeadContext(recipe.fusion.dim, 3.0, (1.0, 5.0)))
        return build_model(recipe, build_signals(recipe, context), heads, texts.source(recipe)), prepared

    return make


Make = Callable[..., tuple[RecModel, Prepared]]


def test_groups_hold_every_trainable_parameter_once(model_of: Make) -> None:
    model, _ = model_of()
    groups = model.parameter_groups()
    grouped = [id(parameter) for members in groups.values() for _, parameter in members]
    trainable = [id(parameter) for parameter in model.parameters() if parameter.requires_grad]
    assert sorted(grouped) == sorted(trainable)
    assert len(set(grouped)) == len(grouped)
    names = {group: {name for name, _ in members} for group, members in groups.items()}
    assert all("lora_" in name for name in names["adapter"])
    assert len(names["adapter"]) == 2 * 2 * 2
    assert {"signal_parts.collaborative.user.weight", "signal_parts.graph.relations.weight"} <= names["embeddings"]
    assert {"signal_parts.text.projection.weight", "head_parts.rating.scale.mean"} <= names["head"]
    assert not any("embeddings.word" in name for members in names.values() for name in members)


def test_trained_parameters_have_the_names_and_the_order_of_a_walk_over_the_whole_model(model_of: Make) -> None:
    model, _ = model_of()
    names = {id(parameter): name for name, parameter in model.trained_parameters()}
    assert list(names.items()) == [(id(p), name) for name, p in model.named_parameters() if p.requires_grad]
    assert model.encoder is not None
    model.encoder.requires_grad_(False)
    assert [name for name, _ in model.trained_parameters()] == [
        name for name in names.values() if not name.startswith("encoder.")
    ]


@pytest.mark.parametrize("signal", ["text", "collaborative", "graph"])
def test_signal_that_is_off_leaves_no_parameters(signal: str, model_of: Make) -> None:
    whole, _ = model_of()
    model, prepared = model_of(signal)
    assert any(name.startswith(f"signal_parts.{signal}.") for name, _ in whole.named_parameters())
    assert not any(name.startswith(f"signal_parts.{signal}.") for name, _ in model.named_parameters())
    if signal == "text":
        assert model.encoder is None
        assert model.parameter_groups()["adapter"] == []
    scores = model.scores(prepared.valid)
    assert scores.shape == prepared.valid.label.shape
    assert np.isfinite(scores).all()


def test_every_trainable_parameter_gets_a_gradient(model_of: Make) -> None:
    model, prepared = model_of(head__dropout=0.0)
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.1)
    model.train()
    rows = np.arange(len(prepared.train))
    output = model(Batch.of(prepared.train, rows, torch.device("cpu")))
    output.loss.backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None and float(parameter.grad.abs().max()) > 0) == parameter.requires_grad, name


def test_score_is_mean_plus_offsets_plus_inner_product_of_summed_vectors(model_of: Make) -> None:
    model, prepared = model_of()
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.05)
    part = prepared.valid
    user, item = torch.from_numpy(part.user), torch.from_numpy(part.item)
    model.eval()
    with torch.no_grad():
        batch = Batch(user, item, vectors={"item": model.encoded(item)})
        signals = model.signals
        of_item = signals["text"].item(batch) + signals["collaborative"].item(batch) + signals["graph"].item(batch)
        of_user = signals["collaborative"].user(batch)
        offset = sum(signal.offset(batch) for signal in signals.values())
        expected = model.head_parts["rating"]["scale"]["mean"] + offset + (of_user * of_item).sum(-1)
    scores = model.scores(part, chunk=7)
    np.testing.assert_allclose(scores, expected.clamp(1.0, 5.0).numpy(), rtol=0, atol=1e-5)


def test_state_round_trip_is_exact_and_a_strange_state_is_refused(model_of: Make) -> None:
    model, _ = model_of()
    kept = {name: tensor.clone() for name, tensor in model.trained_state().items()}
    assert not any("embeddings.word" in name for name in kept)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(1.0)
    assert not torch.equal(model.trained_state()["head_parts.rating.scale.mean"], kept["head_parts.rating.scale.mean"])
    model.load_trained_state(kept)
    for name, tensor in model.trained_state().items():
        assert torch.equal(tensor, kept[name]), name
    with pytest.raises(KeyError, match="stowaway"):
        model.load_trained_state({**kept, "stowaway": torch.zeros(1)})


def test_scoring_leaves_the_mode_and_the_random_state_as_they_were(model_of: Make) -> None:
    model, prepared = model_of()
    model.train()
    torch.manual_seed(3)
    state = torch.get_rng_state()
    model.scores(prepared.valid)
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert model.scores(prepared.valid.take(np.empty(0, np.int64))).shape == (0,)

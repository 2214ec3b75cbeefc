"""Runs: signals from a recipe to a run folder and back, and those of no use refused before anything is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from llmrec_peft.backbone.load import load_backbone
from llmrec_peft.errors import InputError
from llmrec_peft.experiment.prepare import prepare
from llmrec_peft.experiment.texts import Texts
from llmrec_peft.recipe import load_recipe
from llmrec_peft.run.recommender import Recommender
from llmrec_peft.workflows.evaluate import evaluate
from llmrec_peft.workflows.train import train

SMALL: dict[str, Any] = {
    "data.path": "demo",
    "training.epochs": 1,
    "training.refit": False,
    "evaluation.bootstrap": 0,
    "evaluation.ablations": (),
    "evaluation.collaborative_only": False,
}


@pytest.mark.trains
@pytest.mark.parametrize(
    "signals",
    [
        {
            "collaborative": {"start": "mf"},
            "graph": {"aggregation": "weighted", "regularizer": "distmult"},
            "features": {"items": ["year", "genres"]},
        },
        {"text": {}, "graph": {"aggregation": "none", "regularizer": "transe"}, "collaborative": {}},
    ],
    ids=["mf, weighted, features", "transe"],
)
def test_run_with_further_signals_repeats_its_figures(signals: Any, tiny_backbone: Path, tmp_path: Path) -> None:
    changes = {**SMALL, "backbone.name": str(tiny_backbone), "signals": signals, "fusion.kind": "gated"}
    metrics = train(load_recipe("movies", changes=changes), tmp_path / "run", show=False)
    assert evaluate(tmp_path / "run")["repeats"]
    weights = metrics["weights"]
    assert set(weights["fusion"]["item"]) == set(signals)
    assert ("relations" in weights.get("graph", {})) == (signals["graph"]["aggregation"] == "weighted")


@pytest.mark.trains
@pytest.mark.parametrize("method", ["lora", "none"])
def test_run_with_soft_tokens_alone_repeats_its_figures(method: str, tiny_backbone: Path, tmp_path: Path) -> None:
    changes = {
        **SMALL,
        "backbone.name": str(tiny_backbone),
        "head.feed": "prompt",
        "views.prompt.template": "{% for x in history if x.liked %}{{ x.title }}; {% endfor %}{{ item.title }}?",
        "adapter": {"method": method},
        "signals": {"soft_tokens": {"dim_collaborative": 8, "start": "mf"}},
    }
    metrics = train(load_recipe("tallrec-movie", changes=changes), tmp_path / "run", show=False)
    assert evaluate(tmp_path / "run")["repeats"]
    assert 0.5 < metrics["weights"]["soft_tokens"]["length"]["user"] < 2.0
    recommender = Recommender.from_pretrained(tmp_path / "run")
    users, items = recommender.vocabulary.users, recommender.vocabulary.items
    scores = recommender.score([users[0], users[1], "a stranger"], [items[3]] * 3)
    assert np.isfinite(scores).all()
    assert len(set(scores.tolist())) == 3


@pytest.mark.trains
def test_model_without_its_adapter_reads_tokens_as_the_bare_model_does(tiny_backbone: Path) -> None:
    """The adapter that another variant has trained lies inside the same model."""
    changes = {
        **SMALL,
        "backbone.name": str(tiny_backbone),
        "backbone.precision": "fp32",
        "head.feed": "prompt",
        "views.prompt.template": "{{ item.title }}?",
        "adapter": {"method": "lora"},
        "signals": {"soft_tokens": {}},
    }
    prepared = prepare(load_recipe("tallrec-movie", changes=changes))
    recipe = prepared.recipe
    texts = Texts(load_backbone(recipe.backbone, torch.device("cpu")), prepared, recipe)
    keys = torch.arange(9)
    tuned = texts.encoded(recipe)
    assert tuned is not None
    start = {name: p.clone() for name, p in tuned.encoder.named_parameters() if p.requires_grad}
    with torch.no_grad():
        for parameter in tuned.encoder.parameters():
            if parameter.requires_grad:
                parameter.normal_()
        assert float((tuned(keys) - texts.untuned[:9]).abs().max()) > 0.1
        plain = texts.encoded(recipe.changed({"adapter.method": "none"}))
        assert plain is not None
        torch.testing.assert_close(plain(keys), texts.untuned[:9])
    again = texts.encoded(recipe)
    assert again is not None
    found = {name: p for name, p in again.encoder.named_parameters() if p.requires_grad}
    assert found.keys() == start.keys()
    assert all(torch.equal(found[name], start[name]) for name in start)
    assert texts.encoded(recipe.changed({"adapter.method": "none", "signals": {"text": {}}})) is None


@pytest.mark.parametrize(
    ("signals", "said"),
    [
        ({"features": {"items": ["gender"]}}, r"signals\.features\.items: the data has no column 'gender'; there are"),
        ({"features": {}}, r"signals\.features: name columns in users or items"),
        ({"soft_tokens": {}, "text": {}}, r"signals\.soft_tokens: no head of the recipe reads prompts"),
    ],
    ids=["column", "no columns", "no prompts"],
)
def test_signal_that_cannot_be_of_use_is_refused_in_one_line(signals: Any, said: str) -> None:
    recipe = load_recipe("movies", changes={"data.path": "demo", "signals": signals})
    with pytest.raises(InputError, match=said) as refused:
        prepare(recipe)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"graph": {"aggregation": "none"}}, "signals.graph: aggregation none leaves the graph to a regularizer"),
        ({"soft_tokens": {"frozen": True}}, "signals.soft_tokens: frozen keeps a factorization's vectors"),
    ],
)
def test_options_that_contradict_each_other_name_their_signal(options: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        load_recipe("movies", changes={"data.path": "demo", "signals": options})

"""`none`: the frozen model untouched, in a folder that says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from llmrec_adapters.none import NoAdapter, NoOptions
from safetensors import safe_open

from llmrec_peft.backbone.load import Backbone
from llmrec_peft.identity import tensors_digest


def test_none_adds_nothing_and_trains_nothing(fresh: Callable[..., Backbone]) -> None:
    backbone = fresh()
    before = tensors_digest(backbone.model.state_dict())
    method = NoAdapter(NoOptions())
    model = method.attach(backbone)
    assert model is backbone.model
    assert tensors_digest(model.state_dict()) == before
    assert method.lowest_layer(backbone) is None
    assert method.regularization(model) is None
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_none_saves_two_files_that_say_what_they_are(fresh: Callable[..., Backbone], tmp_path: Path) -> None:
    backbone = fresh("minilm")
    method = NoAdapter(NoOptions())
    method.save(backbone.model, backbone, tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text(encoding="utf-8"))
    assert config == {
        "peft_type": "NONE",
        "base_model_name_or_path": "sentence-transformers/all-MiniLM-L6-v2",
        "revision": "1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
        "task_type": "FEATURE_EXTRACTION",
        "inference_mode": True,
    }
    with safe_open(tmp_path / "adapter_model.safetensors", "pt") as file:
        assert list(file.keys()) == []
    other = fresh("minilm")
    assert method.load(other, tmp_path) is other.model

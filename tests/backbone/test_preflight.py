"""Refusals: said from configuration files alone, before torch is imported, with what would work instead."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmrec_peft import registry
from llmrec_peft.backbone.facts import facts_of_config
from llmrec_peft.backbone.preflight import known_facts, refusal, require_method, require_possible
from llmrec_peft.errors import InputError
from llmrec_peft.recipe import load_recipe

SCRIPT = """
import sys
from llmrec_peft.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit as ended:
    heavy = [name for name in ("torch", "peft", "transformers", "datasets") if name in sys.modules]
    print("code", ended.code, "imported", heavy)
"""


def _said(*overrides: str) -> tuple[str, str]:
    command = ["train", "movies", "--data", "demo", "--out", "/nonexistent/run", *overrides]
    done = subprocess.run([sys.executable, "-c", SCRIPT, *command], capture_output=True, text=True, check=False)
    return done.stdout.strip(), done.stderr.strip()


@pytest.mark.trains
@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("adapter.method=full", "backbone.quantization=nf4"), ("'full': cannot train on nf4 weights", "none", "lora")),
        (
            ("adapter.method=dora", "backbone.quantization=int8"),
            ("'dora': cannot train on int8", "none or nf4", "lora"),
        ),
        (("adapter.method=loha", "backbone.quantization=nf4"), ("'loha': cannot train on nf4", "none or int8", "lora")),
        (
            ("backbone.pooling=cls", "backbone.name=smollm2"),
            ("backbone.pooling: cls reads the first token", "take mean or last-token"),
        ),
        (("adapter.method=bitfit", "backbone.name=smollm2"), ("has no biases to tune", "lora", "bottleneck")),
        (("adapter.method=lora", "adapter.rank=385"), ("adapter.rank: 385 is above the model's width 384",)),
        (("adapter.method=lora", "adapter.layers=top-7"), ("adapter.layers: 'top-7'", "top-6")),
        (("adapter.method=oft", "adapter.block_size=36"), ("adapter.block_size: 36 does not divide",)),
        (
            ("adapter.method=prefix", "training.gradient_checkpointing=true"),
            ("training.gradient_checkpointing: adapter 'prefix' cannot",),
        ),
    ],
)
def test_impossible_pair_is_refused_before_torch_is_imported(
    overrides: tuple[str, ...], words: tuple[str, ...]
) -> None:
    out, error = _said(*(part for override in overrides for part in ("--set", override)))
    assert out == "code 2 imported []"
    assert error.startswith("error: ")
    assert "\n" not in error
    assert not Path("/nonexistent").exists()
    for word in words:
        assert word in error


@pytest.mark.parametrize("quantization", ["none", "int8", "nf4"])
@pytest.mark.parametrize("backbone", ["minilm", "smollm2"])
def test_hints_name_only_what_is_possible(quantization: str, backbone: str) -> None:
    facts = known_facts(backbone)
    for name in registry.plugins("adapters"):
        config = registry.get("adapters", name).Config()
        if refusal(name, config, facts, quantization) is None:
            require_method(name, config, facts, quantization)
            continue
        with pytest.raises(InputError) as caught:
            require_method(name, config, facts, quantization)
        named = str(caught.value).split("these work: ")[1].split(", ")
        assert named
        for other in named:
            assert refusal(other, registry.get("adapters", other).Config(), facts, quantization) is None


@pytest.mark.parametrize(
    ("config", "kind", "biased"),
    [
        ({"model_type": "bert", "hidden_size": 384, "num_hidden_layers": 6}, "encoder", True),
        ({"model_type": "bert", "hidden_size": 8, "num_hidden_layers": 1, "is_decoder": True}, "decoder", False),
        ({"model_type": "distilbert", "dim": 768, "n_layers": 6}, "encoder", True),
        ({"model_type": "modernbert", "hidden_size": 768, "num_hidden_layers": 22}, "encoder", False),
        ({"model_type": "llama", "hidden_size": 576, "num_hidden_layers": 30}, "decoder", False),
        ({"model_type": "llama", "hidden_size": 576, "num_hidden_layers": 30, "attention_bias": True}, "decoder", True),
        ({"model_type": "qwen2", "hidden_size": 896, "num_hidden_layers": 24}, "decoder", True),
        ({"model_type": "gpt2", "n_embd": 768, "n_layer": 12}, "decoder", True),
    ],
)
def test_facts_of_configurations(config: dict[str, Any], kind: str, biased: bool) -> None:
    facts = facts_of_config(config)
    assert facts is not None
    assert (facts.kind, facts.biased) == (kind, biased)


@pytest.mark.parametrize("config", [{}, {"model_type": "bert"}, {"model_type": "x", "hidden_size": "8"}])
def test_configurations_that_say_too_little_give_no_facts(config: dict[str, Any]) -> None:
    assert facts_of_config(config) is None


@pytest.mark.parametrize(
    "family", ["tiny-bert", "tiny-modernbert", "tiny-llama", "tiny-qwen2", "tiny-gpt2", "tiny-distilbert"]
)
def test_facts_from_the_file_are_those_of_the_loaded_model(
    family: str, tmp_path: Path, load: Callable[..., Any]
) -> None:
    from llmrec_peft.testing.adapters.backbones import make_tiny

    folder = make_tiny(family, tmp_path / family)
    assert known_facts(str(folder)) == load(name=str(folder)).facts


def test_folder_without_a_readable_config_is_left_to_the_loader(tmp_path: Path) -> None:
    assert known_facts(str(tmp_path)) is None
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    assert known_facts(str(tmp_path)) is None
    (tmp_path / "config.json").write_text(json.dumps([1]), encoding="utf-8")
    assert known_facts(str(tmp_path)) is None


def test_possible_recipe_passes() -> None:
    require_possible(load_recipe("movies", ["adapter.method=dora", "backbone.quantization=nf4"], {"data.path": "demo"}))

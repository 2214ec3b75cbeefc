"""Targets: the right layers are found in every family, and a name or number that is wrong is said."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from llmrec_adapters.lora import Lora, LoraOptions

from llmrec_peft.backbone.load import Backbone
from llmrec_peft.backbone.through_peft.targets import norms_of, pattern, sublayers, target_linears
from llmrec_peft.errors import InputError

Fresh = Callable[..., Backbone]
QUERY_VALUE = {
    "tiny-bert": ["attention.self.query", "attention.self.value"],
    "tiny-roberta": ["attention.self.query", "attention.self.value"],
    "tiny-distilbert": ["attention.q_lin", "attention.v_lin"],
    "tiny-modernbert": ["attn.Wqkv"],
    "tiny-llama": ["self_attn.q_proj", "self_attn.v_proj"],
    "tiny-qwen2": ["self_attn.q_proj", "self_attn.v_proj"],
    "tiny-mistral": ["self_attn.q_proj", "self_attn.v_proj"],
    "tiny-gemma": ["self_attn.q_proj", "self_attn.v_proj"],
    "tiny-gpt2": ["attn.c_attn"],
}
BLOCKS = {
    "tiny-bert": ("attention.output.dense", "intermediate.dense", "output.dense"),
    "tiny-distilbert": ("attention.out_lin", "ffn.lin1", "ffn.lin2"),
    "tiny-modernbert": ("attn.Wo", "mlp.Wi", "mlp.Wo"),
    "tiny-llama": ("self_attn.o_proj", "mlp.gate_proj", "mlp.down_proj"),
    "tiny-gpt2": ("attn.c_proj", "mlp.c_fc", "mlp.c_proj"),
}


@pytest.mark.parametrize("name", QUERY_VALUE)
def test_query_and_value_are_found_in_every_family_and_lora_learns_there(name: str, fresh: Fresh) -> None:
    backbone = fresh(name)
    found = target_linears(backbone.shapes, "query-value", "top-2")
    assert sorted({module.inside for module in found}) == QUERY_VALUE[name]
    assert {module.layer for module in found} == {2, 3}
    method = Lora(LoraOptions(layers="top-2", rank=2))
    model = method.attach(backbone)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert sum(parameter.numel() for parameter in trained) == method.parameter_count(backbone.shapes)
    ids = torch.arange(40, 56).reshape(2, 8)
    model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state.pow(2)[..., 0].sum().backward()
    assert all(p.grad is not None for p in trained)
    assert any(float(p.grad.abs().max()) > 0 for p in trained if p.grad is not None)


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_begin_and_end_where_they_should(name: str, fresh: Fresh) -> None:
    found = sublayers(fresh(name).shapes, 1)
    attention, first, last = BLOCKS[name]
    assert found["attention"][1].inside == attention
    assert tuple(module.inside for module in found["mlp"]) == (first, last)


@pytest.mark.parametrize("name", QUERY_VALUE)
def test_pattern_matches_the_chosen_modules_and_no_others(name: str, fresh: Fresh) -> None:
    backbone = fresh(name)
    for modules in (target_linears(backbone.shapes, "mlp", (0, 2)), norms_of(backbone.shapes, "top-3")):
        wanted = re.compile(pattern(modules))
        matched = {path for path, _ in backbone.model.named_modules() if wanted.fullmatch(path)}
        assert matched == {module.name for module in modules}


def test_dense_does_not_reach_a_pooler(fresh: Fresh) -> None:
    """PEFT's own way, a list of last parts, matches ``pooler.dense`` too."""
    backbone = fresh("tiny-bert")
    chosen = re.compile(pattern(target_linears(backbone.shapes, ("dense",), "all")))
    assert chosen.fullmatch("encoder.layer.3.output.dense")
    assert chosen.fullmatch("bert.encoder.layer.3.output.dense")  # inside a model with a task head
    assert not chosen.fullmatch("pooler.dense")


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (("dense",), {"attention.output.dense", "intermediate.dense", "output.dense"}),
        (("output.dense", "query"), {"attention.output.dense", "output.dense", "attention.self.query"}),
        ("key-value", {"attention.self.key", "attention.self.value"}),
        ("mlp", {"intermediate.dense", "output.dense"}),
    ],
)
def test_names_and_roles(targets: Any, expected: set[str], fresh: Fresh) -> None:
    assert {module.inside for module in target_linears(fresh().shapes, targets, "top-1")} == expected


@pytest.mark.parametrize("targets", [("qury",), ("query", "nothing"), ()])
def test_targets_that_match_nothing_are_refused_with_the_names_there_are(targets: Any, fresh: Fresh) -> None:
    with pytest.raises(InputError, match=r"^adapter\.targets: .*attention\.self\.query"):
        target_linears(fresh().shapes, targets, "all")

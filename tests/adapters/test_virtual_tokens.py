"""Prefix and prompt tuning: what stands in front is hidden from the caller, positions stay where they were."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from llmrec_adapters.prefix import Prefix, PrefixOptions
from llmrec_adapters.prompt import Prompt, PromptOptions
from peft import PrefixTuningConfig, get_peft_model

from llmrec_peft.backbone.load import Backbone
from llmrec_peft.errors import InputError

Fresh = Callable[..., Backbone]


def _inputs(length: int = 8) -> dict[str, torch.Tensor]:
    ids = torch.arange(40, 40 + 3 * length).reshape(3, length)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def _states(model: Any, length: int = 8) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        states: torch.Tensor = model(**_inputs(length)).last_hidden_state
    return states


@pytest.mark.parametrize("name", ["tiny-bert", "tiny-roberta", "tiny-llama", "tiny-qwen2", "tiny-gpt2"])
def test_prefix_trains_in_every_family_that_can(name: str, fresh: Fresh) -> None:
    backbone = fresh(name)
    method = Prefix(PrefixOptions(num_virtual_tokens=3))
    assert method.refusal(backbone.facts, "none") is None
    bare = _states(backbone.model)
    model = method.attach(backbone)
    assert _states(model).shape == bare.shape
    trained = [p for p in model.parameters() if p.requires_grad]
    assert sum(p.numel() for p in trained) == method.parameter_count(backbone.shapes)
    model(**_inputs()).last_hidden_state.pow(2)[..., 0].sum().backward()
    assert all(p.grad is not None and float(p.grad.abs().max()) > 0 for p in trained)


@pytest.mark.parametrize("name", ["tiny-distilbert", "tiny-modernbert"])
def test_encoders_without_a_cache_are_refused_and_stock_peft_fails_there_too(name: str, fresh: Fresh) -> None:
    backbone = fresh(name)
    method = Prefix(PrefixOptions())
    assert "take no cached keys" in str(method.refusal(backbone.facts, "none"))
    bare = _states(backbone.model)
    try:
        tuned = _states(method.attach(backbone))
    except Exception as error:  # noqa: BLE001 - whatever it is, it does not work
        assert isinstance(error, TypeError | ValueError | RuntimeError | AttributeError)
    else:
        assert torch.equal(tuned, bare), "the prefix reached the model after all: it should not be refused"


def test_prefix_leaves_positions_where_they_were(fresh: Fresh) -> None:
    """PEFT alone shifts them: the longest text then runs over the end of BERT's position table."""
    backbone = fresh("tiny-bert")
    model: Any = Prefix(PrefixOptions(num_virtual_tokens=4)).attach(backbone)
    seen: list[torch.Tensor] = []
    table = backbone.model.embeddings.position_embeddings  # type: ignore[union-attr]
    table.register_forward_hook(lambda _module, args, _output: seen.append(args[0].clone()))  # type: ignore[union-attr]
    _states(model)
    assert seen[-1].unique().tolist() == list(range(8))
    stock = fresh("tiny-bert")
    table = stock.model.embeddings.position_embeddings  # type: ignore[union-attr]
    table.register_forward_hook(lambda _module, args, _output: seen.append(args[0].clone()))  # type: ignore[union-attr]
    config = PrefixTuningConfig(task_type="FEATURE_EXTRACTION", num_virtual_tokens=4)
    _states(get_peft_model(stock.model, config))
    assert seen[-1].unique().tolist() == list(range(4, 12))  # the trap: what PEFT does by itself
    longest = int(backbone.model.config.max_position_embeddings)  # type: ignore[union-attr, arg-type]
    assert _states(model, longest).shape[1] == longest


def test_prefix_with_projection_is_saved_as_a_plain_prefix(fresh: Fresh, tmp_path: Path) -> None:
    backbone = fresh("tiny-llama")
    method = Prefix(PrefixOptions(num_virtual_tokens=3, projection=True, hidden=7))
    torch.manual_seed(0)  # the bound below is one of rounding: not every draw keeps it
    model = method.attach(backbone)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == method.parameter_count(backbone.shapes)
    tuned = _states(model)
    method.save(model, backbone, tmp_path)
    assert torch.allclose(_states(method.load(fresh("tiny-llama"), tmp_path)), tuned, atol=1e-5)


def test_prompt_states_are_cut_off_before_pooling(fresh: Fresh) -> None:
    backbone = fresh("tiny-llama")
    model: Any = Prompt(PromptOptions(num_virtual_tokens=5)).attach(backbone)
    with torch.no_grad():
        whole = model.peft_model(**_inputs()).last_hidden_state
    assert whole.shape[1] == 8 + 5
    assert torch.equal(_states(model), whole[:, 5:])


def test_prompt_and_text_over_the_window_are_refused(fresh: Fresh) -> None:
    backbone = fresh("tiny-bert")
    model = Prompt(PromptOptions(num_virtual_tokens=5)).attach(backbone)
    longest = int(backbone.model.config.max_position_embeddings)  # type: ignore[union-attr, arg-type]
    assert _states(model, longest - 5).shape[1] == longest - 5
    with pytest.raises(InputError, match=r"adapter\.num_virtual_tokens: 5 and a text of \d+ tokens are more than"):
        _states(model, longest - 4)


@pytest.mark.parametrize("name", ["tiny-bert", "tiny-roberta", "tiny-gpt2"])
def test_a_prefix_leaves_every_token_the_position_that_the_bare_model_gives_it(name: str, fresh: Fresh) -> None:
    def positions(backbone: Backbone, model: Any) -> list[int]:
        seen: list[torch.Tensor] = []
        [table] = [m for n, m in backbone.model.named_modules() if n.endswith(("position_embeddings", "wpe"))]
        hook = table.register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
        _states(model)
        hook.remove()
        return [int(place) for place in seen[-1].reshape(-1)[:8]]

    bare = fresh(name)
    expected = positions(bare, bare.model)
    backbone = fresh(name)
    model = Prefix(PrefixOptions(num_virtual_tokens=3)).attach(backbone)
    assert positions(backbone, model) == expected, "RoBERTa counts from behind the padding's position"


def test_prompt_tuning_knows_the_positions_that_roberta_reserves(fresh: Fresh) -> None:
    backbone = fresh("tiny-roberta")
    room = backbone.window - 3
    model = Prompt(PromptOptions(num_virtual_tokens=3)).attach(backbone)
    assert _states(model, room).shape[1] == room
    with pytest.raises(InputError, match=f"more than the model's window of {backbone.window}"):
        _states(model, room + 1)

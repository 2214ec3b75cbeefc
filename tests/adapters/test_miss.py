"""MiSS: blocks of inputs share one matrix, in three variants, as the paper says; what does not fit is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from llmrec_adapters.miss import Miss, MissOptions
from torch import Tensor

from llmrec_peft.backbone.batched import filled
from llmrec_peft.backbone.load import Backbone
from llmrec_peft.errors import InputError
from llmrec_peft.options import validated

Fresh = Callable[..., Backbone]
LAYER = "encoder.layer.3.attention.self.query"


def _update(options: dict[str, Any], backbone: Backbone) -> tuple[Tensor, Tensor, Tensor]:
    """Return the matrix of random values, the layer's weight [32, 32], and its whole update of that weight."""
    method = Miss(MissOptions(layers="top-1", **options))
    method.attach(backbone)
    layer: Any = backbone.model.get_submodule(LAYER)
    block = layer.miss_block["default"]
    with torch.no_grad():
        block.copy_(torch.randn(block.shape, generator=torch.Generator().manual_seed(0)))
        zero = torch.zeros(1, 32)
        update = (layer(torch.eye(32)) - layer(zero)).T - layer.base_layer.weight
    return block.detach(), layer.base_layer.weight.detach(), update


def test_each_block_of_inputs_gets_the_same_matrix(fresh: Fresh) -> None:
    block, _, update = _update({"rank": 5}, fresh())
    assert block.shape == (5, 32)
    expected = torch.stack([block[column % 5] for column in range(32)], 1)  # the last block has 2 inputs
    assert torch.allclose(update, expected, atol=1e-5)


def test_mini_repeats_a_smaller_matrix_along_the_output(fresh: Fresh) -> None:
    block, _, update = _update({"rank": 4, "variant": "mini", "mini_rank": 8}, fresh())
    assert block.shape == (4, 8)
    expected = torch.tensor([[block[column % 4, row % 8] for column in range(32)] for row in range(32)])
    assert torch.allclose(update, expected, atol=1e-5)


def test_bat_changes_each_block_in_proportion_to_itself(fresh: Fresh) -> None:
    block, weight, update = _update({"rank": 4, "variant": "bat"}, fresh())
    assert block.shape == (8, 4, 4)
    expected = torch.empty(32, 32)
    for row in range(8):
        for column in range(8):
            rows, columns = slice(4 * row, 4 * row + 4), slice(4 * column, 4 * column + 4)
            expected[rows, columns] = weight[rows, columns] @ block[row] + block[row]
    assert torch.allclose(update, expected, atol=1e-4)


@pytest.mark.parametrize("options", [{}, {"rank": 5}, {"variant": "mini", "mini_rank": 4}, {"variant": "bat"}])
def test_parameters_are_counted(options: dict[str, Any], fresh: Fresh) -> None:
    backbone = fresh("tiny-llama")
    method = Miss(MissOptions(targets="all-linear", **options))
    trained = [parameter for parameter in method.attach(backbone).parameters() if parameter.requires_grad]
    assert sum(parameter.numel() for parameter in trained) == method.parameter_count(backbone.shapes)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rank": 64}, r"adapter.rank: 64 is above the input of .*q_proj \(32 to 32\)"),
        (
            {"rank": 32, "variant": "bat"},
            r"rank: 32 does not divide input and output, .* of .*v_proj \(32 to 16",
        ),
        (
            {"variant": "mini", "mini_rank": 5},
            r"mini_rank: 5 does not divide the output of .*q_proj \(32 to 32\)",
        ),
    ],
)
def test_sizes_that_do_not_fit_a_layer_are_refused(options: dict[str, Any], said: str, fresh: Fresh) -> None:
    with pytest.raises(InputError, match=said):
        Miss(MissOptions(**options)).attach(fresh("tiny-llama"))


def test_a_matrix_of_a_layer_that_the_base_lacks_is_refused(fresh: Fresh) -> None:
    backbone = fresh()
    form = Miss(MissOptions()).batched(backbone)
    assert form is not None
    for name, said in (
        ("layer.9.x.miss_block", "the base has no linear layer layer.9.x"),
        ("x.stray", "fit no module"),
    ):
        with pytest.raises(InputError, match=said):
            filled(form, {f"base_model.model.{name}": torch.ones(8, 32)}, backbone, "stranger")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"variant": "bat", "dropout": 0.1}, "no dropout"),
        ({"mini_rank": 4}, "read by variant=mini alone, not by balance"),
        ({"variant": "other"}, "variant"),
    ],
)
def test_options_that_a_variant_does_not_read_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        validated(MissOptions, options, "adapter")

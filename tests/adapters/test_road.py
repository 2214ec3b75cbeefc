"""RoAd: pairs of outputs are turned by their angle and scaled, as the paper says."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from llmrec_adapters.road import Road, RoadOptions

from llmrec_peft.backbone.load import Backbone
from llmrec_peft.errors import InputError


def test_a_quarter_turn_twice_as_long(fresh: Callable[..., Backbone]) -> None:
    backbone = fresh()
    model: Any = Road(RoadOptions(group_size=2, layers="top-1")).attach(backbone)
    for name, parameter in model.named_parameters():
        if "road_theta" in name:
            torch.nn.init.constant_(parameter, math.pi / 2)
        elif "road_alpha" in name:
            torch.nn.init.constant_(parameter, 2.0)
    layer: Any = backbone.model.get_submodule("encoder.layer.3.attention.self.query")
    x = torch.randn(2, 3, 32)
    with torch.no_grad():
        pairs = layer.base_layer(x).reshape(2, 3, 16, 2)
        expected = 2.0 * torch.stack((-pairs[..., 1], pairs[..., 0]), -1).reshape(2, 3, 32)
        assert torch.allclose(layer(x), expected, atol=1e-5)


@pytest.mark.parametrize("variant", [1, 2, 4])
def test_parameters_are_counted(variant: Any, fresh: Callable[..., Backbone]) -> None:
    backbone = fresh("tiny-llama")
    method = Road(RoadOptions(variant=variant, targets="all-linear"))
    trained = [parameter for parameter in method.attach(backbone).parameters() if parameter.requires_grad]
    assert sum(parameter.numel() for parameter in trained) == method.parameter_count(backbone.shapes)


def test_groups_that_do_not_divide_an_output_are_refused(fresh: Callable[..., Backbone]) -> None:
    backbone = fresh("tiny-llama")
    with pytest.raises(InputError, match=r"adapter.group_size: 32 does not divide the output of .*v_proj \(16\)"):
        Road(RoadOptions(group_size=32)).attach(backbone)

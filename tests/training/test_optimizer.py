"""Optimizer groups, courses of the rates, and the moving average."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from llmrec_adapters.lora import Lora, LoraOptions

from llmrec_peft.recipe.sections import GroupSection, TrainingSection
from llmrec_peft.training.optimizer import Average, build_optimizer, build_schedule

SECTION = TrainingSection(
    adapter=GroupSection(learning_rate=0.1, weight_decay=0.01),
    embeddings=GroupSection(learning_rate=0.2, weight_decay=0.02),
    head=GroupSection(learning_rate=0.3, weight_decay=0.03),
)


def test_a_step_raises_the_versions_by_which_kept_sums_are_dropped(setting: Callable[..., Any]) -> None:
    model = setting().model()
    optimizer = build_optimizer(model, SECTION)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    before = [parameter._version for parameter in parameters]
    optimizer.step()
    assert all(parameter._version > version for parameter, version in zip(parameters, before, strict=True))


def test_each_group_has_its_rate_and_only_matrices_decay(setting: Callable[..., Any]) -> None:
    model = setting().model()
    settings = {
        id(parameter): (group["lr"], group["weight_decay"])
        for group in build_optimizer(model, SECTION).param_groups
        for parameter in group["params"]
    }
    rates = {"adapter": (0.1, 0.01), "embeddings": (0.2, 0.02), "head": (0.3, 0.03)}
    seen = set()
    for name, members in model.parameter_groups().items():
        for parameter_name, parameter in members:
            rate, decay = rates[name]
            matrix = parameter.ndim == 2 and 1 not in parameter.shape
            assert settings[id(parameter)] == (rate, decay if matrix else 0.0), parameter_name
            seen.add((name, matrix))
    assert seen >= {("adapter", True), ("embeddings", True), ("embeddings", False), ("head", True), ("head", False)}
    assert len(settings) == sum(parameter.requires_grad for parameter in model.parameters())


def test_a_method_may_have_some_of_its_parameters_learn_faster(setting: Callable[..., Any]) -> None:
    """LoRA+: B at a multiple of A's rate, the rest of the model as ever."""
    model = setting().model()
    method = Lora(LoraOptions(rate_ratio=16))
    groups = build_optimizer(model, SECTION, method).param_groups
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    found = {
        name.split(".lora_")[1][0]: rates[id(parameter)] for name, parameter in model.parameter_groups()["adapter"]
    }
    assert found == {"A": pytest.approx(0.1), "B": pytest.approx(1.6)}
    others = [p for name in ("embeddings", "head") for _, p in model.parameter_groups()[name]]
    assert {round(rates[id(parameter)], 6) for parameter in others} == {0.2, 0.3}


def _rates(section: TrainingSection, steps: int) -> list[float]:
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = build_schedule(optimizer, section, steps)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"] / 2.0)
        optimizer.step()
        schedule.step()
    return rates


def test_constant_rates_stay_after_a_warm_up_that_starts_above_zero() -> None:
    assert _rates(TrainingSection(schedule="constant"), 5) == [1.0] * 5
    assert _rates(TrainingSection(schedule="constant", warmup=0.4), 10) == pytest.approx(
        [0.25, 0.5, 0.75, 1.0, *[1.0] * 6]
    )


def test_linear_rates_fall_in_equal_steps() -> None:
    rates = _rates(TrainingSection(schedule="linear", warmup=0.2), 10)
    assert rates == pytest.approx([0.5, 1.0, *[1.0 - done / 8 for done in range(8)]])


def test_cosine_rates_fall_along_half_a_wave() -> None:
    rates = _rates(TrainingSection(schedule="cosine"), 8)
    assert rates == pytest.approx([0.5 * (1 + math.cos(math.pi * step / 8)) for step in range(8)])


def test_rates_beyond_the_planned_end_stay_at_zero() -> None:
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = build_schedule(optimizer, TrainingSection(schedule="linear"), 2)
    for _ in range(4):
        optimizer.step()
        schedule.step()
    assert optimizer.param_groups[0]["lr"] == 0.0


def _values(model: Any) -> list[torch.Tensor]:
    return [p.detach().clone() for group in model.parameter_groups().values() for _, p in group]


def test_swapping_twice_is_the_identity(setting: Callable[..., Any]) -> None:
    model = setting().model()
    average = Average(model, 0.9)
    start = _values(model)
    with torch.no_grad():
        for _, parameter in (member for group in model.parameter_groups().values() for member in group):
            parameter.add_(torch.randn_like(parameter))
    moved = _values(model)
    average.swap()
    assert all(torch.equal(a, b) for a, b in zip(_values(model), start, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(average.values, moved, strict=True))
    average.swap()
    assert all(torch.equal(a, b) for a, b in zip(_values(model), moved, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(average.values, start, strict=True))


def test_average_forgets_its_start_quickly_and_then_slowly(setting: Callable[..., Any]) -> None:
    model = setting().model()
    average = Average(model, 0.5)
    start = _values(model)
    with torch.no_grad():
        for _, parameter in (member for group in model.parameter_groups().values() for member in group):
            parameter.add_(1.0)
    expected = 0.0
    for step in (1, 2, 3, 50, 51):
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay)
        for value, first in zip(average.values, start, strict=True):
            torch.testing.assert_close(value - first, torch.full_like(value, expected), rtol=0, atol=1e-5)


def test_settling_gives_averages_to_the_named_parameters_alone(setting: Callable[..., Any]) -> None:
    model = setting().model()
    average = Average(model, 0.9)
    for value in average.values:
        value.add_(1.0)
    before = dict(model.named_parameters())
    kept = {name: parameter.detach().clone() for name, parameter in before.items()}
    average.settle("encoder.")
    for name, value in average.state().items():
        expected = value if name.startswith("encoder.") else kept[name]
        assert torch.equal(before[name], expected), name

"""Optimizer and schedule: AdamW with one rate and decay for adapter, embeddings and head."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.autograd.graph import increment_version
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

if TYPE_CHECKING:
    from llmrec_peft.backbone.adapter import AdapterMethod
    from llmrec_peft.model import RecModel
    from llmrec_peft.recipe.sections import TrainingSection
    from llmrec_peft.training.lazy_tables import LazyTables


def build_optimizer(
    model: RecModel,
    section: TrainingSection,
    method: AdapterMethod[Any] | None = None,
    lazy: LazyTables | None = None,
) -> AdamW:
    """Make an AdamW over the model's parameter groups.

    Biases (parameters with fewer than two dimensions, tables of width 1) have no weight decay: pulling a bias to
    zero pulls a rating to the mean. An adapter method may train some of its parameters faster (LoRA+).

    Args:
        model: Model that is trained.
        section: Rates and decays.
        method: Adapter method.
        lazy: Large tables, which take steps of their own at the rates of a group without parameters.
    """
    groups: dict[tuple[str, float, float, bool], list[tuple[str, nn.Parameter]]] = {}
    waiting = {} if lazy is None else lazy.tables
    for name, members in model.parameter_groups().items():
        options = getattr(section, name)
        for parameter_name, parameter in members:
            factor = method.learning_rate_factor(parameter_name) if method is not None and name == "adapter" else 1.0
            decay = 0.0 if _is_bias(parameter) else options.weight_decay
            key = (name, options.learning_rate * factor, decay, parameter_name in waiting)
            groups.setdefault(key, []).append((parameter_name, parameter))
    optimizer = AdamW(
        [
            {"params": [] if waits else [p for _, p in members], "lr": rate, "weight_decay": decay}
            for (_, rate, decay, waits), members in groups.items()
        ],
        fused=True,  # one pass over a table instead of several
    )
    optimizer.register_step_post_hook(_say_that_they_changed)
    for number, ((*_, waits), members) in enumerate(groups.items()):
        if waits and lazy is not None:
            for parameter_name, _ in members:
                lazy.follow(parameter_name, optimizer, number)
    return optimizer


def _say_that_they_changed(optimizer: Optimizer, *_: Any) -> None:
    """Raise the versions of parameters, which the fused step leaves as they are: what was computed from them is kept
    until they change (`Chosen` keeps sums of histories), and would be kept for ever."""
    increment_version([parameter for group in optimizer.param_groups for parameter in group["params"]])


def build_schedule(optimizer: AdamW, section: TrainingSection, total_steps: int) -> LambdaLR:
    """Make a schedule: warm-up from zero, then constant, linear or cosine to zero at `total_steps`."""
    warmup = round(section.warmup * total_steps)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        if section.schedule == "constant":
            return 1.0
        done = min(1.0, (step - warmup) / max(1, total_steps - warmup))
        return 1.0 - done if section.schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))

    return LambdaLR(optimizer, factor)


def _is_bias(parameter: nn.Parameter) -> bool:
    return parameter.ndim < 2 or 1 in parameter.shape  # noqa: PLR2004 - a matrix has two dimensions


class Average:
    """Exponential moving average of the trained parameters, whose values are evaluated and kept.

    The decay rises as (1 + step) / (10 + step) up to `decay`, so that the initial values are forgotten quickly.
    """

    def __init__(self, model: RecModel, decay: float, lazy: LazyTables | None = None) -> None:
        """Begin with the parameters as they are.

        Args:
            model: Model that is trained.
            decay: Largest decay.
            lazy: Large tables, which move their averages themselves.
        """
        self._decay = decay
        named = [one for group in model.parameter_groups().values() for one in group]
        self._names = [name for name, _ in named]
        self._parameters = [parameter for _, parameter in named]
        self.values = [parameter.detach().clone() for parameter in self._parameters]
        self._moved = list(range(len(self._names)))
        if lazy:
            self._moved = [at for at, name in enumerate(self._names) if name not in lazy.tables]
            lazy.average(self.state())

    def decay(self, step: int) -> float:
        """Return the decay of a step, counted from 1."""
        return min(self._decay, (1 + step) / (10 + step))

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the average towards the parameters."""
        values, parameters = ([own[at] for at in self._moved] for own in (self.values, self._parameters))
        torch._foreach_lerp_(values, [p.detach() for p in parameters], 1.0 - self.decay(step))

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange average and parameters; a second call undoes the first."""
        for value, parameter in zip(self.values, self._parameters, strict=True):
            kept = parameter.detach().clone()
            parameter.copy_(value)
            value.copy_(kept)

    @torch.no_grad()
    def settle(self, prefix: str) -> None:
        """Copy the averaged values into all parameters whose name starts with `prefix` (called before it is frozen)."""
        for name, value, parameter in zip(self._names, self.values, self._parameters, strict=True):
            if name.startswith(prefix):
                parameter.copy_(value)

    def state(self) -> dict[str, torch.Tensor]:
        """Return the averages by parameter name."""
        return dict(zip(self._names, self.values, strict=True))

    @torch.no_grad()
    def load(self, state: dict[str, torch.Tensor]) -> None:
        """Load averages by parameter name."""
        for name, value in zip(self._names, self.values, strict=True):
            value.copy_(state[name])

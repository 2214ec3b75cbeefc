"""Divergence: a loss, a gradient, a weight or a validation figure that is not finite ends a training at once."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from llmrec_peft.errors import NotFiniteError

if TYPE_CHECKING:
    from torch import Tensor

    from llmrec_peft.model import RecModel
    from llmrec_peft.recipe.sections import TrainingSection

GROUPS = ("adapter", "embeddings", "head")
"""Groups of parameters, each with a learning rate of its own."""
_ABOUT_DATA = "no step was taken before it: look at the base's weights, the data's numbers, backbone.precision=fp32"
"""Advice where learning rates cannot be the cause."""


class Divergence:
    """Looks at the numbers of one fit where the loop waits for them anyway.

    Gradients are looked at with the loss of the next batch, weights before each checkpoint and validation: nothing
    that is not finite is kept.
    """

    def __init__(self, model: RecModel, section: TrainingSection) -> None:
        """Name what is watched.

        Args:
            model: Model that is trained.
            section: Rates and clipping, for the advice.
        """
        self._model, self._section = model, section
        self._named = [one for members in model.parameter_groups().values() for one in members]
        self._norm: Tensor | None = None
        self._norm_at = ""

    def see_loss(self, value: float, epoch: int, step: int, first: bool) -> None:
        """Look at the loss of a batch.

        Args:
            value: The loss.
            epoch: Number of the epoch, from 1.
            step: Number of the batch in it, from 1.
            first: Whether no step has been taken yet.

        Raises:
            NotFiniteError: If it, or the gradient of the step before, is not finite.
        """
        self._see_norm()
        if math.isfinite(value):
            return
        parts = [name for name, part in self._model.loss_parts.items() if not bool(part.isfinite())]
        of = f" ({', '.join(parts)})" if parts else ""
        where = f"loss is {value} at epoch {epoch} step {step}{of}"
        raise NotFiniteError(f"training diverged: {where}; {_ABOUT_DATA if first else self._advice()}")

    def keep_norm(self, norm: Tensor | None, epoch: int, step: int) -> None:
        """Keep the norm of a step's gradients until the loop waits for the device."""
        self._norm, self._norm_at = norm, f"epoch {epoch} step {step}"

    @torch.no_grad()
    def see_weights(self, epoch: int) -> None:
        """Look at every weight that is trained, in one pass.

        Raises:
            NotFiniteError: Naming one that is not finite.
        """
        self._see_norm()
        named = self._named
        if not named:
            return
        largest = torch.stack([norm.float() for norm in torch._foreach_norm([p for _, p in named], math.inf)])
        wrong = (~largest.isfinite()).nonzero()
        if len(wrong):
            name = named[int(wrong[0])][0]
            raise NotFiniteError(f"training diverged: weights {name} are not finite in epoch {epoch}; {self._advice()}")

    def _see_norm(self) -> None:
        norm, self._norm = self._norm, None
        if norm is not None and not math.isfinite(float(norm)):
            raise NotFiniteError(
                f"training diverged: the gradient's norm is {float(norm)} at {self._norm_at}; {self._advice()}"
            )

    def _advice(self) -> str:
        section = self._section
        rates = ", ".join(f"training.{name}.learning_rate={getattr(section, name).learning_rate:g}" for name in GROUPS)
        if section.clip_norm is None:
            return f"lower {rates}, or set training.clip_norm=1"
        return f"lower {rates}, or training.clip_norm={section.clip_norm:g}, or try backbone.precision=fp32"


def require_figure(figure: float, metric: str, epoch: int) -> None:
    """Refuse a validation figure that is not finite.

    Raises:
        NotFiniteError: Naming it and its epoch.
    """
    if not math.isfinite(figure):
        raise NotFiniteError(
            f"training diverged: validation {metric} is {figure} after epoch {epoch}; lower the learning rates, or try"
            " backbone.precision=fp32"
        )

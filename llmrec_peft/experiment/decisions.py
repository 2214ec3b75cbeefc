"""Decisions: what validation decides with the best model of the first fit, and what stays so after the refit."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from llmrec_peft.evaluation.measures import LOWER_IS_BETTER
from llmrec_peft.evaluation.outcomes import Outcome
from llmrec_peft.evaluation.protocol import outcome_of
from llmrec_peft.heads.contract import TaskHead

if TYPE_CHECKING:
    from llmrec_peft.experiment.prepared import Prepared
    from llmrec_peft.model import RecModel


class Validation:
    """The best model of the first fit, which learned from the training part alone, over the validation part.

    Attributes:
        model: The model.
        metric: Primary metric, by which epochs were chosen.
        figure: Computes it as training did, with the model as it stands.
    """

    def __init__(self, model: RecModel, prepared: Prepared, metric: str, figure: Callable[[], float]) -> None:
        """Look at a model; nothing is predicted before it is asked for."""
        self.model, self.metric, self.figure = model, metric, figure
        self._prepared = prepared
        self._outcomes: dict[str, Outcome] = {}

    def outcome(self, head: str) -> Outcome:
        """Predict validation with one head; again only once `changed` said that its model says something else."""
        if head not in self._outcomes:
            part, protocol = self._prepared.valid, self._prepared.protocol
            self._outcomes[head] = outcome_of(self.model, head, part, protocol, protocol.train)
        return self._outcomes[head]

    def outcomes(self) -> dict[str, Outcome]:
        """Predict validation with every head."""
        return {head: self.outcome(head) for head in self.model.heads}

    def changed(self, head: str) -> None:
        """Forget what a head predicted: a decision has changed it."""
        self._outcomes.pop(head, None)


class Decision(Protocol):
    """Something that is decided on validation and stays as decided."""

    def choose(self, validation: Validation) -> None:
        """Decide, and put what was decided into the model of the first fit."""

    def keep(self, model: RecModel) -> None:
        """Put the same into the refit model, whose own validation part it has learned from."""


class LateWeights:
    """Weights of a late fusion, by coordinate search on the primary metric."""

    def __init__(self) -> None:
        self._chosen: Tensor | None = None

    def choose(self, validation: Validation) -> None:
        """Choose them; other kinds of fusion have none."""
        fusion = validation.model.fusion
        if fusion.kind == "late":
            fusion.choose(validation.figure, validation.metric in LOWER_IS_BETTER)
            self._chosen = fusion.weights.detach().clone()

    def keep(self, model: RecModel) -> None:
        """Copy them."""
        if self._chosen is not None:
            with torch.no_grad():
                model.fusion.weights.copy_(self._chosen)


class Calibrators:
    """Calibrators of heads that score pairs: the tensors under ``calibration`` in their parts."""

    def __init__(self, prepared: Prepared) -> None:
        self._labels, self._span = prepared.valid.label, prepared.dataset.rating_range
        self._fitted: dict[str, dict[str, Tensor]] = {}

    def choose(self, validation: Validation) -> None:
        """Fit each on its head's scores of validation."""
        for name, head in validation.model.heads.items():
            scores = None if type(head).calibrate is TaskHead.calibrate else validation.outcome(name)
            if isinstance(scores, np.ndarray):
                head.calibrate(scores, head.observed(self._labels, self._span))
                validation.changed(name)
                self._fitted[name] = {key: tensor.detach().clone() for key, tensor in _calibration(head).items()}

    def keep(self, model: RecModel) -> None:
        """Copy them."""
        with torch.no_grad():
            for name, tensors in self._fitted.items():
                for key, tensor in _calibration(model.heads[name]).items():
                    tensor.copy_(tensors[key])


def _calibration(head: TaskHead[Any]) -> dict[str, Tensor]:
    """Tensors of a head's calibrator, by name."""
    state = head.parts.state_dict(keep_vars=True)
    return {name: tensor for name, tensor in state.items() if ".calibration." in f".{name}"}

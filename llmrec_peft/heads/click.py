"""Click: the probability that a user likes or takes an item."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from llmrec_peft.errors import InputError
from llmrec_peft.heads.calibration import Calibration, apply, fitted, parameters
from llmrec_peft.heads.contract import HeadContext, HeadOutput, Joined, Task, TaskHead, products
from llmrec_peft.losses import loss
from llmrec_peft.options import Options

if TYPE_CHECKING:
    from torch import Tensor, nn

    from llmrec_peft.data.batches import Batch


class ClickOptions(Options):
    """Options of the click head."""

    feed: Literal["pair", "prompt"] = "pair"
    """How the language model reads a pair: texts of item and user separately, their vectors joined (`pair`), or one
    text with history and candidate (`prompt`, see views.prompt)."""
    threshold: float | None = None
    """Labels at or above it are positive, such as 4 for stars; null if labels are 0 and 1 already."""
    loss: Literal["bce", "focal"] = "bce"
    """Training loss: binary cross-entropy (`bce`) or `focal`."""
    focal_gamma: float = Field(default=2.0, ge=0.0, le=10.0)
    """Exponent by which well-classified examples are weighted down (`focal`)."""
    positive_weight: float | Literal["balanced"] = Field(default=1.0)
    """Weight of a positive example; `balanced` for the number of negatives over that of positives in training."""
    label_smoothing: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Label smoothing: both labels are moved towards each other by half of it."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout on the joined user and item vectors, and on an encoder's prompt vector."""
    prompt_scale: float = Field(default=1.0, gt=0.0, le=100.0)
    """Initial factor on a decoder's logit of Yes − No; it is learnt."""
    answers: tuple[str, str] = ("Yes", "No")
    """Words whose logits a decoder's prompt compares, the liking one first, such as 是 and 否 for a prompt in Chinese.
    Of each word its first token is taken, and the two have to differ."""
    metric: Literal["auc", "impression_auc"] = "auc"
    """Metric by which epochs, baselines and blends are chosen: AUC over all pairs, or the mean of the AUCs of lists
    of shown items, in data that know such lists (impressions)."""
    calibration: Calibration = "platt"
    """How scores become probabilities, fitted on validation: `platt`, `isotonic` or `none`."""

    @field_validator("positive_weight")
    @classmethod
    def _positive(cls, weight: float | str) -> float | str:
        if not isinstance(weight, str) and weight <= 0.0:
            raise ValueError(f"a weight above 0, or balanced (given: {weight:g})")
        return weight


class ClickHead(TaskHead[ClickOptions]):
    """P(y = 1) = σ(b + offsets + ⟨user, item⟩ + prompt), where the prompt's term is left out if none is read.

    The prompt's term is s · (logit of "Yes" − logit of "No"), or of other `answers`, at its last token in a decoder, as
    TALLRec does, and w · LayerNorm(pooled prompt) in an encoder.

    References:
        Bao et al., TALLRec: An Effective and Efficient Tuning Framework to Align Large Language Model with
        Recommendation, RecSys 2023.
    """

    summary: ClassVar[str] = "probability of a click or a like, calibrated; pairs of vectors, or prompts"
    Config: ClassVar[type[Options]] = ClickOptions
    task: ClassVar[Task] = "click"
    metric: str = "auc"
    lower_is_better: ClassVar[bool] = False
    unit: ClassVar[str] = "log-odds"

    def __init__(self, config: ClickOptions) -> None:
        super().__init__(config)
        self.metric = config.metric

    def build(self, context: HeadContext) -> nn.ModuleDict:
        """Make b (the log-odds of the training labels), the calibrator, and the layers for prompts."""
        import torch
        from torch import nn

        share, weight = 0.5, 1.0
        if context.labels is not None:
            share = float(np.clip(self.observed(context.labels, context.label_range).mean(), 0.01, 0.99))
        if self.config.positive_weight == "balanced":
            weight = (1.0 - share) / share
        else:
            weight = float(self.config.positive_weight)
        odds = weight * share / (1.0 - share)
        scale: dict[str, Any] = {
            "bias": nn.Parameter(torch.tensor([float(np.log(odds))])),
            "positive_weight": nn.Parameter(torch.tensor([weight]), requires_grad=False),
        }
        parts: dict[str, Any] = {"dropout": nn.Dropout(self.config.dropout)}
        if self.reads_prompt():
            width, decodes = _prompts_of(context)
            if decodes:
                rows = context.yes_no if context.yes_no is not None else torch.zeros(2, width)
                scale["yes_minus_no"] = nn.Parameter((rows[0] - rows[1]).reshape(1, -1), requires_grad=False)
                scale["prompt_scale"] = nn.Parameter(torch.tensor([self.config.prompt_scale]))
            else:
                parts["norm"] = nn.LayerNorm(width, elementwise_affine=False)
                parts["prompt"] = nn.Linear(width, 1, bias=False)
                nn.init.zeros_(parts["prompt"].weight)
        parts["scale"] = nn.ParameterDict(scale)
        parts["calibration"] = parameters(self.config.calibration)
        return nn.ModuleDict(parts)

    def forward(self, batch: Batch, user: Joined, item: Joined) -> HeadOutput:
        """Return probabilities [B], or [B, C] of candidates."""
        dropout = self.parts["dropout"]
        users = Joined(None if user.vector is None else dropout(user.vector), user.offset)
        items = Joined(None if item.vector is None else dropout(item.vector), item.offset, item.cross)
        logit = self.parts["scale"]["bias"] + products(users, items, batch)
        if self.reads_prompt():
            logit = logit + self._prompt(batch)
        value = None if batch.label is None else self._loss(logit, batch.label)
        scores = apply(self.config.calibration, self.parts["calibration"], logit.detach().float())
        return HeadOutput(loss=value, scores=scores)

    def base(self, batch: Batch) -> dict[str, Tensor]:
        """Return b and the prompt's term."""
        bias = {"log-odds of all": self.parts["scale"]["bias"]}
        return {**bias, "prompt": self._prompt(batch)} if self.reads_prompt() else bias

    def _prompt(self, batch: Batch) -> Tensor:
        scale, prompt = self.parts["scale"], batch.vectors["prompt"]
        said: Tensor
        if "yes_minus_no" in scale:
            said = scale["prompt_scale"] * (prompt @ scale["yes_minus_no"].T).squeeze(-1)
        else:
            said = self.parts["prompt"](self.parts["dropout"](self.parts["norm"](prompt))).squeeze(-1)
        return said

    def _loss(self, logit: Tensor, label: Tensor) -> Tensor:
        observed = label if self.config.threshold is None else (label >= self.config.threshold).to(label.dtype)
        smoothed = observed * (1.0 - self.config.label_smoothing) + 0.5 * self.config.label_smoothing
        weight = float(self.parts["scale"]["positive_weight"])
        if self.config.loss == "focal":
            return loss("focal")(logit, smoothed, positive_weight=weight, gamma=self.config.focal_gamma)
        return loss("bce")(logit, smoothed, positive_weight=weight)

    def reads_prompt(self) -> bool:
        """Return whether prompts are read: with `feed=prompt`."""
        return self.config.feed == "prompt"

    def mixing_refusal(self) -> str | None:
        """Return the conflict with a threshold, which would turn a mixed label into a whole like or dislike."""
        if self.config.threshold is None:
            return None
        return f"head.threshold={self.config.threshold:g} of head click: mixed labels would be cut at it, not mixed"

    def observed(self, label: NDArray[np.floating], label_range: tuple[float, float]) -> NDArray[np.floating]:
        """Return 1 for positive labels, else 0."""
        if self.config.threshold is not None:
            low, high = label_range
            if not low < self.config.threshold <= high:
                raise InputError(
                    f"head.threshold: {self.config.threshold:g} lies outside the labels' {low:g} to {high:g}"
                )
            return (label >= self.config.threshold).astype(np.float32)
        if not np.isin(label, (0.0, 1.0)).all():
            low, high = label_range
            raise InputError(
                f"head click: labels run from {low:g} to {high:g}; set the lowest label of a liked item, such as"
                f" head.threshold={round(low + 0.75 * (high - low)):g}"
            )
        return label

    def calibrate(self, scores: NDArray[np.floating], observed: NDArray[np.floating]) -> None:
        """Fit the calibrator on uncalibrated probabilities."""
        import torch

        if self.config.calibration == "none":
            return
        with torch.no_grad():
            for name, value in fitted(self.config.calibration, scores, observed).items():
                self.parts["calibration"][name].copy_(torch.from_numpy(value))

    def report(self) -> dict[str, Any]:
        """Return the learnt factor of the prompt, if there is one."""
        scale = self.parts["scale"]
        return {"prompt_scale": float(scale["prompt_scale"].detach())} if "prompt_scale" in scale else {}


def _prompts_of(context: HeadContext) -> tuple[int, bool]:
    """Return the width of prompt vectors and whether a decoder makes them: of the model, or of the saved head."""
    if context.saved is not None:
        decodes = "scale.yes_minus_no" in context.saved
        return context.saved["scale.yes_minus_no" if decodes else "prompt.weight"].shape[1], decodes
    assert context.text_width is not None  # noqa: S101 - whoever builds this head reads prompts
    return context.text_width, context.decodes

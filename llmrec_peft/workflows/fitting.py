"""Fitting: one recipe variant trained on prepared data, validation first, then the refit."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor

from llmrec_peft import registry
from llmrec_peft.backbone.adapter import AdapterMethod
from llmrec_peft.backbone.encoder import TextEncoder
from llmrec_peft.backbone.load import Backbone
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.data.tokens import TokenTable
from llmrec_peft.evaluation.metrics import RATING_METRICS
from llmrec_peft.heads.contract import HeadContext
from llmrec_peft.model import RecModel, build_head, build_signals, reads_text
from llmrec_peft.recipe import Recipe
from llmrec_peft.signals.contract import SignalContext
from llmrec_peft.training.checkpoint import Checkpoint
from llmrec_peft.training.loop import FitResult, fit
from llmrec_peft.workflows.prepare import Prepared


class Texts:
    """The language model over one dataset: untuned vectors once, an adapter attached when first asked for."""

    def __init__(self, backbone: Backbone, prepared: Prepared, recipe: Recipe) -> None:
        """Tokenize all texts and encode them with the untuned model.

        Args:
            backbone: Frozen model.
            prepared: Texts.
            recipe: Pooling, lengths, adapter method.
        """
        self.backbone = backbone
        self._recipe = recipe
        length = recipe.views.item.max_length
        self.tokens = TokenTable.of(prepared.texts, lambda texts: backbone.tokenize(texts, length), backbone.pad_id)
        frozen = list(backbone.model.modules())
        self._frozen = frozen
        lowest = registry.get("adapters", recipe.adapter.method)(recipe.adapter.config).lowest_layer(backbone)
        self._plain = self._encoder(backbone.model, lowest)
        self._plain.store_trunk(recipe.training.trunk_mb)  # first: the untuned vectors then cost only what is above it
        with self._plain.fixed() as vectors:
            self.untuned: Tensor = vectors.clone()
        self.method: AdapterMethod[Any] | None = None
        self._tuned: TextEncoder | None = None
        self._start: dict[str, Tensor] = {}

    def _encoder(self, model: torch.nn.Module, lowest: int | None) -> TextEncoder:
        section = self._recipe.backbone
        return TextEncoder(model, self._frozen, self.tokens, section.pooling, section.normalize, lowest)

    def encoder(self, recipe: Recipe) -> TextEncoder | None:
        """Encoder of a variant with its adapter fresh; None where `untuned` says all."""
        name = recipe.adapter.method
        method: AdapterMethod[Any] = registry.get("adapters", name)(recipe.adapter.config)
        lowest = method.lowest_layer(self.backbone)
        if lowest is None:
            return None
        if recipe.adapter != self._recipe.adapter:
            raise ValueError(f"these texts are tuned by {self._recipe.adapter}, not by {recipe.adapter}")
        if self._tuned is None:
            torch.manual_seed(recipe.seed)
            if recipe.training.gradient_checkpointing:
                self.backbone.enable_gradient_checkpointing()
            tuned = self._encoder(method.attach(self.backbone), lowest)
            tuned.to(self.backbone.device)
            tuned.eval()
            tuned.share_trunk(self._plain)
            self.method, self._tuned = method, tuned
            self._start = {n: p.detach().clone() for n, p in tuned.named_parameters() if p.requires_grad}
        method.reset(self._tuned.model)
        with torch.no_grad():
            for parameter_name, parameter in self._tuned.named_parameters():
                if parameter.requires_grad:
                    parameter.copy_(self._start[parameter_name])
        return self._tuned


@dataclass
class Fitted:
    """A trained variant.

    Attributes:
        model: The final model.
        search: The fit that validation watched.
        valid: Predictions on validation by the best model of that fit.
        seconds: Fitting time, refit included.
        peak_rss_mb: Highest resident memory.
    """

    model: RecModel
    search: FitResult
    valid: NDArray[np.float32]
    seconds: float
    peak_rss_mb: float


def new_model(recipe: Recipe, prepared: Prepared, train: Interactions, texts: Texts | None) -> RecModel:
    """A fresh model of a recipe, its initial values drawn from the recipe's seed."""
    vocabulary = prepared.vocabulary
    encoder = texts.encoder(recipe) if texts is not None and reads_text(recipe) else None
    torch.manual_seed(recipe.seed)
    context = SignalContext(
        num_users=vocabulary.num_users,
        num_items=vocabulary.num_items,
        dim=recipe.fusion.dim,
        train=train,
        text=texts.untuned if texts is not None else None,
        neighbours=prepared.neighbours,
    )
    low, high = prepared.dataset.rating_range
    head = build_head(recipe, HeadContext(recipe.fusion.dim, float(train.label.mean()), (low, high)))
    table = texts.untuned if texts is not None and encoder is None and reads_text(recipe) else None
    return RecModel(build_signals(recipe, context), head, encoder, table)


def fit_variant(
    recipe: Recipe,
    prepared: Prepared,
    texts: Texts | None,
    accelerator: Accelerator,
    work: Path,
    title: str,
    show: bool,
) -> Fitted:
    """Train a variant: epochs chosen on validation, then, by recipe, a refit on train + validation.

    Args:
        recipe: Variant.
        prepared: Data.
        texts: Language model; None where no variant reads text.
        accelerator: Device and trackers.
        work: Folder for the checkpoints of this variant.
        title: Name on the progress bars.
        show: Whether to show them.
    """
    section, device = recipe.training, accelerator.device
    valid = prepared.valid
    metric = RATING_METRICS[registry.get("heads", recipe.head.name).metric]

    def validate(model: RecModel) -> float:
        return metric(model.scores(valid.user, valid.item), valid.label)

    def run(train: Interactions, phase: str, watch: bool, epochs: int | None) -> tuple[RecModel, FitResult]:
        started = time.monotonic()
        model = new_model(recipe, prepared, train, texts)
        model.to(device)
        method = texts.method if texts is not None and model.encoder is not None else None
        torch.manual_seed(recipe.seed)
        result = fit(
            model,
            train,
            section,
            recipe.seed,
            accelerator,
            Checkpoint(work / phase),
            f"{title} {phase}",
            method,
            validate if watch else None,
            epochs,
            show,
        )
        setup = time.monotonic() - started - result.seconds
        return model, replace(result, seconds=result.seconds + max(0.0, setup))

    model, search = run(prepared.train, "fit", True, None)
    predicted = model.scores(valid.user, valid.item)
    seconds, peak = search.seconds, search.peak_rss_mb
    if section.refit:
        model, final = run(prepared.learned(True), "refit", False, search.best_epoch)
        seconds, peak = seconds + final.seconds, max(peak, final.peak_rss_mb)
    return Fitted(model, search, predicted, seconds, peak)

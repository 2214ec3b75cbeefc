"""Taste: a Gaussian process over a user's own outcomes predicts how he likes an item."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from llmrec_peft.errors import InputError
from llmrec_peft.options import Options
from llmrec_peft.signals.contract import Signal, SignalContext

if TYPE_CHECKING:
    from collections.abc import Collection

    from torch import Tensor, nn

    from llmrec_peft.data.batches import Batch
    from llmrec_peft.data.interactions import Interactions
    from llmrec_peft.signals.parts.kernels import Points, Posterior

LOGIT_VARIANCE = 0.35
"""Factor c by which a logit's variance flattens it, σ(z / √(1 + c · variance)); π / 8 (0.39) gives σ's mean over z."""
LEAST = 0.03
"""Predicted probabilities are clipped to [0.03, 0.97], so that no single outcome decides."""
TOGETHER = 32
"""Examples whose outcomes are processed together."""


class TasteOptions(Options):
    """Options of the taste signal."""

    length: int = Field(default=100, ge=1, le=1000)
    """Outcomes of a user that are read, the newest; at most data.history_length."""
    columns: tuple[str, ...] = ()
    """Numeric columns of items that influence how well items are liked and by whom, such as `year`."""
    text: bool = True
    """Whether outcomes on items with similar texts count more."""
    text_drift: bool = False
    """Whether similar texts count more the nearer the outcomes are in time."""
    drift: tuple[float, ...] = ()
    """Initial time scales, in days, on which a user's level changes, such as [0.01, 1, 60]; they are learnt. Ignored
    if the times of outcomes are not known."""
    user_ridge: float = Field(default=5.0, gt=0.0)
    """Ridge penalty on a user's level when item effects are fitted, as a number of outcomes."""
    item_ridge: float = Field(default=2.5, gt=0.0)
    """Ridge penalty on an item's own deviation, as a number of outcomes."""
    text_ridge: float = Field(default=8.0, gt=0.0)
    """Ridge penalty on the weight of a component of the texts, as a number of outcomes."""
    static_ridge: float = Field(default=1.0, gt=0.0)
    """Ridge penalty on the weights of popularity and columns, as a number of outcomes."""
    components: int = Field(default=32, ge=0, le=512)
    """Principal components of the untuned text vectors from which item effects are fitted; 0 for none."""
    folds: int = Field(default=8, ge=2, le=100)
    """Parts into which users are divided: in training, an example reads item effects fitted on the other parts."""
    records: bool = False
    """Whether users who share outcomes are records of one person, so that each outcome counts once."""


class Taste(Signal[TasteOptions]):
    """offset = w · F_i + g μ_ui / √(1 + 0.35 v_ui), with μ and v of a Gaussian process over the user's outcomes.

    F holds item i's effect (`item_effects`), its number of outcomes, and its columns. An outcome y on item h, for which
    p_h = σ(logit ȳ + w · F_h) was predicted, observes e_h = (y − p_h) / (p_h (1 − p_h)) with noise variance
    n / (p_h (1 − p_h)); for stars, e_h = y − ȳ − w · F_h with noise n. The kernel sums a constant, drifts
    exp(−|Δt| / τ), the cosine of centred texts, and products and distances of effects, popularity and columns, each
    with a learnt weight. A user without outcomes is the average user. Few scalars are learnt, so little can overfit.

    References:
        Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, sections 2.2 and 3.4.
        MacKay, The Evidence Framework Applied to Classification Networks, Neural Computation 4(5), 1992 (moderated
        logits).
    """

    summary: ClassVar[str] = "a Gaussian process over a user's own outcomes"
    Config: ClassVar[type[Options]] = TasteOptions
    user_tables: ClassVar[tuple[str, ...]] = ()
    reads_history: ClassVar[bool] = True

    def uses_text(self) -> bool:
        """Return whether texts are read: by the kernel, or once when item effects are fitted."""
        return self.config.text or self.config.text_drift

    def without_text(self) -> TasteOptions:
        """Return the options of a process over outcomes and columns alone."""
        return self.config.model_copy(update={"text": False, "text_drift": False, "components": 0})

    def refusal(self, users: Collection[str], items: Collection[str], reads_prompt: bool) -> str | None:
        """Refuse columns that the data lacks."""
        from llmrec_peft.signals.parts.columns import require_columns

        try:
            require_columns(items, self.config.columns, "signals.taste.columns")
        except InputError as error:
            return str(error)
        return None

    def build(self, context: SignalContext) -> nn.ModuleDict:
        """Fit item effects and make the kernel's weights."""
        import torch
        from torch import nn

        from llmrec_peft.signals.parts.kernels import Kernel
        from llmrec_peft.signals.parts.taste_tables import fitted_tables, loaded_tables

        if context.task == "ranking":
            raise InputError("signals.taste: it reads outcomes, good and bad; a ranking has none: use signals.history")
        self._stars = context.task == "rating"
        if context.saved is not None:
            tables = loaded_tables(context.saved)
        else:
            tables = fitted_tables(self.config, context)
        known: Any = tables["known"]
        columns = known["columns"].shape[1]
        kernel = Kernel(columns, self.config.text, self.config.text_drift, self.config.drift)
        weight = torch.zeros(3 + columns)
        weight[0] = 1.0
        process = nn.ParameterDict({"prior": nn.Parameter(weight), "log_gain": nn.Parameter(torch.zeros(1))})
        process["log_noise"] = nn.Parameter(torch.zeros(1))
        return nn.ModuleDict({**tables, "kernel": kernel, "process": process})

    def offset(self, batch: Batch) -> Tensor:
        """Return the prior of each item plus what the user's outcomes add, [B]."""
        prior, mean, variance = self._posterior(batch)
        if self._stars:
            return prior + self._gain() * mean
        return prior + self._gain() * mean * (1.0 + LOGIT_VARIANCE * variance).rsqrt()

    def item_offset(self, batch: Batch) -> Tensor:
        """Return the prior of each item, [B]."""
        prior: Tensor = self._prior(self._points(batch.item[:, None], None, self._fold(batch))).squeeze(1)
        return prior

    def cross(self, batch: Batch, candidates: Tensor) -> Tensor:
        """Return what each user's outcomes add for each candidate, [B, C]; the process is conditioned once per user."""
        import torch

        shared = batch.candidates is not None
        texts = batch.vectors.get("candidates" if shared else "item")
        if texts is not None:
            texts = texts[None] if shared else texts[:, None]
        posterior = self._conditioned(batch, self._fold(batch))
        if posterior is None:
            return torch.zeros(len(batch), candidates.shape[1], device=candidates.device)
        mean, variance = posterior.at(self._points(candidates, texts, self._fold(batch)))
        mean = mean.sum(1)
        if not self._stars:
            mean = mean * (1.0 + LOGIT_VARIANCE * variance).rsqrt()
        return self._gain() * mean

    def contributions(self, batch: Batch) -> Tensor:
        """Return what each history entry adds to the offset, float32 [B, L]; with the prior they sum to it."""
        _, weights, variance = self._by_entry(batch)
        scaled = weights if self._stars else weights * (1.0 + LOGIT_VARIANCE * variance).rsqrt().unsqueeze(-1)
        return self._gain() * scaled

    def _gain(self) -> Tensor:
        gain: Tensor = self.parts["process"]["log_gain"].exp()
        return gain

    def _posterior(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Return the prior offset, and the posterior mean and variance given the outcomes, each [B].

        Examples with similar numbers of outcomes are processed together, since the cost grows with the square.
        """
        import torch

        assert batch.history is not None  # noqa: S101 - see `reads_history`
        there = batch.history[:, -self.config.length :] > 0
        order = torch.argsort(there.sum(1))
        chunks = [self._by_entry(self._dense(batch, rows, there[rows])) for rows in torch.split(order, TOGETHER)]
        back = torch.argsort(order)
        prior, mean, variance = (
            torch.cat(parts)[back]
            for parts in zip(*((prior, weights.sum(1), variance) for prior, weights, variance in chunks), strict=True)
        )
        return prior, mean, variance

    def _dense(self, batch: Batch, rows: Tensor, there: Tensor) -> Batch:
        """Return some examples with histories cut to the longest of them, missing entries removed where possible."""
        import torch

        from llmrec_peft.data.batches import Batch

        width = int(there.sum(1).max()) if there.numel() else 0
        place = torch.argsort(there.int(), dim=1, stable=True)[:, there.shape[1] - width :]

        def entries(values: Tensor | None) -> Tensor | None:
            return None if values is None else values[rows, -self.config.length :].gather(1, place)

        vectors = {view: batch.vectors[view][rows] for view in ("item",) if view in batch.vectors}
        if "history" in batch.vectors:
            texts = batch.vectors["history"][rows, -self.config.length :]
            vectors["history"] = texts.gather(1, place.unsqueeze(-1).expand(-1, -1, texts.shape[-1]))
        return Batch(
            user=batch.user[rows],
            item=batch.item[rows],
            label=None if batch.label is None else batch.label[rows],
            history=entries(batch.history),
            history_label=entries(batch.history_label),
            history_age=entries(batch.history_age),
            vectors=vectors,
        )

    def _by_entry(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Return the prior offset [B], each outcome's term of the posterior mean [B, L], and the posterior variance.

        Nothing is stored: a signal that stores a tensor of a graph could not be copied to follow outcomes.
        """
        import torch

        fold = self._fold(batch)
        texts = batch.vectors.get("item")
        own = self._points(batch.item[:, None], None if texts is None else texts[:, None], fold)
        prior = self._prior(own).squeeze(1)
        posterior = self._conditioned(batch, fold)
        if posterior is None:
            return prior, prior.new_zeros(len(prior), 0), torch.zeros_like(prior)
        weights, variance = posterior.at(own)
        return prior, weights.squeeze(2), variance.squeeze(1)

    def _conditioned(self, batch: Batch, fold: Tensor | None) -> Posterior | None:
        """Condition the process on each example's outcomes; None if no history has an entry."""
        import torch

        from llmrec_peft.signals.parts.kernels import Posterior

        assert batch.history is not None and batch.history_label is not None  # noqa: S101 - see `reads_history`
        length = self.config.length
        items = batch.history[:, -length:]
        if items.shape[1] == 0:
            return None
        texts = batch.vectors.get("history")
        entries = self._points(items, None if texts is None else texts[:, -length:], fold, known=True)
        residual, noise = self._residuals(entries, batch.history_label[:, -length:])
        there = (items > 0).to(residual.dtype)
        age = None if batch.history_age is None else batch.history_age[:, -length:]
        kernel = self.parts["kernel"]
        inside = kernel(entries, entries, age, age) * (there.unsqueeze(1) * there.unsqueeze(2))
        inside = inside + torch.diag_embed(noise * there + (1.0 - there))
        lower = torch.linalg.cholesky(inside)
        solved = torch.cholesky_solve((residual * there).unsqueeze(-1), lower)
        return Posterior(kernel, entries, age, there, lower, solved)

    def _points(self, items: Tensor, texts: Tensor | None, fold: Tensor | None, known: bool = False) -> Points:
        """Return items as inputs of the kernel, [B, n]; `known` ones were rated by the user himself."""
        from llmrec_peft.signals.parts.kernels import Points

        tables = self.parts["known"]
        if fold is None:
            effect = tables["effect"][items]
        else:
            effect = self.parts["folds"].effect[fold.unsqueeze(1), items]
        count = tables["count"][items]
        if known or fold is not None:  # in training the example's own outcome is counted too
            count = (count - 1.0).clamp(min=0.0)
        if texts is not None:
            texts = texts - tables["centre"]
            texts = texts / texts.norm(dim=-1, keepdim=True).clamp(min=1e-6)
        return Points(effect, count.log1p(), tables["columns"][items], texts)

    def _prior(self, points: Points) -> Tensor:
        """Return w · F of items, [B, n]."""
        import torch

        facts = torch.stack([points.effect, points.effect * points.popularity, points.popularity / 3.0], dim=-1)
        facts = torch.cat([facts, points.columns], dim=-1)
        known = self.parts["known"]
        prior: Tensor = ((facts - known["mean_fact"]) / known["spread_fact"] * 0.5) @ self.parts["process"]["prior"]
        return prior

    def _residuals(self, entries: Points, label: Tensor) -> tuple[Tensor, Tensor]:
        """Return outcomes less their predictions, and their noise variance, each [B, L]."""
        import torch

        known, noise = self.parts["known"], self.parts["process"]["log_noise"].exp()
        outcome = (label - known["lowest"]) / (known["highest"] - known["lowest"])
        prior = self._prior(entries)
        if self._stars:
            return label - known["mean"] - prior, noise.expand_as(label)
        chance = torch.sigmoid(torch.logit(known["mean"]) + prior).clamp(LEAST, 1.0 - LEAST)
        spread = chance * (1.0 - chance)
        return (outcome - chance) / spread, noise / spread

    def _fold(self, batch: Batch) -> Tensor | None:
        """Return the part of each example's user in training; None if effects of all users are read."""
        if not self.parts.training or batch.label is None or "folds" not in self.parts:
            return None
        fold: Tensor = self.parts["folds"].of_user[batch.user]
        return fold

    def fold(self) -> None:
        """Drop the parts' effects, which only training reads."""
        if "folds" in self.parts:
            del self.parts["folds"]

    def remember(self, train: Interactions) -> None:
        """Compute users' levels, which `follow` needs to interpret further outcomes."""
        from llmrec_peft.signals.parts.taste_tables import Levels

        self.fold()
        self._levels = Levels(train, self.parts["known"], self.config)

    def follow(self, batch: Batch) -> None:
        """Update item effects with the batch's outcomes; users follow through their histories."""
        self._levels.follow(batch, self.parts["known"])

    def report(self) -> dict[str, Any]:
        """Return the kernel's weights, drifts in days, gain and noise."""
        process = self.parts["process"]
        figures: dict[str, Any] = self.parts["kernel"].report()
        figures["gain"] = round(math.exp(float(process["log_gain"])), 4)
        figures["noise"] = round(math.exp(float(process["log_noise"])), 4)
        return figures

"""Trials: recipes that differ in searched fields, each trained once; what is frozen is computed for all of them."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from llmrec_peft.backbone.preflight import require_possible
from llmrec_peft.errors import InputError
from llmrec_peft.experiment.augmentations import require_mixable
from llmrec_peft.experiment.experiment import OpenedRun, require_adapter
from llmrec_peft.experiment.fitting import search_variant
from llmrec_peft.experiment.prepare import prepare, require_useful
from llmrec_peft.experiment.prepared import Prepared
from llmrec_peft.experiment.prepared_digest import prepared_digest
from llmrec_peft.experiment.texts import Texts
from llmrec_peft.identity import __version__, values_digest
from llmrec_peft.model import plan_texts

if TYPE_CHECKING:
    from llmrec_peft.data.dataset import RecDataset
    from llmrec_peft.recipe import Recipe

_NAMES = ("name", "description")
"""Fields that no trial reads."""
_MOST = 2
"""Versions of the texts, and of the prepared data, that are kept."""


@dataclass(frozen=True)
class TrialResult:
    """What one recipe reached.

    Attributes:
        figure: Primary metric of its primary head over the whole validation part.
        epochs: Epochs trained when it was best.
    """

    figure: float
    epochs: int


class Trials:
    """Trains recipes on the training part and computes their figures on validation; test is never predicted.

    The dataset, prepared data, tokens, untuned vectors and states below the adapter are kept, so that a trial computes
    what its own fields change.

    Attributes:
        recipe: The recipe as the data lets it be.
        metric: Primary metric of its primary head.
        lower_is_better: Direction of the metric.
    """

    def __init__(self, opened: OpenedRun, dataset: RecDataset) -> None:
        """Keep what an opened run has loaded.

        Args:
            opened: Its folder receives checkpoints while a trial runs.
            dataset: The data as the reader returned them.

        Raises:
            InputError: If there is no validation part.
        """
        self._opened, self._dataset = opened, dataset
        prepared = opened.experiment.prepared
        self.recipe = prepared.recipe
        if not len(prepared.valid):
            raise InputError("data.valid_fraction: there are no validation examples, by which trials are compared")
        head = self.recipe.reads.primary
        self.metric, self.lower_is_better = str(head.metric), bool(head.lower_is_better)
        self._prepared = {_prepared_by(self.recipe): prepared}
        self._texts: dict[str, Texts] = {}

    def digest(self) -> str:
        """Return the digest of all that decides what trials reach: recipe, base model, training and validation data."""
        prepared = self._opened.experiment.prepared
        plain = {name: value for name, value in self.recipe.plain().items() if name not in _NAMES}
        plain["data"] = {name: value for name, value in plain["data"].items() if name not in ("path", "graph")}
        return values_digest([__version__, plain, self._opened.backbone.identity.plain(), _known(prepared)])

    def run(self, changes: Mapping[str, Any], name: str, each_epoch: Callable[[float], None]) -> TrialResult:
        """Train the recipe with some fields changed.

        Args:
            changes: Values by dotted field.
            name: Name of the trial, on the progress bar.
            each_epoch: Receives the validation figure of each epoch; what it raises ends the trial.

        Raises:
            InputError: When the recipe is not valid with these values, or diverges.
        """
        experiment = self._opened.experiment
        prepared = self._prepared_for(self.recipe.changed({"tune": {}, **changes}))
        texts = self._texts_for(prepared)
        folder = experiment.folder / "trial"
        trial = replace(experiment, prepared=prepared, texts=texts, folder=folder)
        try:
            found = search_variant(trial, prepared.recipe, "model", name, each_epoch=each_epoch)
        finally:
            experiment.accelerator.free_memory()
            self._opened.backbone.detach()
            shutil.rmtree(folder, ignore_errors=True)
            gc.collect()  # a model and its encoder hold each other
        head = prepared.recipe.head.name
        report = prepared.measures[head].report(found.valid[head], prepared.valid)
        return TrialResult(report[self.metric], found.result.best_epoch)

    def _prepared_for(self, recipe: Recipe) -> Prepared:
        """Return the data prepared for a recipe, again only where it reads other data than an earlier one."""
        require_possible(recipe)
        require_adapter(recipe, self._opened.backbone)
        require_mixable(recipe)
        key = _prepared_by(recipe)
        if key not in self._prepared:
            _forget_oldest(self._prepared)
            self._prepared[key] = prepare(recipe, self._dataset)
        prepared = self._prepared[key]
        as_prepared = _as_prepared(recipe, prepared.recipe)
        require_useful(as_prepared, prepared.dataset)
        return replace(prepared, recipe=as_prepared)

    def _texts_for(self, prepared: Prepared) -> Texts:
        """Return the texts with the adapter of a recipe, encoded again only where it reads others."""
        recipe, opened = prepared.recipe, self._opened
        key = _texts_by(prepared)
        if key not in self._texts:
            _forget_oldest(self._texts)
            opened.backbone.detach()
            folder, progress = opened.experiment.folder, opened.experiment.progress
            self._texts[key] = Texts(opened.backbone, prepared, recipe, folder / key[:16], progress)
        return self._texts[key].tuned_by(recipe)


def _as_prepared(recipe: Recipe, prepared: Recipe) -> Recipe:
    """Return a recipe as the data let it be, which is known of one that reads the same."""
    unfed = {f"signals.{name}": False for name in recipe.signals.active if name not in prepared.signals.active}
    return (recipe.changed(unfed) if unfed else recipe).model_copy(update={"data": prepared.data})


def _prepared_by(recipe: Recipe) -> str:
    """Digest of what data are prepared by: not the options of signals and heads, but for those of graphs."""
    reads, plain = recipe.reads, recipe.plain()
    flags = {name: value for name, value in vars(reads).items() if name not in ("heads", "signals")}
    graphs = [plain["signals"][name] for name in reads.graph_signals]
    named = [list(reads.heads), list(reads.signals), list(recipe.signals.off)]
    return values_digest([plain["data"], plain["views"], plain["seed"], flags, graphs, named])


def _texts_by(prepared: Prepared) -> str:
    """Digest of the fields that decide which texts there are and what the untuned model makes of them."""
    recipe, vocabulary = prepared.recipe, prepared.vocabulary
    plan = plan_texts(recipe, vocabulary.num_items, vocabulary.num_users, len(prepared.interactions))
    written = _prepared_by(recipe) if plan.tells_items or recipe.reads.inserts_tokens else ""
    return values_digest([recipe.views.model_dump(mode="json"), plan.user, plan.prompt, written])


def _known(prepared: Prepared) -> str:
    """Digest of the training and the validation part, and of what belongs to users and items."""
    parts, numbers = prepared.split, prepared.interactions
    rows = np.concatenate([parts.train, parts.valid])
    arrays = [parts.train, parts.valid, *(of[rows] for of in (numbers.user, numbers.item, numbers.label))]
    if numbers.confidence is not None:
        arrays.append(numbers.confidence[rows])
    if prepared.neighbours is not None:
        arrays += [prepared.neighbours.entity, prepared.neighbours.relation]
    if prepared.links is not None:
        arrays += [prepared.links.user, prepared.links.other]
    tables, names = (prepared.user_rows, prepared.item_rows), (prepared.vocabulary.users, prepared.vocabulary.items)
    return prepared_digest(arrays, prepared.texts, prepared.wordings, tables, names)


def _forget_oldest(kept: dict[str, Any]) -> None:
    """Make room for one more."""
    while len(kept) >= _MOST:
        del kept[next(iter(kept))]

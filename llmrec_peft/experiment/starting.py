"""Starting: a new run's adapter begins with those of finished runs on the same base, instead of a fresh one."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from llmrec_peft import registry
from llmrec_peft.artifact.catalogue_file import FILE as CATALOGUE
from llmrec_peft.artifact.catalogue_file import read_catalogue
from llmrec_peft.artifact.lineage import Lineage, Started, Step
from llmrec_peft.artifact.manifest import read_manifest
from llmrec_peft.backbone.combination import Combination
from llmrec_peft.errors import InputError
from llmrec_peft.experiment.run_adapters import AdapterOfRun, read_adapters, require_like, saved_adapters
from llmrec_peft.identity import values_digest
from llmrec_peft.printable import shown
from llmrec_peft.run.stored_items import stored_items

if TYPE_CHECKING:
    from llmrec_peft.backbone.adapter import AdapterMethod, SavedAdapter
    from llmrec_peft.backbone.load import Backbone
    from llmrec_peft.experiment.prepared import Prepared
    from llmrec_peft.experiment.texts import Texts
    from llmrec_peft.recipe import Recipe

SAMPLE = 256
"""Items of each catalogue whose frozen vectors say how near two catalogues are."""


@dataclass(frozen=True)
class AskedStart:
    """From which runs a training is to begin.

    Attributes:
        runs: Run folders.
        nearest: Number of them that are taken: those whose items' texts are nearest; None for all.
    """

    runs: tuple[Path, ...]
    nearest: int | None = None


@dataclass(frozen=True)
class Start:
    """The mean of some runs' adapters, from which a training begins.

    Attributes:
        runs: The runs, each of which fits the recipe's method.
        nearest: Number of them that are to be chosen; None once they are, or for all.
        nearness: Mean cosine of each run's frozen item vectors with the new ones; None where nothing was chosen.
    """

    runs: tuple[AdapterOfRun, ...]
    nearest: int | None = None
    nearness: tuple[float, ...] | None = None

    @classmethod
    def read(cls, asked: AskedStart, recipe: Recipe) -> Start:
        """Read the runs' manifests and recipes.

        Raises:
            InputError: If there are none, one is given twice, is no run with an adapter of the recipe's method, or more
                are to be chosen than there are.
        """
        if not asked.runs:
            raise InputError("--start-nearest chooses among the runs of --start-from: name some")
        if asked.nearest is not None and not 1 <= asked.nearest <= len(asked.runs):
            raise InputError(f"--start-nearest {asked.nearest}: --start-from names {len(asked.runs)} runs")
        if not recipe.reads.language_model:
            raise InputError("--start-from: the recipe reads no text, so it has no adapter")
        runs = read_adapters(asked.runs)
        for run in runs:
            if run.recipe.adapter.method != recipe.adapter.method:
                raise InputError(
                    f"--start-from: {run.folder} has a {run.recipe.adapter.method} adapter, and the recipe trains a"
                    f" {recipe.adapter.method} adapter"
                )
        return cls(runs, asked.nearest)

    @property
    def digest(self) -> str:
        """Digest of what the training begins from, so that it is resumed from the same."""
        return values_digest([[run.manifest.digest for run in self.runs], self.nearest])

    def require_base(self, backbone: Backbone, recipe: Recipe) -> None:
        """Refuse runs on another base, or that read texts otherwise.

        Raises:
            InputError: Naming what differs.
        """
        base = backbone.identity.plain()
        for run in self.runs:
            require_like(run, base, recipe, "this training")

    def chosen(self, texts: Texts) -> Start:
        """Return the runs that are nearest to a training's items; all of them where none were to be chosen.

        Near is the mean cosine of all pairs of a run's and the training's items, both as the frozen base reads their
        texts; of a large catalogue `SAMPLE` items are read.

        Args:
            texts: The training's texts; nothing is attached to their base yet.
        """
        if self.nearest is None:
            return self
        own = _some(texts.items[1:])
        near = [mean_cosine(own, _frozen(run, texts)) for run in self.runs]
        best = sorted(np.argsort(-np.asarray(near), kind="stable")[: self.nearest].tolist())
        return replace(
            self, runs=tuple(self.runs[at] for at in best), nearest=None, nearness=tuple(near[at] for at in best)
        )

    def plain(self) -> Started:
        """Return what the lineage says of it."""
        return Started(
            runs=tuple(run.manifest.digest for run in self.runs),
            weights=(1.0 / len(self.runs),) * len(self.runs),
            nearness=self.nearness,
        )

    def lineage(self, prepared: Prepared) -> Lineage:
        """Return the lineage of a run that began from these runs: itself alone, since its data are its own."""
        step = Step(
            recipe=prepared.recipe.name,
            data=prepared.digest,
            users=len(prepared.vocabulary.users),
            items=len(prepared.vocabulary.items),
            learned=len(prepared.protocol.learned),
            started=self.plain(),
        )
        return Lineage(steps=(step,))


def begun(start: Start, texts: Texts, recipe: Recipe) -> Start:
    """Choose the runs, and let a training's adapter begin with their mean.

    Args:
        start: The runs.
        texts: The training's texts; nothing is attached to their base yet.
        recipe: The training's recipe.

    Returns:
        The runs that were chosen.

    Raises:
        InputError: If an adapter does not fit.
    """
    start = start.chosen(texts)
    adapter = recipe.adapter
    method: AdapterMethod[Any] = registry.get("adapters", adapter.method)(adapter.config)
    with saved_adapters(start.runs, texts.backbone) as saved:
        texts.begin_with(beginning(saved, method, texts.backbone))
    return start


def beginning(saved: Sequence[SavedAdapter], method: AdapterMethod[Any], backbone: Backbone) -> dict[str, Tensor]:
    """Return what an adapter's parameters begin with: the mean of saved adapters, by name.

    A single one with the same options is taken as it is, by any method; several, or one of another rank or scale, are
    combined into the method's rank.

    Args:
        saved: The saved adapters, of the same method.
        method: The method of the new adapter, with its options.
        backbone: The bare base; it is bare again afterwards.

    Raises:
        InputError: If an adapter does not fit, or adapters of the method cannot be combined.
    """
    first = saved[0]
    alike = len(saved) == 1 and first.method.config == method.config
    with tempfile.TemporaryDirectory(prefix="llmrec-start-") as place:
        if not alike:
            if first.method.combined_options([one.method for one in saved[1:]], 1, backbone) is None:
                raise InputError(
                    f"--start-from: {type(method).__name__} adapters cannot be brought together: name one run with the"
                    " recipe's own adapter options"
                )
            method.combine(saved, Combination.mean(len(saved)), backbone, Path(place))
        try:
            with torch.random.fork_rng(devices=[]):
                model = method.load(backbone, first.folder if alike else Path(place))
            return {name: one.detach().clone() for name, one in model.named_parameters() if one.requires_grad}
        finally:
            backbone.detach()


def require_start_of(run: Path, finished: dict[str, Any], start: AskedStart | None) -> None:
    """Refuse to hand a finished run back that began from other runs than those that are asked for.

    Raises:
        InputError: If it did.
    """
    told = finished.get("start")
    began = told.get("runs", []) if isinstance(told, dict) else []
    asked = [] if start is None else [read_manifest(folder, verify=False).digest for folder in start.runs]
    chosen = start is not None and start.nearest is not None
    if began != asked and not (chosen and began and all(one in asked for one in began)):
        raise InputError(
            f"{shown(run)} is finished, and its adapter began otherwise (--start-from): --overwrite trains it anew,"
            " --out names another folder"
        )


def _some(vectors: Tensor) -> Tensor:
    """Return vectors of at most `SAMPLE` items, evenly over the catalogue."""
    rows = np.unique(np.linspace(0, len(vectors) - 1, min(SAMPLE, len(vectors))).astype(np.int64))
    return vectors[torch.from_numpy(rows).to(vectors.device)]


def mean_cosine(first: Tensor, second: Tensor) -> float:
    """Return the mean cosine of all pairs of a row of one matrix and a row of another.

    >>> round(mean_cosine(torch.eye(2), torch.tensor([[3.0, 0.0]])), 3)
    0.5
    """
    centres = [torch.nn.functional.normalize(one.float(), dim=1).mean(0).cpu() for one in (first, second)]
    return float(centres[0] @ centres[1])


def _frozen(run: AdapterOfRun, texts: Texts) -> Tensor:
    """Encode some of a run's item texts with the frozen base, float32 [n, width]."""
    catalogue = read_catalogue(run.folder / CATALOGUE, run.sealed.content(CATALOGUE))
    told = stored_items(run.sealed, catalogue, columns=False).texts
    rows = np.unique(np.linspace(0, len(told) - 1, min(SAMPLE, len(told))).astype(np.int64))
    return texts.frozen([told[row] for row in rows.tolist()], run.recipe.views.item.max_length)

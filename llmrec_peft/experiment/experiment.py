"""Experiment: what every fit of one run shares, opened once."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from llmrec_peft import registry
from llmrec_peft.artifact.place import occupied
from llmrec_peft.backbone.load import load_backbone
from llmrec_peft.backbone.locate import locate
from llmrec_peft.backbone.preflight import require_method, require_possible
from llmrec_peft.backbone.shared import SharedBase
from llmrec_peft.data.dataset import RecDataset
from llmrec_peft.errors import InputError
from llmrec_peft.experiment.prepare import Prepared, prepare
from llmrec_peft.experiment.texts import Texts
from llmrec_peft.experiment.training_folder import claim
from llmrec_peft.printable import shown
from llmrec_peft.progress import SILENT, Progress
from llmrec_peft.training.accelerator import make_accelerator

if TYPE_CHECKING:
    from accelerate import Accelerator

    from llmrec_peft.backbone.load import Backbone
    from llmrec_peft.evaluation.protocol import Protocol
    from llmrec_peft.recipe import Recipe


@dataclass(frozen=True)
class Experiment:
    """What every fit of one run shares.

    Attributes:
        prepared: Data, with the recipe as the data lets it be.
        accelerator: Device, processes and trackers.
        folder: Where checkpoints and the unfinished run lie.
        texts: The language model over the data's texts; None where nothing is read.
        progress: Where fits report to; silent in all processes but the main one.
    """

    prepared: Prepared
    accelerator: Accelerator
    folder: Path
    texts: Texts | None = None
    progress: Progress = SILENT

    @property
    def recipe(self) -> Recipe:
        """The recipe as the data lets it be."""
        return self.prepared.recipe

    @property
    def protocol(self) -> Protocol:
        """How everything is evaluated."""
        return self.prepared.protocol


@dataclass(frozen=True)
class OpenedRun:
    """A training whose recipe, data and base model were found to fit together.

    Attributes:
        experiment: What its fits share; `read_texts` adds the texts.
        backbone: Frozen language model.
        started: When it was opened, on the monotonic clock.
        earlier_seconds: What an interrupted training that is taken up had taken.
        shared: What other trainings of the process computed with the same base; None where it trains alone.
    """

    experiment: Experiment
    backbone: Backbone
    started: float
    earlier_seconds: float = 0.0
    shared: SharedBase | None = None

    def claimed(self, run: Path, asked: Recipe, resume: bool, parent: str | None = None) -> OpenedRun:
        """Begin in the hidden folder, or take an interrupted training up, and start the trackers.

        Args:
            run: Run folder to make; its hidden folder is held.
            asked: Recipe as it was given.
            resume: Whether an interrupted training is taken up.
            parent: Digest of the run that the training goes on from; None where it begins anew.

        Raises:
            InputError: When the interrupted training was another, or a process does not see the folder.
        """
        experiment, accelerator = self.experiment, self.experiment.accelerator
        accelerator.wait_for_everyone()  # every process has looked for a run in the way before one takes the place
        earlier = 0.0
        if accelerator.is_main_process:
            base = self.backbone.identity.plain()
            earlier = claim(run, asked, experiment.prepared, base, resume, parent)
        accelerator.wait_for_everyone()
        if not occupied(experiment.folder):
            raise InputError(
                f"{shown(run)}: process {accelerator.process_index} does not see what the first one wrote there:"
                " --out has to be in a folder that all machines share"
            )
        accelerator.init_trackers("llmrec-peft", config={"recipe": experiment.recipe.to_yaml()})
        return replace(self, earlier_seconds=earlier)

    def read_texts(self) -> tuple[Experiment, Texts]:
        """Encode all texts with the untuned model.

        Raises:
            InputError: When a prompt cannot be made to fit.
        """
        experiment = self.experiment
        read = (experiment.prepared, experiment.recipe, experiment.folder, experiment.progress)
        texts = Texts(self.backbone, *read, self.shared)
        return replace(self.experiment, texts=texts), texts

    @property
    def total_seconds(self) -> float:
        """Seconds since the training began, an interrupted one included."""
        return self.earlier_seconds + time.monotonic() - self.started


def open_run(
    recipe: Recipe,
    folder: Path,
    progress: Progress,
    dataset: RecDataset | None = None,
    shared: SharedBase | None = None,
) -> OpenedRun:
    """Check everything that can be checked before anything is trained, and load data and base model.

    Args:
        recipe: What to train.
        folder: Where checkpoints will lie; nothing is written yet.
        progress: Where to report to.
        dataset: The data, if it is in memory; else the recipe's reader reads it.
        shared: The base model, and what other trainings of the process computed with it; by default it is loaded.

    Raises:
        InputError: When recipe, data or base model are not right.
    """
    started = time.monotonic()
    require_possible(recipe)
    locate(recipe.backbone.name, recipe.backbone.revision)  # a wrong name or digest is said before data is read
    prepared = prepare(recipe, dataset)
    recipe = prepared.recipe
    accelerator = make_accelerator(recipe.training.trackers, folder)
    load = load_backbone if shared is None else shared.backbone
    backbone = load(recipe.backbone, accelerator.device)
    require_adapter(recipe, backbone)
    shown = progress if accelerator.is_main_process else SILENT
    return OpenedRun(Experiment(prepared, accelerator, folder, progress=shown), backbone, started, shared=shared)


def require_adapter(recipe: Recipe, backbone: Backbone) -> None:
    """Refuse an adapter that does not go into a loaded base model.

    Raises:
        InputError: When the method cannot work there, or its targets match nothing.
    """
    require_method(recipe.adapter.method, recipe.adapter.config, backbone.facts, recipe.backbone.quantization)
    # finds the targets, so that names which match nothing are said before anything is written
    registry.get("adapters", recipe.adapter.method)(recipe.adapter.config).parameter_count(backbone.shapes)

"""Parent: a finished run as far as a later training goes on from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec_peft import registry
from llmrec_peft.artifact.catalogue_file import FILE as CATALOGUE
from llmrec_peft.artifact.catalogue_file import read_catalogue
from llmrec_peft.artifact.lineage import FILE as LINEAGE
from llmrec_peft.artifact.lineage import LINEAGE_BYTES, Lineage, Step, parse_lineage
from llmrec_peft.artifact.manifest import Manifest
from llmrec_peft.artifact.predictions import NAME as PREDICTIONS
from llmrec_peft.artifact.predictions import Predictions, read_predictions
from llmrec_peft.artifact.sealed import SealedFolder
from llmrec_peft.artifact.seen import read_learned
from llmrec_peft.artifact.tables import ItemTable
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.data.vocabulary import Vocabulary
from llmrec_peft.errors import InputError
from llmrec_peft.model.warm_start import FILE as TRAINED
from llmrec_peft.model.warm_start import Names
from llmrec_peft.recipe import Recipe
from llmrec_peft.run.known_recipes import recipe_of
from llmrec_peft.run.read_tenant import read_baseline
from llmrec_peft.run.signal_files import room_for
from llmrec_peft.run.stored_items import stored_items
from llmrec_peft.run.trained_file import read_trained

if TYPE_CHECKING:
    from torch import Tensor

    from llmrec_peft.model.served_baseline import Served

SEEN = "seen.safetensors"
_NEEDED = {
    SEEN: "the interactions that it learned from",
    PREDICTIONS: "the examples that it was tested on",
    TRAINED: "what a later training begins with",
}
"""Private files that an update reads, and what they hold."""


@dataclass(frozen=True)
class Parent:
    """A finished run as far as a later training goes on from it.

    Attributes:
        folder: Run folder.
        manifest: Its manifest.
        recipe: Its recipe, with what was chosen to answer.
        vocabulary: Users and items that it knows.
        items: Their titles and texts.
        learned: Interactions that it learned from, with times where they are known.
        tested: Examples that it was tested on.
        tensors: Its trained parts before they were folded.
        names: What rows of its signals' tables stand for.
        lineage: Where it comes from; its own step is the last one.
        baseline: Of a ranking, the baseline with a share of which it answers, as the run holds it; None without one,
            and for ratings and clicks, whose baselines are fitted again.
    """

    folder: Path
    manifest: Manifest
    recipe: Recipe
    vocabulary: Vocabulary
    items: ItemTable
    learned: Interactions
    tested: Predictions
    tensors: Mapping[str, Tensor]
    names: Names
    lineage: Lineage
    baseline: Served | None = None

    @classmethod
    def read(cls, folder: Path) -> Parent:
        """Read and verify a run folder.

        Raises:
            InputError: If it is no run of a recommender, or came without a private file that is needed.
        """
        sealed = SealedFolder.open(folder)
        recipe = recipe_of(sealed)
        if registry.get("heads", recipe.head.name).task == "writing":
            raise InputError(f"{folder} holds a writer, not a recommender: train it anew with the newer data")
        private = {name: _needed(sealed, name) for name in _NEEDED if name != TRAINED}
        kept = read_catalogue(folder / CATALOGUE, sealed.content(CATALOGUE))
        vocabulary, items = kept.vocabulary, stored_items(sealed, kept, columns=True)
        learned = read_learned(folder / SEEN, private[SEEN])
        assert learned is not None  # noqa: S101 - its bytes were given
        _require_known(folder, learned, vocabulary)
        tensors, names = read_trained(folder / TRAINED, _needed(sealed, TRAINED, room_for(vocabulary)))
        tested = read_predictions(folder / PREDICTIONS, private[PREDICTIONS])
        lineage = lineage_of(sealed, recipe.name, vocabulary, len(learned))
        about = (folder, sealed.manifest, recipe, vocabulary, items)
        ranks = recipe.reads.primary.task == "ranking"
        baseline = read_baseline(sealed, recipe, vocabulary) if ranks else None
        return cls(*about, learned, tested, tensors, names, lineage, baseline)


def lineage_of(sealed: SealedFolder, recipe: str, vocabulary: Vocabulary, learned: int) -> Lineage:
    """Return a run's lineage; of a run that was trained from the beginning, itself alone.

    Raises:
        InputError: If its ``lineage.json`` is something else.
    """
    if LINEAGE in sealed.manifest.reports:
        return parse_lineage(sealed.content(LINEAGE, LINEAGE_BYTES), sealed.folder / LINEAGE)
    told: Any = sealed.report().get("data")
    data = str(told.get("digest", "unknown"))[:128] if isinstance(told, dict) else "unknown"
    users, items = len(vocabulary.users), len(vocabulary.items)
    return Lineage(steps=(Step(recipe=recipe, data=data, users=users, items=items, learned=learned),))


def _needed(sealed: SealedFolder, name: str, limit: int | None = None) -> bytearray:
    """Return a private file's bytes.

    Raises:
        InputError: If the run came without it.
    """
    if name not in sealed.manifest.private:
        raise InputError(
            f"{sealed.folder} has no {name}, {_NEEDED[name]}: it is a published copy, which is updated where it was"
            " trained, or was trained by a version without updates: train it again"
        )
    if not (sealed.folder / name).exists():
        raise InputError(
            f"{sealed.folder}: {name} is missing, {_NEEDED[name]}: it is private and was not passed on; update the run"
            " where it was trained"
        )
    return sealed.content(name, limit)


def _require_known(folder: Path, learned: Interactions, vocabulary: Vocabulary) -> None:
    """Refuse interactions of users or items that the run does not have."""
    for name, index, count in (
        ("user", learned.user, vocabulary.num_users),
        ("item", learned.item, vocabulary.num_items),
    ):
        if len(index) and (index.min() < 1 or index.max() >= count):
            raise InputError(f"{folder / SEEN}: a {name} that was learned from is none of the run's 1 to {count - 1}")

"""Gathered: deliveries read one after another, the wrong ones left out, and whether they suffice for an update."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from llmrec_peft.data.dataset import RecDataset
from llmrec_peft.data.joined import joined
from llmrec_peft.data.soundness import sound
from llmrec_peft.errors import InputError
from llmrec_peft.experiment.newer_data import TooFewError, with_scale_of
from llmrec_peft.experiment.parent import Parent
from llmrec_peft.experiment.prepare import prepare, read_source
from llmrec_peft.experiment.updating import recipe_to_update
from llmrec_peft.recipe import Recipe
from llmrec_peft.workflows.deliveries import Delivery, look_at
from llmrec_peft.workflows.update import read_newer


@dataclass(frozen=True)
class Gathered:
    """What some deliveries hold.

    Attributes:
        accepted: Those that a run can learn from together.
        dataset: What they hold, joined; None without any.
        wrong: Those that it cannot, with the reason.
        too_few: Why there can be no update yet; None if there can.
    """

    accepted: tuple[Delivery, ...]
    dataset: RecDataset | None
    wrong: tuple[tuple[Delivery, str], ...]
    too_few: str | None


def gather(parent: Parent, recipe: Recipe, found: Iterable[Delivery]) -> Gathered:
    """Read deliveries and check, all but the training, that a run can be updated with them together.

    A delivery that changes while it is read is left out without a word: the next look finds it again.

    Args:
        parent: The run.
        recipe: Its recipe, with what is to be changed for the update.
        found: Deliveries, oldest first.
    """
    accepted: list[Delivery] = []
    wrong: list[tuple[Delivery, str]] = []
    dataset: RecDataset | None = None
    too_few: str | None = "no delivery can be read"
    for one in found:
        try:
            read = _read(parent, recipe, one)
            together = read if dataset is None else joined([dataset, read])
            few = _too_few(parent, _at(recipe, one), together)
        except InputError as error:
            if is_unchanged(one):
                wrong.append((one, str(error)))
            continue
        if is_unchanged(one):
            accepted.append(one)
            dataset, too_few = together, few
    return Gathered(tuple(accepted), dataset, tuple(wrong), too_few)


def read_together(parent: Parent, recipe: Recipe, found: Iterable[Delivery]) -> RecDataset:
    """Read deliveries that `gather` accepted once more.

    Args:
        parent: The run.
        recipe: Its recipe, with what is to be changed for the update.
        found: Deliveries, oldest first.

    Raises:
        InputError: If one of them cannot be read now.
    """
    return joined([_read(parent, recipe, one) for one in found])


def is_unchanged(one: Delivery) -> bool:
    """Whether a delivery still is what it was when it was found."""
    now = look_at(one.path)
    return now is not None and now.fingerprint == one.fingerprint


def _read(parent: Parent, recipe: Recipe, one: Delivery) -> RecDataset:
    """Read one delivery.

    Raises:
        InputError: If it is not what the run's reader reads.
    """
    return sound(with_scale_of(parent, read_source(_at(recipe, one).data)))


def _at(recipe: Recipe, one: Delivery) -> Recipe:
    return recipe.changed({"data.path": str(one.path)})


def _too_few(parent: Parent, recipe: Recipe, dataset: RecDataset) -> str | None:
    """Say why there can be no update with some data yet; None if there can.

    Raises:
        InputError: If the run cannot learn from them.
    """
    try:
        newer = read_newer(parent, recipe, dataset)
    except TooFewError as few:
        return str(few)
    prepare(recipe_to_update(recipe), newer.dataset)
    return None

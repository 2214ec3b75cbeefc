"""Prepare: from a recipe to numbered, divided interactions and rendered texts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmrec_peft import registry
from llmrec_peft.data.dataset import RecDataset, column, without_duplicates
from llmrec_peft.data.graph import Neighbours
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.data.source import RecipeSource
from llmrec_peft.data.splits import Split, split
from llmrec_peft.data.subset import with_fewer_items
from llmrec_peft.data.views import ViewTemplate
from llmrec_peft.data.vocabulary import Vocabulary
from llmrec_peft.errors import InputError
from llmrec_peft.identity import values_digest
from llmrec_peft.recipe import DEMO, DataSection, Recipe

DEMO_SEED = 0
"""Seed of made-up data; not the run's seed, so that runs of several seeds share one dataset."""


@dataclass(frozen=True)
class Prepared:
    """A dataset ready to be trained on.

    Attributes:
        dataset: As it was read.
        vocabulary: Numbers of users and items.
        interactions: All interactions, numbered.
        split: Rows of training, validation and test.
        texts: Text of each item index; index 0 (unknown) has an empty one.
        neighbours: Knowledge graph around the items, where the recipe uses one.
    """

    dataset: RecDataset
    vocabulary: Vocabulary
    interactions: Interactions
    split: Split
    texts: tuple[str, ...]
    neighbours: Neighbours | None

    @property
    def train(self) -> Interactions:
        """Training part."""
        return self.interactions.take(self.split.train)

    @property
    def valid(self) -> Interactions:
        """Validation part."""
        return self.interactions.take(self.split.valid)

    @property
    def test(self) -> Interactions:
        """Test part."""
        return self.interactions.take(self.split.test)

    def learned(self, refit: bool) -> Interactions:
        """What the final model learns from: train + validation, or train where it is not refit."""
        return self.interactions.take(self.split.fit if refit else self.split.train)

    def ids(self, part: Interactions) -> tuple[list[str], list[str]]:
        """User ids and item ids of numbered interactions, as `Recommender.score` takes them."""
        users, items = self.vocabulary.users, self.vocabulary.items
        return [users[index - 1] for index in part.user], [items[index - 1] for index in part.item]

    @property
    def titles(self) -> list[str]:
        """Title of each item in vocabulary order."""
        return [str(title) for title in column(self.dataset.items, "title")]

    @cached_property
    def digest(self) -> str:
        """Digest of everything that training reads."""
        parts: list[NDArray[np.generic]] = [
            self.interactions.user,
            self.interactions.item,
            self.interactions.label,
            self.split.train,
            self.split.valid,
            self.split.test,
        ]
        arrays = [values_digest(part.tolist()) for part in parts]
        graph = [] if self.neighbours is None else [self.neighbours.entity.tolist()]
        return values_digest([arrays, list(self.texts), graph, self.vocabulary.users, self.vocabulary.items])


def read_dataset(section: DataSection) -> RecDataset:
    """Read the data of a recipe, or make its demo set up.

    Raises:
        InputError: When there is no path, or the files are not what they should be.
    """
    source: RecipeSource = registry.get("recipes", section.reader)()
    if section.path is None:
        raise InputError(
            f"data.path: say where the data is: --data DIR, --data {DEMO} for a made-up set,"
            f" or fetch it with `llmrec download {section.reader}`"
        )
    if section.path == DEMO:
        dataset = source.demo(DEMO_SEED)
    else:
        dataset = source.read(Path(section.path), Path(section.graph) if section.graph else None)
    if section.max_items is not None:
        dataset = with_fewer_items(dataset, section.max_items, section.split_seed)
    return without_duplicates(dataset)


def prepare(recipe: Recipe) -> tuple[Recipe, Prepared]:
    """Read, number, divide and render.

    Returns:
        The recipe with signals that the data cannot feed switched off, and the prepared data.

    Raises:
        InputError: When the data or the templates are not what they should be.
    """
    dataset = read_dataset(recipe.data)
    if dataset.graph is None:
        needing = [name for name in recipe.signals.active if registry.get("signals", name).reads_graph]
        recipe = recipe.changed({f"signals.{name}": False for name in needing})
        if needing:
            note = f"no knowledge graph given: signal {', '.join(needing)} is off (data.graph=DIR turns it on)"
            dataset = replace(dataset, notes=(*dataset.notes, note))
    vocabulary = Vocabulary.of(column(dataset.users, "user_id"), column(dataset.items, "item_id"))
    section = recipe.data
    parts = split(dataset, section.split, section.test_fraction, section.valid_fraction, section.split_seed)
    template = ViewTemplate(recipe.views.item.template)
    texts = ("", *template.render_all(dataset.items))
    neighbours = None
    if dataset.graph is not None:
        for name, options in recipe.signals.active.items():
            if registry.get("signals", name).reads_graph:
                width, least = getattr(options, "max_neighbours", 32), getattr(options, "min_items", 2)
                neighbours = Neighbours.of(dataset.graph, vocabulary, least, width)
    return recipe, Prepared(dataset, vocabulary, Interactions.of(dataset, vocabulary), parts, texts, neighbours)

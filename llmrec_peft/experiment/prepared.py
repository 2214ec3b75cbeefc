"""Prepared: a dataset ready to be trained on, and the recipe as the data lets it be."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.data.dataset import RecDataset, titles
from llmrec_peft.data.graph import Neighbours
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.data.leakage import Leak
from llmrec_peft.data.links import Links
from llmrec_peft.data.rows import Columns
from llmrec_peft.data.splits import Split
from llmrec_peft.data.vocabulary import Vocabulary
from llmrec_peft.evaluation.measures import Measure, measure_of
from llmrec_peft.evaluation.protocol import Protocol
from llmrec_peft.experiment.prepared_digest import prepared_digest
from llmrec_peft.recipe import Recipe

if TYPE_CHECKING:
    from llmrec_peft.model.contexts import DataFacts


@dataclass(frozen=True)
class Prepared:
    """A dataset ready to be trained on.

    Attributes:
        recipe: The recipe, with signals that the data cannot feed switched off and what the data decides filled in.
        dataset: As it was read.
        vocabulary: Numbers of users and items.
        interactions: The interactions of all parts, numbered, with histories where the recipe reads them.
        split: Rows of training, validation and test.
        user_rows: Columns of each user index; index 0 (unknown) has none.
        item_rows: Columns of each item index; index 0 (unknown) has none.
        texts: Text of each item index; index 0 has an empty one.
        neighbours: Knowledge graph around the items, where the recipe uses one.
        wordings: Further texts of each item index, from the view's variants.
        leaks: What gives test examples away, where the recipe allows it.
        used_rows: Row of each interaction in the dataset, int64 [n]; what was made of histories has none.
        links: Links between users, where the recipe reads them.
    """

    recipe: Recipe
    dataset: RecDataset
    vocabulary: Vocabulary
    interactions: Interactions
    split: Split
    user_rows: Sequence[Mapping[str, Any]] = field(repr=False)
    item_rows: Sequence[Mapping[str, Any]] = field(repr=False)
    texts: tuple[str, ...]
    neighbours: Neighbours | None
    wordings: tuple[tuple[str, ...], ...] = ()
    leaks: tuple[Leak, ...] = ()
    used_rows: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    links: Links | None = None

    @cached_property
    def train(self) -> Interactions:
        """Training part."""
        return self.interactions.take(self.split.train)

    @cached_property
    def valid(self) -> Interactions:
        """Validation part."""
        return self.interactions.take(self.split.valid)

    @cached_property
    def test(self) -> Interactions:
        """Test part."""
        return self.interactions.take(self.split.test)

    def learned(self, refit: bool) -> Interactions:
        """What a final model learns from: train + validation, or train where it is not refit."""
        return self.interactions.take(self.split.fit) if refit else self.train

    @cached_property
    def protocol(self) -> Protocol:
        """How everything that is trained on this data is evaluated."""
        recipe = self.recipe
        return Protocol(
            refit=recipe.refits,
            in_time=recipe.data.protocol == "prequential",
            own_items=recipe.evaluation.own_items,
            sampled=recipe.evaluation.sampled,
            bootstrap=recipe.evaluation.bootstrap,
            num_items=self.vocabulary.num_items,
            train=self.train,
            learned=self.learned(recipe.refits),
        )

    @cached_property
    def measures(self) -> dict[str, Measure]:
        """How each head of the recipe is measured."""
        popularity = self.protocol.learned.counts_by_item(self.vocabulary.num_items)
        span = self.dataset.rating_range
        return {
            name: measure_of(head.task, functools.partial(head.observed, label_range=span), popularity)
            for name, head in self.recipe.reads.heads.items()
        }

    @cached_property
    def facts(self) -> DataFacts:
        """What signals and heads may know of the data when they are built."""
        from llmrec_peft.model.contexts import DataFacts

        return DataFacts(
            num_users=self.vocabulary.num_users,
            num_items=self.vocabulary.num_items,
            label_range=self.dataset.rating_range,
            users=Columns(self.dataset.users),
            items=Columns(self.dataset.items),
            neighbours=self.neighbours,
            learned_by_run=len(self.split.fit if self.recipe.refits else self.split.train),
            links=self.links,
        )

    def records(self, part: Interactions) -> Interactions:
        """A part without the examples that were made of its histories: what baselines count."""
        return part.take(np.flatnonzero(part.rows < len(self.used_rows)))

    def ids(self, part: Interactions) -> tuple[list[str], list[str]]:
        """User ids and item ids of numbered interactions, as `Recommender.score` takes them."""
        return self.vocabulary.user_ids(part.user), self.vocabulary.item_ids(part.item)

    @cached_property
    def titles(self) -> list[str]:
        """Title of each item in vocabulary order."""
        return titles(self.dataset.items)

    @cached_property
    def digest(self) -> str:
        """Digest of everything that training reads."""
        numbers, parts = self.interactions, self.split
        arrays: list[NDArray[Any]] = [
            numbers.user,
            numbers.item,
            numbers.label,
            numbers.timestamp,
            parts.train,
            parts.valid,
            parts.test,
        ]
        if numbers.confidence is not None:
            arrays.append(numbers.confidence)
        if numbers.history is not None:
            told = numbers.history
            arrays += [told.item, told.label, told.begin, told.end]
        if self.neighbours is not None:
            arrays += [self.neighbours.entity, self.neighbours.relation]
        if self.links is not None:
            arrays += [self.links.user, self.links.other]
        return prepared_digest(
            arrays,
            self.texts,
            self.wordings,
            (self.user_rows, self.item_rows),
            (self.vocabulary.users, self.vocabulary.items),
        )

"""Tasks: the recipes on whose splits peers are measured, opened by the package's own `prepare`."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from llmrec_peft.data.interactions import Interactions
from llmrec_peft.evaluation.measures import Measure
from llmrec_peft.evaluation.outcomes import Outcome, rank_targets, sampled_rows
from llmrec_peft.experiment.prepare import prepare
from llmrec_peft.experiment.prepared import Prepared
from llmrec_peft.recipe import load_recipe
from peers.contract import Scores
from peers.learned import Learned

SAMPLE = 3000
"""Validation examples on which settings are chosen, at most; the package's own baselines choose on as many."""


@dataclass(frozen=True)
class Task:
    """A recipe on a data set.

    Attributes:
        name: Name in the tables.
        recipe: Registered name.
        data: Folder below the folder of the data sets.
        set: Further settings of the recipe.
        timed: Whether the data tell the order of interactions; where they do not, the reader draws one.
        published: What the literature reports on this split, in words.
        report: Committed report of `llmrec bench` and its row that hold our figures, where ``figures.json`` does not.
    """

    name: str
    recipe: str
    data: str
    set: Mapping[str, Any] = field(default_factory=dict)
    timed: bool = True
    published: str = ""
    report: tuple[str, str] | None = None

    def opened(self, data: Path) -> Arena:
        """Read and divide the data as a training of the recipe does."""
        changes = {"data.path": str(data / self.data), **self.set}
        return Arena(self, prepare(load_recipe(self.recipe, changes=changes)))


WITHOUT_FILE = "with a training file that is not here: SASRec {}, MiniOneRec {} (hr@10 / ndcg@10)"
TASKS = (
    Task(
        "next purchase, MiniOneRec Industrial",
        "minionerec",
        "minionerec",
        {"data.options.category": "Industrial_and_Scientific"},
        published=WITHOUT_FILE.format("0.109 / 0.081", "0.159 / 0.117"),
    ),
    Task(
        "next purchase, MiniOneRec Office",
        "minionerec",
        "minionerec",
        {"data.options.category": "Office_Products"},
        published="with a training file that is not here: MiniOneRec 0.163 / 0.124 (hr@10 / ndcg@10)",
    ),
    Task("next game, Steam", "games", "steam-200k", timed=False),
    Task("next artist, Last.fm", "music", "lastfm-hetrec", timed=False),
    Task("next film, MovieLens-100K", "movies-ranking", "ml-100k"),
    Task(
        "next purchase, Scientific",
        "amazon-scientific",
        "iisan-scientific",
        report=("clicks-and-rankings", "scientific"),
    ),
    Task("stars, MovieLens-100K u1", "movies", "ml-100k", report=("movies-u1", "movies-u1")),
    Task("stars, FilmTrust", "social", "filmtrust"),
    Task("stars, Amazon Magazines", "ecommerce", "amazon-magazines"),
)


@dataclass(frozen=True)
class Arena:
    """A task with its data: what may be learned from for validation and for test, and how answers are measured."""

    task: Task
    prepared: Prepared

    @property
    def head(self) -> str:
        """Name of the head whose task is measured."""
        return next(iter(self.prepared.recipe.reads.heads))

    @property
    def kind(self) -> str:
        """Task of the head: ``ranking`` or ``rating``."""
        return str(self.prepared.recipe.reads.heads[self.head].task)

    @property
    def metric(self) -> str:
        """Primary metric, by which settings are chosen."""
        return str(self.prepared.recipe.reads.heads[self.head].metric)

    @property
    def measure(self) -> Measure:
        """The package's own metric code."""
        return self.prepared.measures[self.head]

    @cached_property
    def before(self) -> Learned:
        """What is learned from to choose settings: training."""
        return self._learned(self.prepared.protocol.train)

    @cached_property
    def final(self) -> Learned:
        """What is learned from for test: as much as the recipe's own model and baselines."""
        return self._learned(self.prepared.protocol.learned)

    @cached_property
    def choosing(self) -> Interactions:
        """The validation examples on which settings are chosen."""
        return self.prepared.valid.take(sampled_rows(len(self.prepared.valid), SAMPLE))

    @property
    def ranks_own_items(self) -> bool:
        """Whether what a user has met is ranked again."""
        return self.kind == "ranking" and self.prepared.protocol.own_items

    def outcome(self, scores: Scores, part: Interactions, own_items: bool | None = None) -> Outcome:
        """Score examples, and rank their items in the whole catalogue where rankings are asked for.

        Args:
            scores: A fitted peer.
            part: Examples.
            own_items: Whether a peer lists what the user has met; None for the recipe's rule.
        """
        if self.kind == "rating":
            return np.clip(scores(part), *self.prepared.dataset.rating_range)
        found = functools.partial(_chunk, scores, part)
        own = self.prepared.protocol.own_items if own_items is None else own_items
        return rank_targets(part, found, self.prepared.vocabulary.num_items, own_items=own)

    def figures(self, outcome: Outcome, part: Interactions) -> dict[str, float]:
        """Return every metric of an outcome."""
        return self.measure.report(outcome, part)

    def _learned(self, known: Interactions) -> Learned:
        prepared = self.prepared
        sizes = prepared.vocabulary.num_users, prepared.vocabulary.num_items
        gives = prepared.dataset.gives_histories and prepared.recipe.data.history != "earlier"
        return Learned(prepared.records(known), *sizes, gives, self.task.timed)


def _chunk(scores: Scores, part: Interactions, rows: Any) -> Any:
    return scores(part.take(rows))

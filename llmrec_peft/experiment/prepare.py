"""Prepare: from a recipe to numbered, divided interactions and what texts are made of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmrec_peft import registry
from llmrec_peft.data.dataset import RecDataset, column, without_duplicates
from llmrec_peft.data.graph import Neighbours
from llmrec_peft.data.histories import Histories, earlier, given
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.data.leakage import Leak, find_leaks, require_no_leaks
from llmrec_peft.data.source import Reader
from llmrec_peft.data.splits import Split, drawn, split
from llmrec_peft.data.subset import with_fewer_items
from llmrec_peft.data.views import ViewTemplate
from llmrec_peft.data.vocabulary import Vocabulary
from llmrec_peft.errors import InputError
from llmrec_peft.experiment.augmentations import idle_augmentations, require_mixable
from llmrec_peft.identity import arrays_digest, values_digest
from llmrec_peft.recipe import DEMO, Recipe
from llmrec_peft.recipe.reads import bare_heads, bare_signals, knows_history, reads_prompt
from llmrec_peft.recipe.sections import DataSection

DEMO_SEED = 0
"""Seed of made-up data; not the run's seed, so that runs of several seeds share one dataset."""


@dataclass(frozen=True)
class Prepared:
    """A dataset ready to be trained on.

    Attributes:
        dataset: As it was read.
        vocabulary: Numbers of users and items.
        interactions: The interactions of all parts, numbered, with histories where the recipe reads them.
        split: Rows of training, validation and test.
        texts: Text of each item index; index 0 (unknown) has an empty one.
        wordings: Further texts of each item index, from the view's variants.
        neighbours: Knowledge graph around the items, where the recipe uses one.
        leaks: What gives test examples away, where the recipe allows it.
        used_rows: Row of each interaction in the dataset, int64 [n]; what was made of histories has none.
    """

    dataset: RecDataset
    vocabulary: Vocabulary
    interactions: Interactions
    split: Split
    texts: tuple[str, ...]
    neighbours: Neighbours | None
    wordings: tuple[tuple[str, ...], ...] = ()
    leaks: tuple[Leak, ...] = ()
    used_rows: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

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

    def records(self, part: Interactions) -> Interactions:
        """A part without the examples that were made of its histories: what trivial lines count."""
        return part.take(np.flatnonzero(part.rows < len(self.used_rows)))

    def ids(self, part: Interactions) -> tuple[list[str], list[str]]:
        """User ids and item ids of numbered interactions, as `Recommender.score` takes them."""
        users, items = self.vocabulary.users, self.vocabulary.items
        return [users[index - 1] for index in part.user], [items[index - 1] for index in part.item]

    @property
    def titles(self) -> list[str]:
        """Title of each item in vocabulary order."""
        return [str(title) for title in column(self.dataset.items, "title")]

    @cached_property
    def item_rows(self) -> list[Mapping[str, Any]]:
        """Columns of each item index; index 0 has none."""
        return [{}, *self.dataset.items]

    @cached_property
    def user_rows(self) -> list[Mapping[str, Any]]:
        """Columns of each user index; index 0 has none."""
        return [{}, *self.dataset.users]

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
        if numbers.history is not None:
            told = numbers.history
            arrays += [told.item, told.label, told.begin, told.end]
        if self.neighbours is not None:
            arrays += [self.neighbours.entity, self.neighbours.relation]
        columns = json.dumps([self.user_rows, self.item_rows], sort_keys=True, default=str)
        names = [self.vocabulary.users, self.vocabulary.items]
        return values_digest([arrays_digest(arrays), list(self.texts), self.wordings, columns, names])


def read_dataset(section: DataSection) -> RecDataset:
    """Read the data of a recipe, or make its demo set up.

    Raises:
        InputError: When there is no path, or the files are not what they should be.
    """
    source: Reader = registry.get("readers", section.reader)()
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
    """Read, number, divide, look for leaks, and render items.

    Returns:
        The recipe with signals that the data cannot feed switched off, and the prepared data.

    Raises:
        InputError: When the data or the templates are not what they should be, or give answers away.
    """
    require_mixable(recipe)
    dataset = read_dataset(recipe.data)
    _require_labels(dataset)
    recipe, dataset = _without_graph(recipe, dataset)
    require_useful(recipe, dataset)
    dataset = replace(dataset, notes=(*dataset.notes, *idle_augmentations(recipe)))
    vocabulary = Vocabulary.of(column(dataset.users, "user_id"), column(dataset.items, "item_id"))
    section = recipe.data
    parts = split(dataset, section.split, section.test_fraction, section.valid_fraction, section.split_seed)
    if section.train_size != "all":
        parts = drawn(parts, section.train_size, recipe.seed)
    used = parts.used
    interactions = Interactions.of(dataset, vocabulary)
    interactions = replace(interactions.take(used), row=None)
    divided = parts.renumbered()
    _require_classes(recipe, dataset, interactions, divided)
    if knows_history(recipe):
        history = _histories(recipe, dataset, vocabulary, interactions, divided, used)
        if not dataset.repeats:
            history, own = history.without(interactions.item, divided.train)
            if own:
                told = f"{own} training examples have their own item in their history: it was taken out of it"
                dataset = replace(dataset, notes=(*dataset.notes, told))
        interactions = replace(interactions, history=history)
    texts, wordings = _item_texts(recipe, dataset)
    leaks = find_leaks(
        interactions,
        divided,
        texts,
        ["", *(str(title) for title in column(dataset.items, "title"))],
        repeats=dataset.repeats,
        in_time=section.split == "temporal",
        user_texts=_user_texts(recipe, dataset),
    )
    if not section.allow_leakage:
        require_no_leaks(leaks)
    if section.expand_histories:
        if not dataset.gives_histories or section.history == "earlier":
            raise InputError("data.expand_histories: only histories that the owner gives can be made examples of")
        size = len(interactions)
        interactions = interactions.expanded(divided.train)
        divided = divided.growing(size, len(interactions))
    if section.liked_above is None and (recipe.views.user is not None or recipe.views.prompt is not None):
        recipe = recipe.changed({"data.liked_above": sum(dataset.rating_range) / 2.0})
    empty = sum(not text for text in texts[1:])
    if empty:
        dataset = replace(dataset, notes=(*dataset.notes, f"{empty} items have no text: nothing can be read of them"))
    return recipe, Prepared(
        dataset,
        vocabulary,
        interactions,
        divided,
        texts,
        _neighbours(recipe, dataset, vocabulary),
        wordings,
        tuple(leaks),
        used,
    )


def _require_labels(dataset: RecDataset) -> None:
    """Refuse labels that the owner's scale does not have."""
    label = np.asarray(column(dataset.interactions, "rating"), np.float64)
    low, high = dataset.rating_range
    wrong = np.flatnonzero(~((label >= low) & (label <= high)))
    if len(wrong):
        raise InputError(
            f"{dataset.name}: label {label[wrong[0]]:g} of interaction {wrong[0]} lies outside {low:g} to {high:g}"
            f" ({len(wrong)} such)"
        )


def _require_classes(recipe: Recipe, dataset: RecDataset, interactions: Interactions, parts: Split) -> None:
    """Refuse clicks of which validation or test holds one class alone: nothing there can be told apart."""
    clicks = {name: head for name, head in bare_heads(recipe).items() if head.task == "click"}
    for name, head in clicks.items():
        for part, rows in (("validation", parts.valid), ("test", parts.test)):
            observed = head.observed(interactions.label[rows], dataset.rating_range)
            if len(np.unique(observed)) == 1:
                raise InputError(
                    f"head {name}: all {len(rows)} {part} examples of {dataset.name} are"
                    f" {'positive' if observed[0] else 'negative'}: AUC needs both classes, choose another"
                    " data.split or head.threshold"
                )


def _without_graph(recipe: Recipe, dataset: RecDataset) -> tuple[Recipe, RecDataset]:
    """Switch signals off that need a graph where there is none, and say so."""
    needing = [name for name in recipe.signals.active if registry.get("signals", name).reads_graph]
    if dataset.graph is not None or not needing:
        return recipe, dataset
    note = f"no knowledge graph given: signal {', '.join(needing)} is off (data.graph=DIR turns it on)"
    off = recipe.changed({f"signals.{name}": False for name in needing})
    if not off.signals.active:
        raise InputError(f"signals: {', '.join(needing)} need a knowledge graph, and there is none: give data.graph")
    return off, replace(dataset, notes=(*dataset.notes, note))


def require_useful(recipe: Recipe, dataset: RecDataset) -> None:
    """Refuse signals that can say nothing in this recipe, or of this data."""
    users, items = dataset.users.column_names, dataset.items.column_names
    for signal in bare_signals(recipe).values():
        why = signal.refusal(users, items, reads_prompt(recipe))
        if why is not None:
            raise InputError(why)


def _histories(
    recipe: Recipe,
    dataset: RecDataset,
    vocabulary: Vocabulary,
    interactions: Interactions,
    parts: Split,
    used: NDArray[np.int64],
) -> Histories:
    """What each example's user had met before, by what the recipe's protocol lets be known."""
    section = recipe.data
    if section.history == "given" and not dataset.gives_histories:
        raise InputError(f"data.history: {dataset.name} gives no histories; choose earlier")
    if dataset.gives_histories and section.history != "earlier":
        table = dataset.interactions.select(used)
        return given(column(table, "history"), column(table, "history_rating"), vocabulary.item_indices)
    if section.protocol == "prequential":
        known = {"train": parts.train, "valid": parts.fit, "test": parts.used}
    else:
        known = {"train": parts.train, "valid": parts.train}
        known["test"] = parts.train if section.protocol == "train" else parts.fit
    numbers = interactions
    asked = {name: getattr(parts, name) for name in ("train", "valid", "test")}
    found = [
        earlier(numbers.user, numbers.item, numbers.label, numbers.timestamp, rows, known[name])
        for name, rows in asked.items()
    ]
    joined = found[0].joined(found[1]).joined(found[2])
    order = np.argsort(np.concatenate(list(asked.values())), kind="stable")
    histories = joined.take(order)
    if not (histories.lengths > 0).any():
        raise InputError(
            f"{dataset.name} has no histories: nobody met anything before, by its timestamps; switch off what reads"
            " histories (signals.history=false, a head or a view that tells them)"
        )
    return histories


def _user_texts(recipe: Recipe, dataset: RecDataset) -> list[str]:
    """Texts of users that tell no history, rendered to look for titles in them."""
    view = recipe.views.user
    reads = any(signal.reads_user_text for signal in bare_signals(recipe).values())
    if view is None or not reads or "history" in view.template:
        return []
    template = ViewTemplate(view.template)
    return ["", *(template.render({"user": row, "history": []}) for row in dataset.users)]


def _item_texts(recipe: Recipe, dataset: RecDataset) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    view = recipe.views.item
    texts, *wordings = (
        ("", *ViewTemplate(template).render_all(dataset.items)) for template in (view.template, *view.variants)
    )
    return texts, tuple(wordings)


def _neighbours(recipe: Recipe, dataset: RecDataset, vocabulary: Vocabulary) -> Neighbours | None:
    if dataset.graph is None:
        return None
    for name, options in recipe.signals.active.items():
        if registry.get("signals", name).reads_graph:
            width, least = getattr(options, "max_neighbours", 32), getattr(options, "min_items", 2)
            return Neighbours.of(dataset.graph, vocabulary, least, width)
    return None

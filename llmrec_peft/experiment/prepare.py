"""Prepare: from a recipe to numbered, divided interactions and what texts are made of."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmrec_peft import registry
from llmrec_peft.data.dataset import RecDataset, arrow, column, titles, without_duplicates
from llmrec_peft.data.graph import Neighbours
from llmrec_peft.data.histories import Histories, earlier_by_part, listed
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.data.leakage import Leak, find_leaks, require_no_leaks
from llmrec_peft.data.links import Links
from llmrec_peft.data.rows import Rows
from llmrec_peft.data.soundness import sound
from llmrec_peft.data.source import Reader
from llmrec_peft.data.splits import Split, drawn, split
from llmrec_peft.data.subset import with_fewer_items
from llmrec_peft.data.views import ViewTemplate
from llmrec_peft.data.vocabulary import Vocabulary
from llmrec_peft.errors import InputError
from llmrec_peft.experiment.augmentations import idle_augmentations, require_mixable
from llmrec_peft.experiment.learnable import require_learnable
from llmrec_peft.experiment.prepared import Prepared
from llmrec_peft.recipe import DEMO, Recipe
from llmrec_peft.recipe.sections import DataSection

__all__ = ["DEMO_SEED", "Prepared", "prepare", "read_dataset", "read_source", "require_useful"]

DEMO_SEED = 0
"""Seed of made-up data; not the run's seed, so that runs of several seeds share one dataset."""


def read_dataset(section: DataSection, dataset: RecDataset | None = None) -> RecDataset:
    """Read the data of a recipe, or make its demo set up, unless it is handed over.

    Args:
        section: Where the data is.
        dataset: The data itself, if it is in memory.

    Raises:
        InputError: When there is no path, or the files are not what they should be.
    """
    dataset = sound(read_source(section) if dataset is None else dataset)
    if section.max_items is not None:
        dataset = with_fewer_items(dataset, section.max_items, section.split_seed)
    return without_duplicates(dataset)


def read_source(section: DataSection) -> RecDataset:
    """Read the data with the reader that the recipe names, as it returns them.

    Raises:
        InputError: When there is no path, or the files are not what they should be.
    """
    source: Reader = registry.get("readers", section.reader).opened(section.options)
    if section.path is None or not source.takes_path:
        raise InputError(source.no_path(section.reader))
    if section.path == DEMO:
        return source.demo(DEMO_SEED)
    return source.read(Path(section.path), Path(section.graph) if section.graph else None)


@contextmanager
def _without_collecting() -> Iterator[None]:
    """Pause Python's garbage collector: while rows of users and items are made it takes a fifth of the time."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


@_without_collecting()
def prepare(recipe: Recipe, dataset: RecDataset | None = None) -> Prepared:
    """Read, number and divide a recipe's data, look for leaks, and render items.

    Args:
        recipe: What to do.
        dataset: The data, if it is in memory; else the recipe's reader reads it.

    Raises:
        InputError: When the data or the templates are not what they should be, or give answers away.
    """
    recipe, dataset = _read(recipe, dataset)
    vocabulary = Vocabulary.of(column(dataset.users, "user_id"), column(dataset.items, "item_id"))
    division = _divided(recipe, dataset, vocabulary)
    require_learnable(recipe, dataset, division.interactions, division.parts)
    division, own_left_out = _with_histories(recipe, dataset, vocabulary, division)
    user_rows, item_rows = Rows(dataset.users), Rows(dataset.items)
    try:
        texts, wordings = _item_texts(recipe, item_rows)
    except InputError as error:
        raise InputError(dataset.with_files(str(error))) from None
    leaks = _leaks(recipe, dataset, division, texts, _user_texts(recipe, user_rows))
    if recipe.data.expand_histories:
        division = _expanded(recipe, dataset, division)
    recipe = _with_middle(recipe, dataset)
    if dataset.items_are_users:
        recipe = recipe.changed({"data.items_are_users": True})
    unread = _unread(recipe, vocabulary, division)
    return Prepared(
        recipe,
        _noted(dataset, *own_left_out, *_textless(texts), *unread),
        vocabulary,
        division.interactions,
        division.parts,
        user_rows,
        item_rows,
        texts,
        _neighbours(recipe, dataset, vocabulary),
        wordings,
        tuple(leaks),
        division.used_rows,
        _links(recipe, dataset, vocabulary),
    )


@dataclass(frozen=True)
class _Division:
    """Numbered interactions and which of them train, choose and are reported.

    Attributes:
        interactions: The interactions of all parts.
        parts: Their rows by part.
        used_rows: Row of each in the dataset, int64 [n].
    """

    interactions: Interactions
    parts: Split
    used_rows: NDArray[np.int64]


def _read(recipe: Recipe, given: RecDataset | None) -> tuple[Recipe, RecDataset]:
    """Read the data, refuse what cannot be learned from it, and switch off signals that it cannot feed."""
    require_mixable(recipe)
    dataset = read_dataset(recipe.data, given)
    recipe, dataset = _without_graph(recipe, dataset)
    _require_links(recipe, dataset)
    require_useful(recipe, dataset)
    return recipe, _noted(dataset, *idle_augmentations(recipe))


def _noted(dataset: RecDataset, *notes: str) -> RecDataset:
    return dataset if not notes else replace(dataset, notes=(*dataset.notes, *notes))


def _divided(recipe: Recipe, dataset: RecDataset, vocabulary: Vocabulary) -> _Division:
    """Number the interactions and divide them as the recipe says."""
    section = recipe.data
    parts = split(dataset, section.split, section.test_fraction, section.valid_fraction, section.split_seed)
    if section.train_size != "all":
        parts = drawn(parts, section.train_size, recipe.seed)
    used, interactions = parts.used, Interactions.of(dataset, vocabulary)
    if len(used) == len(interactions):  # every row is in a part
        return _Division(interactions, parts, used)
    return _Division(replace(interactions.take(used), row=None), parts.renumbered(), used)


def _with_histories(
    recipe: Recipe, dataset: RecDataset, vocabulary: Vocabulary, division: _Division
) -> tuple[_Division, list[str]]:
    """Give each interaction its user's history, where the recipe reads one; and what had to be left out of them."""
    if not recipe.reads.prepares_history:
        return division, []
    history, notes = _histories(recipe, dataset, vocabulary, division), []
    if not dataset.repeats:
        history, own = history.without(division.interactions.item, division.parts.train)
        if own:
            notes.append(f"{own} training examples have their own item in their history: it was taken out of it")
    return replace(division, interactions=replace(division.interactions, history=history)), notes


def _leaks(
    recipe: Recipe, dataset: RecDataset, division: _Division, texts: Sequence[str], user_texts: Sequence[str]
) -> list[Leak]:
    """Look for examples that are given away, and refuse those that the recipe does not let pass."""
    leaks = find_leaks(
        division.interactions,
        division.parts,
        texts,
        ["", *titles(dataset.items)],
        repeats=dataset.repeats,
        in_time=recipe.data.split == "temporal",
        user_texts=user_texts,
    )
    require_no_leaks([leak for leak in leaks if not recipe.data.lets_pass(leak.name)])
    return leaks


def _expanded(recipe: Recipe, dataset: RecDataset, division: _Division) -> _Division:
    """Make training examples of the labelled entries of given histories."""
    if not dataset.gives_histories or recipe.data.history == "earlier":
        raise InputError("data.expand_histories: only histories that the owner gives can be made examples of")
    size = len(division.interactions)
    interactions = division.interactions.expanded(division.parts.train)
    return replace(division, interactions=interactions, parts=division.parts.growing(size, len(interactions)))


def _with_middle(recipe: Recipe, dataset: RecDataset) -> Recipe:
    """Fill in above which label texts call an item liked: the middle of the owner's scale."""
    tells = recipe.views.user is not None or recipe.views.prompt is not None
    if recipe.data.liked_above is not None or not tells:
        return recipe
    return recipe.changed({"data.liked_above": sum(dataset.rating_range) / 2.0})


def _textless(texts: Sequence[str]) -> list[str]:
    empty = sum(not text for text in texts[1:])
    return [f"{empty} items have no text: nothing can be read of them"] if empty else []


def _without_graph(recipe: Recipe, dataset: RecDataset) -> tuple[Recipe, RecDataset]:
    """Switch signals off that need a graph where there is none, and say so."""
    needing = recipe.reads.graph_signals
    if dataset.graph is not None or not needing:
        return recipe, dataset
    source = dataset.brought_by.get("graph")
    how = "data.graph=DIR turns it on" if source is None else f"it would come from {source}"
    note = f"no knowledge graph given: signal {', '.join(needing)} is off ({how})"
    off = recipe.changed({f"signals.{name}": False for name in needing})
    if not off.signals.active:
        how = "give data.graph" if source is None else how
        raise InputError(f"signals: {', '.join(needing)} need a knowledge graph, and there is none: {how}")
    return off, _noted(dataset, note)


def _require_links(recipe: Recipe, dataset: RecDataset) -> None:
    """Refuse signals that need links between users where there are none, and name the file that would bring them."""
    needing = recipe.reads.link_signals
    if needing and dataset.user_links is None:
        name = f"signals.{needing[0]}"
        why = f"{name}: {dataset.name} comes without links between users; leave the signal out ({name}=false)"
        raise InputError(dataset.with_files(why, "user_links"))


def require_useful(recipe: Recipe, dataset: RecDataset) -> None:
    """Refuse signals that can say nothing in this recipe, or of this data."""
    users, items = dataset.users.column_names, dataset.items.column_names
    for signal in recipe.reads.signals.values():
        why = signal.refusal(users, items, recipe.reads.prompt)
        if why is not None:
            raise InputError(dataset.with_files(why))


def _unread(recipe: Recipe, vocabulary: Vocabulary, division: _Division) -> list[str]:
    """Say which interactions signals pass over."""
    known = division.interactions.take(division.parts.fit if recipe.refits else division.parts.train)
    sizes, ranks = (vocabulary.num_users, vocabulary.num_items), recipe.reads.primary.task == "ranking"
    said = (signal.unread(known, *sizes, ranks) for signal in recipe.reads.signals.values())
    return [line for line in said if line is not None]


def _histories(recipe: Recipe, dataset: RecDataset, vocabulary: Vocabulary, division: _Division) -> Histories:
    """What each example's user had met before, by what the recipe's protocol lets be known."""
    section, parts, numbered = recipe.data, division.parts, division.interactions
    if section.history == "given" and not dataset.gives_histories:
        raise InputError(f"data.history: {dataset.name} gives no histories; choose earlier")
    if dataset.gives_histories and section.history != "earlier":
        table = arrow(dataset.interactions).select(["history", "history_rating"]).take(division.used_rows)
        return listed(table.column("history"), table.column("history_rating"), vocabulary.items)
    if section.protocol == "prequential":
        known = {"train": parts.train, "valid": parts.fit, "test": parts.used}
    else:
        known = {"train": parts.train, "valid": parts.train}
        known["test"] = parts.train if section.protocol == "train" else parts.fit
    histories = earlier_by_part(
        numbered.user,
        numbered.item,
        numbered.label,
        numbered.timestamp,
        [(getattr(parts, name), known[name]) for name in ("train", "valid", "test")],
    )
    if not (histories.lengths > 0).any():
        raise InputError(
            f"{dataset.name} has no histories: nobody met anything before, by its timestamps; switch off what reads"
            " histories (signals.history=false, a head or a view that tells them)"
        )
    return histories


def _user_texts(recipe: Recipe, user_rows: Rows) -> list[str]:
    """Texts of users that tell no history, rendered to look for titles in them."""
    view = recipe.views.user
    if view is None or not recipe.reads.user_text or recipe.reads.user_text_by_example:
        return []
    told = ({"user": row, "history": []} for row in user_rows.known())
    return ["", *ViewTemplate(view.template, "views.user.template").render_all(told)]


def _item_texts(recipe: Recipe, item_rows: Rows) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Text of each item index, and further ones from the view's variants; index 0 has an empty one."""
    view = recipe.views.item
    texts, *wordings = (
        ("", *ViewTemplate(template, where).render_all(item_rows.known()))
        for where, template in (
            ("views.item.template", view.template),
            *((f"views.item.variants.{at}", variant) for at, variant in enumerate(view.variants)),
        )
    )
    return texts, tuple(wordings)


def _neighbours(recipe: Recipe, dataset: RecDataset, vocabulary: Vocabulary) -> Neighbours | None:
    """Number the knowledge graph around the items, as wide as the first signal that reads it asks for."""
    if dataset.graph is None or not recipe.reads.graph_signals:
        return None
    options = recipe.signals.active[recipe.reads.graph_signals[0]]
    width, least = getattr(options, "max_neighbours", 32), getattr(options, "min_items", 2)
    return Neighbours.of(dataset.graph, vocabulary, least, width)


def _links(recipe: Recipe, dataset: RecDataset, vocabulary: Vocabulary) -> Links | None:
    """Number the links between users, where a signal reads them."""
    if dataset.user_links is None or not recipe.reads.link_signals:
        return None
    return Links.of(dataset.user_links, vocabulary)

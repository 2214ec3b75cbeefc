"""Newer data: what a run has not learned from yet, joined with what it has, old users and items first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.data.dataset import RecDataset, arrow, column, places_of, titles
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.data.tables import dataset_of, interactions_table
from llmrec_peft.data.vocabulary import UNKNOWN, Vocabulary
from llmrec_peft.errors import InputError

if TYPE_CHECKING:
    from datasets import Dataset

    from llmrec_peft.experiment.parent import Parent

FEWEST = 2
"""New interactions to learn from, and to compare on, at least."""


class TooFewError(InputError):
    """The newer data has too few new interactions; with more of them there can be an update."""


@dataclass(frozen=True)
class NewerData:
    """Old and new interactions as one dataset whose ``part`` says what each is for.

    Training are the old ones that the run learned from, then the new ones but for the newest; validation is the old
    window, test the newest one.

    Attributes:
        dataset: The dataset; its users and items are those of the run, in their order, then the new ones.
        old: Number of old training interactions; they come first.
        new: Number of new ones; they follow.
        undescribed: Items of the run, by index, that the newer data does not describe, int64 [n].
    """

    dataset: RecDataset
    old: int
    new: int
    undescribed: NDArray[np.int64]

    @property
    def rows(self) -> NDArray[np.int64]:
        """Places of the new interactions among those of training, int64 [new]."""
        return np.arange(self.old, self.old + self.new)


def with_scale_of(parent: Parent, given: RecDataset) -> RecDataset:
    """Return newer ratings with a scale that covers what the run learned: a few labels show only a part of it."""
    label = parent.learned.label
    if given.feedback != "rating" or not len(label):
        return given
    low, high = given.rating_range
    return replace(given, rating_range=(min(low, float(label.min())), max(high, float(label.max()))))


def newer_data(parent: Parent, given: RecDataset, window: float, seed: int) -> NewerData:
    """Find what a run has not learned from, and join it with what it has.

    The old window is drawn from the examples that the run was tested on, as many as the newest window has; the others
    are new interactions, where the given data has them.

    Args:
        parent: The run.
        given: All interactions up to now, or the new ones alone; as its recipe's reader and `read_dataset` return them.
        window: Share of the new interactions, the newest, that is kept for the comparison.
        seed: Seed of what is drawn.

    Raises:
        TooFewError: If there are too few new interactions.
    """
    users = Vocabulary.of([*parent.vocabulary.users, *column(given.users, "user_id")], ()).users
    items = Vocabulary.of((), [*parent.vocabulary.items, *column(given.items, "item_id")]).items
    vocabulary, learned = Vocabulary(users, items), parent.learned
    numbered = replace(Interactions.of(given, vocabulary), person=None, impression=None)
    fresh = numbered.take(np.flatnonzero(~_among(_rows(numbered), _rows(learned))))
    rng = np.random.default_rng([seed, 15])
    as_many = round(len(fresh) * window / (1.0 + window))  # the newest window is a share of what the draw leaves
    old_window = _drawn(_tested(parent, vocabulary), max(1, as_many), rng)
    held = _matched(old_window, fresh)
    old_window = replace(old_window, timestamp=_times(old_window, held, fresh, learned))
    fresh = fresh.take(np.setdiff1d(np.arange(len(fresh)), held[held >= 0]))
    if not given.repeats:  # an old opinion of a pair is replaced by the newer one
        pairs = _pairs(fresh)
        learned = learned.take(np.flatnonzero(~_among(_pairs(learned), pairs)))
        old_window = old_window.take(np.flatnonzero(~_among(_pairs(old_window), pairs)))
    order = _by_time(fresh, rng)
    newest = round(len(order) * window)
    if min(newest, len(order) - newest) < FEWEST or not len(old_window):
        raise TooFewError(
            f"{given.name}: {len(fresh)} interactions are new to {parent.folder}: too few to learn from and to compare"
            f" on the newest {window:.0%} of them (update.window)"
        )
    new = fresh.take(np.sort(order[:-newest]))
    parts = {"train": [learned, new], "valid": [old_window], "test": [fresh.take(np.sort(order[-newest:]))]}
    items_table, undescribed = _items(parent, given.items, items)
    dataset = replace(
        given,
        interactions=_table(parts, vocabulary),
        users=_in_order(given.users, "user_id", users),
        items=items_table,
    )
    return NewerData(dataset, len(learned), len(new), undescribed)


def _tested(parent: Parent, vocabulary: Vocabulary) -> Interactions:
    """Return the examples that the run was tested on, whose user and item it knows."""
    tested = parent.tested
    user, item = vocabulary.user_indices(tested.user), vocabulary.item_indices(tested.item)
    found = Interactions(user, item, tested.label, np.zeros(len(user), np.int64))
    return found.take(np.flatnonzero((user != UNKNOWN) & (item != UNKNOWN)))


def _drawn(examples: Interactions, count: int, rng: np.random.Generator) -> Interactions:
    if count >= len(examples):
        return examples
    return examples.take(np.sort(rng.choice(len(examples), count, replace=False)))


def _by_time(fresh: Interactions, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the rows from the oldest to the newest; those of one moment in random order."""
    shuffled = rng.permutation(len(fresh))
    return shuffled[np.argsort(fresh.timestamp[shuffled], kind="stable")]


def _rows(one: Interactions) -> NDArray[np.int64]:
    """Return user, item, label and time of interactions as whole numbers, int64 [n, 4]."""
    return np.stack([one.user, one.item, _label(one), one.timestamp], axis=1)


def _pairs(one: Interactions) -> NDArray[np.int64]:
    return np.stack([one.user, one.item], axis=1)


def _label(one: Interactions) -> NDArray[np.int64]:
    return np.ascontiguousarray(one.label, np.float32).view(np.int32).astype(np.int64)


def _among(rows: NDArray[np.int64], known: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which rows are among the known ones, bool [n]."""
    code = _codes(rows, known)
    return np.isin(code[: len(rows)], code[len(rows) :])


def _codes(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return one number for each distinct row of two matrices, int64 [n + m]."""
    codes = np.zeros(len(first) + len(second), np.int64)
    for column_values in np.concatenate([first, second]).T:
        _, place = np.unique(column_values, return_inverse=True)
        _, codes = np.unique(codes * (int(place.max(initial=0)) + 1) + place, return_inverse=True)
    return codes


def _matched(examples: Interactions, fresh: Interactions) -> NDArray[np.int64]:
    """Return the row of each example among the new interactions, each row at most once, -1 for none, int64 [n]."""
    asked, there = (np.stack([one.user, one.item, _label(one)], axis=1) for one in (examples, fresh))
    code = _codes(asked, there)
    wanted, known = code[: len(asked)], code[len(asked) :]
    rows: dict[int, list[int]] = {}
    for row in np.flatnonzero(np.isin(known, wanted))[::-1].tolist():
        rows.setdefault(int(known[row]), []).append(row)
    found = (rows[one].pop() if rows.get(one) else -1 for one in wanted.tolist())
    return np.fromiter(found, np.int64, len(wanted))


def _times(
    examples: Interactions, held: NDArray[np.int64], fresh: Interactions, learned: Interactions
) -> NDArray[np.int64]:
    """Return the time of each example: its own where the newer data has it, else right after what the run learned."""
    time = np.full(len(examples), int(learned.timestamp.max(initial=0)), np.int64)
    time[held >= 0] = fresh.timestamp[held[held >= 0]]
    return time


def _table(parts: dict[str, list[Interactions]], vocabulary: Vocabulary) -> Dataset:
    """Return the interactions of all parts as the table of a dataset; no Python object is made for any."""
    import pyarrow as pa

    every = [one for some in parts.values() for one in some]
    user, item, label, time = (
        np.concatenate([getattr(one, name) for one in every]) for name in ("user", "item", "label", "timestamp")
    )
    users, items = (pa.array(ids, pa.string()) for ids in (vocabulary.users, vocabulary.items))
    named = [pa.repeat(pa.scalar(name, pa.string()), sum(map(len, some))) for name, some in parts.items()]
    ids = users.take(pa.array(user - 1)), items.take(pa.array(item - 1))
    return interactions_table(*ids, label, time, pa.concat_arrays(named))


def _in_order(table: Dataset, key: str, ids: Sequence[str]) -> Dataset:
    """Return a table with one row for each id, in their order; ids that it lacks have empty columns."""
    import pyarrow as pa

    rows = arrow(table)
    place = places_of(pa.chunked_array([pa.array(ids, pa.string())]), rows.column(key), start=0)
    taken = rows.take(pa.array(place, mask=place < 0))
    return dataset_of(taken.set_column(taken.schema.get_field_index(key), key, pa.array(ids, pa.string())))


def _items(parent: Parent, table: Dataset, ids: Sequence[str]) -> tuple[Dataset, NDArray[np.int64]]:
    """Return the items in order, and the indices of those that the newer data lacks: they keep their titles."""
    import pyarrow as pa

    known = set(column(table, "item_id"))
    lacking = [at for at, one in enumerate(parent.vocabulary.items) if one not in known]
    found = _in_order(table, "item_id", ids)
    if lacking:
        names: list[Any] = titles(found)
        for at in lacking:
            names[at] = parent.items.titles[at]
        rows = arrow(found)
        found = dataset_of(rows.set_column(rows.schema.get_field_index("title"), "title", pa.array(names, pa.string())))
    return found, np.asarray(lacking, np.int64) + 1

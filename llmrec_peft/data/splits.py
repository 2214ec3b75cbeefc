"""Splits: which interactions are trained on, which choose settings, and which are reported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.data.dataset import RecDataset, arrow, numbers, places_of
from llmrec_peft.data.order import in_time
from llmrec_peft.errors import InputError

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Row numbers of a dataset's interactions, each row in at most one part."""

    train: Rows
    valid: Rows
    test: Rows

    @property
    def fit(self) -> Rows:
        """Train and validation rows together, which a refit learns from."""
        return np.sort(np.concatenate([self.train, self.valid]))

    @property
    def used(self) -> Rows:
        """All rows of any part, in order."""
        return np.sort(np.concatenate([self.train, self.valid, self.test]))

    def growing(self, before: int, after: int) -> Split:
        """Return the same parts, with rows `before` to `after` in training too."""
        return Split(np.concatenate([self.train, np.arange(before, after, dtype=np.int64)]), self.valid, self.test)

    def renumbered(self) -> Split:
        """Return the same parts among the used rows only, numbered from 0."""
        used = self.used
        return Split(*(np.searchsorted(used, part).astype(np.int64) for part in (self.train, self.valid, self.test)))


def split(dataset: RecDataset, kind: str, test_fraction: float, valid_fraction: float, seed: int) -> Split:
    """Split a dataset's interactions; validation is taken from training only, by the same kind of split.

    Args:
        dataset: Data to split.
        kind: ``official`` (the owner's parts; validation at random if there is none), ``random``, ``temporal``
            (a global cut in time), ``leave-last-out`` (each user's last, the one before for validation),
            ``cold-item`` or ``cold-user`` (whole items or users held out).
        test_fraction: Share of interactions (of items or users for the cold ones) in the test part.
        valid_fraction: Share of the remaining interactions in the validation part.
        seed: Seed of random choices.

    Raises:
        InputError: If the data cannot be split in this way, or a part would be empty.
    """
    rng = np.random.default_rng(seed)
    rows = np.arange(len(dataset.interactions), dtype=np.int64)
    if kind == "official":
        of = {name: rows[_equals(dataset, "part", name)] for name in ("train", "valid", "test")}
        if not len(of["test"]):
            raise InputError(
                f"data.split: {dataset.name} comes without an official split here;"
                f" choose {', '.join(list(_KINDS)[:-1])} or {list(_KINDS)[-1]}"
            )
        train, valid, test = of.values()
        if len(valid) == 0:
            train, valid = _random(dataset, train, valid_fraction, rng)
    else:
        divide = _KINDS.get(kind)
        if divide is None:
            raise InputError(f"data.split: unknown split {kind!r}. Known: official, {', '.join(_KINDS)}")
        rest, test = divide(dataset, rows, test_fraction, rng)
        train, valid = divide(dataset, rest, valid_fraction, rng)
    for name, part_rows in (("training", train), ("validation", valid), ("test", test)):
        if len(part_rows) == 0:
            raise InputError(
                f"data.split: {kind} leaves no {name} interactions of {len(rows)}: {_advice(kind, name)}, or give more"
                " data"
            )
    return Split(np.sort(train), np.sort(valid), np.sort(test))


def _advice(kind: str, part: str) -> str:
    """Say what gives a part interactions."""
    if kind == "leave-last-out":
        return "no user has three; choose another data.split, such as random or temporal"
    size = {"training": "smaller data.test_fraction", "test": "larger data.test_fraction"}
    return f"choose a {size.get(part, 'larger data.valid_fraction')} or another data.split"


def drawn(parts: Split, train_size: int, seed: int) -> Split:
    """Return the same split with fewer training interactions, drawn at random.

    Args:
        parts: Split.
        train_size: Training interactions kept.
        seed: Seed of the draw.

    Raises:
        InputError: If there are fewer.
    """
    if train_size > len(parts.train):
        raise InputError(
            f"data.train_size: {train_size} training interactions were asked for, there are {len(parts.train)}"
        )
    kept = np.random.default_rng([seed, 256]).permutation(parts.train)[:train_size]
    return Split(np.sort(kept), parts.valid, parts.test)


def _random(dataset: RecDataset, rows: Rows, fraction: float, rng: np.random.Generator) -> tuple[Rows, Rows]:
    """Hold out a random share of the interactions."""
    order = rng.permutation(rows)
    count = round(len(rows) * fraction)
    return order[count:], order[:count]


def _temporal(dataset: RecDataset, rows: Rows, fraction: float, rng: np.random.Generator) -> tuple[Rows, Rows]:
    """Hold out what is later than a moment; interactions at that very moment stay in training."""
    if len(rows) == 0:
        return rows, rows
    time = np.asarray(numbers(dataset.interactions, "timestamp"), dtype=np.int64)[rows]
    cut = np.sort(time)[min(len(rows) - 1, round(len(rows) * (1.0 - fraction)))]
    late = time > cut if (time > cut).any() else time >= cut
    return rows[~late], rows[late]


def _leave_last_out(dataset: RecDataset, rows: Rows, fraction: float, rng: np.random.Generator) -> tuple[Rows, Rows]:
    """Hold out the last interaction of each user who has more than one."""
    user = _codes(dataset, "user_id")[0][rows]
    time = np.asarray(numbers(dataset.interactions, "timestamp"), dtype=np.int64)[rows]
    by_row = np.argsort(rows)
    order = by_row[in_time(user[by_row], time[by_row])]
    last = np.append(user[order][1:] != user[order][:-1], True)
    first = np.insert(user[order][1:] != user[order][:-1], 0, True)
    held_out = last & ~first
    return rows[order[~held_out]], rows[order[held_out]]


def _cold(which: str) -> Callable[[RecDataset, Rows, float, np.random.Generator], tuple[Rows, Rows]]:
    """Hold out all interactions of a random share of the items or users."""

    def divide(dataset: RecDataset, rows: Rows, fraction: float, rng: np.random.Generator) -> tuple[Rows, Rows]:
        codes, count = _codes(dataset, which)
        codes = codes[rows]
        there = np.flatnonzero(np.bincount(codes, minlength=count))
        is_cold = np.zeros(count, bool)
        is_cold[rng.permutation(there)[: round(len(there) * fraction)]] = True
        held = is_cold[codes]
        return rows[~held], rows[held]

    return divide


def _equals(dataset: RecDataset, name: str, text: str) -> NDArray[np.bool_]:
    """Return in which interactions a column is a text, bool [n]."""
    from pyarrow import compute

    found = compute.equal(arrow(dataset.interactions).column(name), text).fill_null(False)
    return np.asarray(found.to_numpy(), bool)


def _codes(dataset: RecDataset, name: str) -> tuple[Rows, int]:
    """Return the place of each interaction's id among the distinct ones in order, int64 [n], and how many there are."""
    from pyarrow import compute

    values = arrow(dataset.interactions).column(name)
    distinct = sorted(compute.unique(values).to_pylist())
    return places_of(values, distinct, start=0), len(distinct)


_KINDS: dict[str, Callable[[RecDataset, Rows, float, np.random.Generator], tuple[Rows, Rows]]] = {
    "random": _random,
    "temporal": _temporal,
    "leave-last-out": _leave_last_out,
    "cold-item": _cold("item_id"),
    "cold-user": _cold("user_id"),
}

"""Seen: known interactions of a run's users, as Parquet; private, never published."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from llmrec_peft.artifact.parquet import Table
from llmrec_peft.artifact.tables import Content, table_of
from llmrec_peft.data.histories import Histories
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.data.order import among, entries, in_time, stable_order
from llmrec_peft.data.vocabulary import UNKNOWN, Vocabulary
from llmrec_peft.errors import InputError

LATEST = 1 << 60
"""Largest time, and by its sign the smallest: differences of two must be numbers too."""


@dataclass(frozen=True)
class Seen:
    """Known interactions of users, each user's entries oldest first.

    Attributes:
        user: User indices, int64 [m].
        item: Item indices, int64 [m].
        label: Labels, float32 [m].
        learned: Which entries were trained on, bool [m]; None for all of them.
        time: Times in seconds, int64 [m]; None if they are not known.
    """

    user: NDArray[np.int64]
    item: NDArray[np.int64]
    label: NDArray[np.float32]
    learned: NDArray[np.bool_] | None = None
    time: NDArray[np.int64] | None = None

    @classmethod
    def of(cls, learned: Interactions, everything: Interactions) -> Seen:
        """Collect a run's known interactions of its users: given histories, then training interactions by time.

        Where given histories hold one label alone, such as clicks, training interactions of other labels are left out:
        whoever answers from these entries reads what the model was trained to read.

        Args:
            learned: Interactions that were trained on.
            everything: Interactions of all parts; if the owner gives histories, each user's longest is taken.
        """
        order = in_time(learned.user, learned.timestamp)
        user, item, label = learned.user[order], learned.item[order], learned.label[order]
        time = learned.timestamp[order]
        histories = everything.history
        if histories is None or not len(histories):
            return cls(user, item, label, time=time)
        longest = in_time(everything.user, histories.lengths)
        last = longest[np.append(np.diff(everything.user[longest]) != 0, True)]
        own, place = entries(histories.begin[last], histories.end[last])
        history_user, history_item = everything.user[last][own], histories.item[place]
        width = np.int64(max(item.max(initial=0), history_item.max(initial=0)) + 1)
        pair, history_pair = user * width + item, history_user * width + history_item
        fresh = ~among(pair, history_pair)
        if len(histories.label) and histories.time is None and (histories.label == histories.label[0]).all():
            fresh &= label == histories.label[0]
        return cls(
            np.concatenate([history_user, user[fresh]]),
            np.concatenate([history_item, item[fresh]]),
            np.concatenate([histories.label[place], label[fresh]]).astype(np.float32, copy=False),
            np.concatenate([_among(history_pair, pair), np.ones(int(fresh.sum()), bool)]),
            None if histories.time is None else np.concatenate([histories.time[place], time[fresh]]),
        )

    def by_user(self, num_users: int) -> Histories:
        """Return one history per user index."""
        order = np.argsort(self.user, kind="stable")
        bounds = np.searchsorted(self.user[order], np.arange(num_users + 1)).astype(np.int64)
        time = None if self.time is None else self.time[order]
        return Histories(self.item[order], self.label[order], bounds[:-1], bounds[1:], time)


def write_seen(path: Path, seen: Seen) -> None:
    """Write each user's known interactions, oldest first; private, never published."""
    learned = np.ones(len(seen.user), bool) if seen.learned is None else seen.learned
    columns = {"user": seen.user, "item": seen.item, "label": seen.label, "learned": learned}
    if seen.time is not None:
        columns["timestamp"] = seen.time
    pq.write_table(pa.table(columns), path)


def read_seen(path: Path, vocabulary: Vocabulary, content: Content = None) -> Histories:
    """Read each user index's known interactions, oldest first; empty histories if the file was not passed on.

    Raises:
        InputError: If it is no such table, or names users or items that the run does not have.
    """
    if content is None and not path.is_file():
        return Histories.empty(vocabulary.num_users)
    table = table_of(path, content)
    user, item, label, time = _interactions(table)
    if time is not None and len(time) and max(abs(int(time.min())), abs(int(time.max()))) > LATEST:
        raise table.wrong("timestamp: a time beyond all calendars")
    # an owner's history may name unknown items
    for name, index, count in (("user", user, vocabulary.num_users), ("item", item, vocabulary.num_items)):
        outside = (index < UNKNOWN) | (index >= count)
        if outside.any():
            raise InputError(f"{path}: {name} {index[outside][0]} is none of the run's {name}s 1 to {count - 1}")
    return Seen(user, item, label, time=time).by_user(vocabulary.num_users)


def read_learned(path: Path, content: Content = None) -> Interactions | None:
    """Read the known interactions that were trained on; None if the file was not passed on.

    Times are zero where they are not known.

    Raises:
        InputError: If it is no such table.
    """
    if content is None and not path.is_file():
        return None
    table = table_of(path, content)
    user, item, label, known = _interactions(table)
    time = np.zeros(len(user), np.int64) if known is None else known
    if "learned" in table:
        learned = table.flags("learned")
        user, item, label, time = user[learned], item[learned], label[learned], time[learned]
    return Interactions(user, item, label, time)


Columns = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32], NDArray[np.int64] | None]
"""Users, items, labels and times of interactions."""


def _interactions(table: Table) -> Columns:
    table.require("user", "item", "label")
    time = table.numbers("timestamp") if "timestamp" in table else None
    return table.numbers("user"), table.numbers("item"), table.numbers("label", pa.float32()), time


def _among(given: NDArray[np.int64], learned: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which known pairs were trained on, each at most as often as it occurred in training, [n]."""
    names, count = np.unique(learned, return_counts=True)
    order = stable_order(given)
    starts = np.flatnonzero(np.diff(given[order], prepend=-1) != 0)
    nth = np.empty(len(given), np.int64)
    nth[order] = np.arange(len(given)) - np.repeat(starts, np.diff(np.append(starts, len(given))))
    if not len(names):
        return np.zeros(len(given), bool)
    known = np.empty(len(given), np.int64)
    place = np.searchsorted(names, given[order]).clip(0, len(names) - 1)
    known[order] = np.where(names[place] == given[order], count[place], 0)
    return np.asarray(nth < known)

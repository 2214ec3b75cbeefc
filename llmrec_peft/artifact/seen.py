"""Seen: known interactions of a run's users, sorted by user with bounds; private, never published."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.artifact.manifest import limit_of
from llmrec_peft.artifact.sealed import Content, read_content
from llmrec_peft.backbone.tensor_bytes import tensors_in
from llmrec_peft.data.histories import Histories
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.data.order import among, entries, in_time, stable_order
from llmrec_peft.data.vocabulary import UNKNOWN, Vocabulary
from llmrec_peft.errors import InputError
from llmrec_peft.known_contents import is_known

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


def write_seen(path: Path, seen: Seen, num_users: int) -> None:
    """Write each user's known interactions, oldest first; private, never published.

    Args:
        path: The file.
        seen: Interactions in any order of users.
        num_users: Rows of a user table, the unknown one included.
    """
    import torch

    from llmrec_peft.backbone.tensor_files import write_tensors

    order = np.argsort(seen.user, kind="stable")
    bounds = np.searchsorted(seen.user[order], np.arange(num_users + 1)).astype(np.int64)
    columns: dict[str, NDArray[Any]] = {"bounds": bounds, "item": seen.item[order], "label": seen.label[order]}
    if seen.learned is not None and not seen.learned.all():
        columns["learned"] = seen.learned[order].astype(np.uint8)
    if seen.time is not None:
        columns["timestamp"] = seen.time[order]
    write_tensors(path, {name: torch.from_numpy(values) for name, values in columns.items()})


def read_seen(path: Path, vocabulary: Vocabulary, content: Content = None) -> Histories:
    """Read each user index's known interactions, oldest first; empty histories if the file was not passed on.

    The histories share the memory of the file's bytes.

    Raises:
        InputError: If it is no such file, or names users or items that the run does not have.
    """
    if content is None and not path.is_file():
        return Histories.empty(vocabulary.num_users)
    columns = _columns(path, content)
    bounds, item, time = columns["bounds"], columns["item"], columns.get("timestamp")
    if len(bounds) != vocabulary.num_users + 1:
        raise InputError(f"{path}: {len(bounds) - 1} users, and {vocabulary.num_users} in the catalogue")
    if not is_known():
        # an owner's history may name unknown items
        outside = (item < UNKNOWN) | (item >= vocabulary.num_items)
        if outside.any():
            raise InputError(f"{path}: item {item[outside][0]} is none of the run's items 1 to {len(vocabulary.items)}")
        if time is not None and len(time) and max(abs(int(time.min())), abs(int(time.max()))) > LATEST:
            raise InputError(f"{path}: timestamp: a time beyond all calendars")
    return Histories(item, columns["label"], bounds[:-1], bounds[1:], time)


def read_learned(path: Path, content: Content = None) -> Interactions | None:
    """Read the known interactions that were trained on, by user; None if the file was not passed on.

    Times are zero where they are not known.

    Raises:
        InputError: If it is no such file.
    """
    if content is None and not path.is_file():
        return None
    columns = _columns(path, content)
    bounds, item, label = columns["bounds"], columns["item"], columns["label"]
    user = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
    time = columns.get("timestamp", np.zeros(len(user), np.int64))
    learned = columns.get("learned")
    if learned is not None:
        if len(learned) and int(learned.max()) > 1:
            raise InputError(f"{path}: learned holds something else than 0 and 1")
        kept = learned.astype(bool)
        user, item, label, time = user[kept], item[kept], label[kept], time[kept]
    return Interactions(user, item.copy(), label.copy(), time)


_KINDS = {"bounds": "int64", "item": "int64", "label": "float32", "learned": "uint8", "timestamp": "int64"}
_NEEDED = ("bounds", "item", "label")


def _columns(path: Path, content: Content) -> dict[str, NDArray[Any]]:
    """Return the file's columns, each of the right type and length, and bounds that divide them among the users.

    Raises:
        InputError: Naming what is wrong.
    """
    tensors, _ = tensors_in(read_content(path, limit_of(path.name)) if content is None else content, path)
    for name in sorted(set(_NEEDED) - tensors.keys()) + sorted(tensors.keys() - _KINDS.keys()):
        raise InputError(f"{path}: tensor {name} is {'unknown' if name in tensors else 'missing'}")
    count = len(tensors["item"]) if tensors["item"].ndim else 0
    for name, tensor in tensors.items():
        dtype = str(tensor.dtype).removeprefix("torch.")
        length = tensor.shape[0] if tensor.ndim == 1 else -1
        if dtype != _KINDS[name] or length < 0 or (name != "bounds" and length != count):
            raise InputError(
                f"{path}: tensor {name} is {dtype} {list(tensor.shape)}, not {_KINDS[name]} of one for each interaction"
            )
    columns: dict[str, NDArray[Any]] = {name: tensor.numpy() for name, tensor in tensors.items()}
    bounds = columns["bounds"]
    falls = not is_known() and bool((np.diff(bounds) < 0).any())
    if not len(bounds) or bounds[0] != 0 or bounds[-1] != count or falls:
        raise InputError(f"{path}: bounds do not divide {count} interactions among the users")
    if not is_known() and not np.isfinite(columns["label"]).all():
        raise InputError(f"{path}: label holds NaN or infinity")
    return columns


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

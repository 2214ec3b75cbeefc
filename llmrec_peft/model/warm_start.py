"""Warm start: what a training left in a model's trained parts, and a larger model that begins with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmrec_peft.model.served_baseline import NAME

if TYPE_CHECKING:
    from llmrec_peft.model.rec_model import RecModel

FILE = "trained.safetensors"
"""File of a run folder with a model's trained parts before they were folded; no answer reads it."""
Names = Mapping[str, Mapping[str, Sequence[str]]]
"""What `Signal.names` returns, by signal."""
_SIGNALS = "signal_parts."


def trained_tensors(model: RecModel) -> dict[str, Tensor]:
    """Return what a later training begins with: all trained parameters, and the whole state of heads and fusion.

    To be called before `RecModel.fold`. What signals count (rates, histories) is not among it: it comes from the
    interactions.
    """
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    served = f"{_SIGNALS}{NAME}."
    return {
        name: tensor
        for name, tensor in model.trained_state().items()
        if (name in trained or not name.startswith(_SIGNALS)) and not name.startswith(served)
    }


@dataclass(frozen=True)
class Grown:
    """Sizes before and after new users and items were appended, the unknown one included.

    Attributes:
        users: Rows of a user table, before and now.
        items: Rows of an item table, before and now.
        names: Names of the signals' further indices before.
    """

    users: tuple[int, int]
    items: tuple[int, int]
    names: Names


@torch.no_grad()
def begin_with(model: RecModel, tensors: Mapping[str, Tensor], grown: Grown) -> list[str]:
    """Copy trained tensors into a fresh model, row by row where its tables have grown.

    Rows of users and items keep their index; rows that are named (categories, entities) are found by name. New rows
    keep the initial values of the fresh model, and so does a tensor whose rows cannot be told.

    Args:
        model: Fresh model of the same recipe.
        tensors: Result of `trained_tensors`.
        grown: Sizes before and now.

    Returns:
        A line for each tensor that begins anew.
    """
    trained, notes = trained_tensors(model).keys(), []
    for name, own in model.trained_state().items():
        if name not in trained:
            continue
        saved = tensors.get(name)
        if saved is None or not _copied(name, saved, own, _maps(model, name, grown)):
            notes.append(f"{name} begins anew: the run has none whose rows fit")
    return notes


def _copied(name: str, saved: Tensor, own: Tensor, maps: Sequence[_RowMap]) -> bool:
    """Copy a tensor if it is known which rows are which."""
    if saved.dtype != own.dtype or saved.shape[1:] != own.shape[1:] or saved.ndim != own.ndim:
        return False
    fitting = [one for one in maps if own.ndim and (len(saved), len(own)) == (one.before, one.now)]
    if not fitting:
        if saved.shape == own.shape:
            own.copy_(saved)
        return saved.shape == own.shape
    first = fitting[0]
    if any(not np.array_equal(first.place, other.place) for other in fitting[1:]):
        return False  # two kinds of rows have the same number: nothing tells which of them these are
    there = np.flatnonzero(first.place >= 0)
    own[torch.from_numpy(first.place[there])] = saved[torch.from_numpy(there)].to(own.device)
    return True


@dataclass(frozen=True)
class _RowMap:
    """Where the rows of a table are now.

    Attributes:
        before: Rows before.
        now: Rows now.
        place: Row now of each row before, -1 for one that is gone, int64 [before].
    """

    before: int
    now: int
    place: NDArray[np.int64]


def _maps(model: RecModel, name: str, grown: Grown) -> list[_RowMap]:
    """Return what the rows of a signal's tensor can stand for; of other parts nothing grows."""
    if not name.startswith(_SIGNALS):
        return []
    maps = [_RowMap(before, now, np.arange(before)) for before, now in (grown.users, grown.items)]
    signal = name.removeprefix(_SIGNALS).partition(".")[0]
    return [*maps, *_named(grown.names.get(signal, {}), model.signals[signal].names())]


def _named(before: Mapping[str, Sequence[str]], now: Mapping[str, Sequence[str]]) -> Iterator[_RowMap]:
    """Yield the map of each list of names, whose index 0 stands for none of them."""
    for kind, names in now.items():
        if kind in before:
            place = {one: at for at, one in enumerate(names, start=1)}
            found = [0, *(place.get(one, -1) for one in before[kind])]
            yield _RowMap(len(before[kind]) + 1, len(names) + 1, np.asarray(found, np.int64))

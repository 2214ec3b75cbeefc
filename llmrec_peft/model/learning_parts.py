"""Learning parts of signals: what only `remember` and `follow` read, in a run's file of its own."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from llmrec_peft.signals.contract import Signal

if TYPE_CHECKING:
    import torch

Learning = Mapping[str, Collection[str]]
"""Names of the learning parts of each signal (`Signal.learning_parts`), by signal."""
T = TypeVar("T")


class UnreadParts(Protocol):
    """Signals of which a loaded model has those parts alone that answer."""

    def signals(self) -> dict[str, Signal[Any]]:
        """Return signals with all of their parts, which the caller may change."""


class Loaded(Protocol):
    """A model whose signals may be without their learning parts."""

    signals: dict[str, Signal[Any]]
    unread: UnreadParts | None
    training: bool

    @property
    def device(self) -> torch.device:
        """Where it computes."""


def divided(tensors: Mapping[str, T], learning: Learning) -> tuple[dict[str, T], dict[str, T]]:
    """Divide tensors of signals, each under its signal's name, into those that answer and those of learning parts.

    >>> divided({"a.table.weight": 1, "a.folded.user": 2}, {"a": ("table",)})
    ({'a.folded.user': 2}, {'a.table.weight': 1})
    """
    found: tuple[dict[str, T], dict[str, T]] = ({}, {})
    for name, tensor in tensors.items():
        signal, part, *_ = name.split(".", 2)
        found[part in learning.get(signal, ())][name] = tensor
    return found


def drop_learning_parts(signal: Signal[Any]) -> None:
    """Remove a signal's learning parts, which were built and are not filled."""
    for name in signal.learning_parts:
        if name in signal.parts:
            del signal.parts[name]


def own_signals(model: Loaded) -> dict[str, Signal[Any]]:
    """Return copies of a model's signals with all of their parts, to remember interactions or to follow outcomes.

    Raises:
        InputError: If the run's file of learning parts is missing, changed, or does not fit the signals.
    """
    whole = {} if model.unread is None else model.unread.signals()
    for signal in whole.values():
        signal.parts = signal.parts.to(model.device).train(model.training)
    return {name: whole[name] if name in whole else copy.deepcopy(signal) for name, signal in model.signals.items()}

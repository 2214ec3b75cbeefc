"""Files of a run's signals: tensors that answers read, and apart from them those of learning parts."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec_peft import registry
from llmrec_peft.artifact.manifest import is_there
from llmrec_peft.artifact.sealed import SealedFolder
from llmrec_peft.backbone.tensor_bytes import tensors_in
from llmrec_peft.backbone.tensor_files import load_into, write_tensors
from llmrec_peft.data.vocabulary import Vocabulary
from llmrec_peft.errors import InputError
from llmrec_peft.model.build import build_signals, own_tensors
from llmrec_peft.model.contexts import loading_contexts
from llmrec_peft.model.learning_parts import Learning, divided, drop_learning_parts, own_signals
from llmrec_peft.model.unfilled import Unfilled
from llmrec_peft.recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor

    from llmrec_peft.model import RecModel
    from llmrec_peft.signals.contract import Signal

SIGNALS, LEARNING = "signals.safetensors", "learning.safetensors"
SIGNAL_NAMES = "signal_names"
"""Key in the header of ``signals.safetensors`` for the signals' names of their indices."""
SLACK_BYTES, BYTES_OF_ROW = 256 << 20, 256 << 10
"""Bytes that a file of tensors can have, at least and for each user and item: a hole in a file costs its author
nothing, and its reader memory."""


def write_signals(folder: Path, model: RecModel) -> None:
    """Write the tensors of a model's signals; those of learning parts into a file of their own, if there are any."""
    signals = model.signals if model.unread is None else own_signals(model)
    every = {f"{name}.{key}": t for name, signal in signals.items() for key, t in signal.parts.state_dict().items()}
    answering, learning = divided(every, {name: signal.learning_parts for name, signal in signals.items()})
    names = {name: named for name, signal in signals.items() if (named := signal.names())}
    write_tensors(folder / SIGNALS, answering, {SIGNAL_NAMES: json.dumps(names, ensure_ascii=False)} if names else None)
    if learning:
        write_tensors(folder / LEARNING, learning)


def answering_signals(
    recipe: Recipe, vocabulary: Vocabulary, saved: Mapping[str, Tensor], texts: Mapping[str, str], path: Path
) -> tuple[dict[str, Signal[Any]], dict[str, Tensor]]:
    """Build the signals of a run without their learning parts.

    Args:
        recipe: Recipe that names the signals.
        vocabulary: Users and items of the run.
        saved: Tensors of ``signals.safetensors``; runs written before had those of learning parts there too.
        texts: Texts of its header.
        path: The file, for messages.

    Returns:
        The signals, not filled yet, and the tensors that answer.

    Raises:
        InputError: If the tensors do not fit the recipe.
    """
    answering, _ = divided(saved, _learning(recipe))
    context = loading_contexts(recipe, vocabulary.num_users, vocabulary.num_items).signal
    with built_from(path):
        signals = build_signals(recipe, context, answering, signal_names(texts, path))
    for signal in signals.values():
        drop_learning_parts(signal)
    return signals, answering


@dataclass(frozen=True)
class StoredParts:
    """All parts of a run's signals, read from its folder whenever they are asked for.

    Attributes:
        sealed: Run folder.
        recipe: Recipe that names the signals.
        vocabulary: Users and items of the run.
    """

    sealed: SealedFolder
    recipe: Recipe
    vocabulary: Vocabulary

    def signals(self) -> dict[str, Signal[Any]]:
        """Return the signals with all of their parts.

        Raises:
            InputError: If a file is missing, changed, or does not fit the recipe.
        """
        sealed, room = self.sealed, room_for(self.vocabulary)
        path = sealed.folder / SIGNALS
        saved, texts = tensors_in(sealed.stored(SIGNALS, room), path)
        names = signal_names(texts, path)
        if LEARNING in sealed.manifest.files or is_there(sealed.folder / LEARNING):
            saved, _ = divided(saved, _learning(self.recipe))
            path = sealed.folder / LEARNING
            apart, _ = tensors_in(sealed.stored(LEARNING, room), path)
            for name in divided(apart, _learning(self.recipe))[0]:
                raise InputError(f"{path}: tensor {name[:200]!r} is of no learning part")
            saved |= apart
        context = loading_contexts(self.recipe, self.vocabulary.num_users, self.vocabulary.num_items).signal
        with built_from(path):
            signals = build_signals(self.recipe, context, saved, names)
        for name, signal in signals.items():
            load_into(signal.parts, own_tensors(saved, name), path)
        return signals


def stored_parts(sealed: SealedFolder, recipe: Recipe, vocabulary: Vocabulary) -> StoredParts | None:
    """Return all parts of a run's signals, to be read when they are asked for; None if every part answers."""
    return StoredParts(sealed, recipe, vocabulary) if any(_learning(recipe).values()) else None


def _learning(recipe: Recipe) -> Learning:
    return {name: registry.get("signals", name).learning_parts for name in recipe.signals.active}


def room_for(vocabulary: Vocabulary) -> int:
    """Return the bytes that a file of tensors of these users and items can have."""
    return SLACK_BYTES + BYTES_OF_ROW * (vocabulary.num_users + vocabulary.num_items)


@contextlib.contextmanager
def built_from(path: Path) -> Iterator[None]:
    """Name the file whose tensors do not fit the parts that are built from them, and that replace their numbers."""
    try:
        with Unfilled():
            yield
    except KeyError as error:
        raise InputError(f"{path}: tensor {error.args[0]} is missing") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except (RuntimeError, IndexError, ValueError, TypeError, AttributeError, AssertionError, OverflowError) as error:
        raise InputError(f"{path}: its tensors do not fit the recipe ({first_line(error)})") from None


def first_line(error: BaseException) -> str:
    """Return the kind of an error and the first line of what it says."""
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0][:150]}" if lines else type(error).__name__


def signal_names(texts: Mapping[str, str], path: Path) -> dict[str, dict[str, list[str]]]:
    """Return the signals' names of their indices (`Signal.names`), by signal.

    Args:
        texts: Texts of the header of ``signals.safetensors``.
        path: That file, for messages.

    Raises:
        InputError: If the header contains something else.
    """
    try:
        names = json.loads(texts.get(SIGNAL_NAMES, "{}"))
        return {
            str(signal): {str(kind): [str(name) for name in listed] for kind, listed in lists.items()}
            for signal, lists in names.items()
        }
    except (ValueError, AttributeError, TypeError, RecursionError):
        raise InputError(f"{path}: {SIGNAL_NAMES} in its header are no lists of names by signal") from None

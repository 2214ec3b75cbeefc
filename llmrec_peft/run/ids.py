"""Ids in calls from Python: lists of texts, so that no number is taken for a user whom nobody knows."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from llmrec_peft.errors import InputError
from llmrec_peft.printable import quoted


def text_ids(values: Iterable[Any], kind: str) -> list[str]:
    """Return ids as a list after checking that each is a text.

    Args:
        values: Ids.
        kind: ``user`` or ``item``, for the error.

    Raises:
        InputError: If the ids are one text instead of several, or one of them is no text.
    """
    if isinstance(values, str | bytes):
        raise InputError(f"{kind} ids are a list of texts: [{quoted(values)}], not {quoted(values)}")
    try:
        ids = list(values)
    except TypeError:
        raise InputError(f"{kind} ids are a list of texts, not {quoted(values)}") from None
    for each in ids:
        if not isinstance(each, str):
            raise InputError(f"{kind} ids are texts: {_as_text(each)}not {quoted(each)}")
    return ids


def text_id(value: Any, kind: str) -> str:
    """Return one id after checking that it is a text.

    Raises:
        InputError: If it is none.
    """
    return text_ids([value], kind)[0]


def checked_count(k: Any) -> int:
    """Return how many items are asked for after checking that it is a whole number of at least 1.

    Raises:
        InputError: If it is not.
    """
    if isinstance(k, bool) or not isinstance(k, int | np.integer):
        raise InputError(f"k is a whole number, not {quoted(k)}")
    if k < 1:
        raise InputError(f"k must be at least 1, not {k:.9g}")
    return int(k)


def checked_histories(histories: Iterable[Iterable[Any]]) -> list[list[tuple[str, float]]]:
    """Return histories after checking that each entry is an item id and a label.

    Raises:
        InputError: If one is something else.
    """
    try:
        pairs = [[(item, label) for item, label in history] for history in histories]
        labels = [float(label) for history in pairs for _, label in history]
    except (TypeError, ValueError):
        raise InputError("a history is a list of pairs of an item id and its label, such as [('50', 4.0)]") from None
    for history in pairs:
        text_ids([item for item, _ in history], "item")
    if not all(math.isfinite(label) for label in labels):
        raise InputError("a label of a history is no finite number")
    return pairs


def _as_text(value: Any) -> str:
    """Suggest the text of a whole number."""
    plain = value.item() if type(value).__module__ == "numpy" and hasattr(value, "item") else value
    small = isinstance(plain, int) and not isinstance(plain, bool) and abs(plain) < 10**30
    return f"{str(plain)!r}, " if small else ""

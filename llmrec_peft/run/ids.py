"""Ids in calls from Python: lists of texts, so that no number is taken for a user whom nobody knows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llmrec_peft.data.column_types import shown
from llmrec_peft.errors import InputError


def text_ids(values: Iterable[Any], kind: str) -> list[str]:
    """Return ids as a list after checking that each is a text.

    Args:
        values: Ids.
        kind: ``user`` or ``item``, for the error.

    Raises:
        InputError: If the ids are one text instead of several, or one of them is no text.
    """
    if isinstance(values, str | bytes):
        raise InputError(f"{kind} ids are a list of texts: [{shown(values)}], not {shown(values)}")
    try:
        ids = list(values)
    except TypeError:
        raise InputError(f"{kind} ids are a list of texts, not {shown(values)}") from None
    for each in ids:
        if not isinstance(each, str):
            raise InputError(f"{kind} ids are texts: {_as_text(each)}not {shown(each)}")
    return ids


def text_id(value: Any, kind: str) -> str:
    """Return one id after checking that it is a text.

    Raises:
        InputError: If it is none.
    """
    return text_ids([value], kind)[0]


def _as_text(value: Any) -> str:
    """Suggest the text of a whole number."""
    plain = value.item() if type(value).__module__ == "numpy" and hasattr(value, "item") else value
    small = isinstance(plain, int) and not isinstance(plain, bool) and abs(plain) < 10**30
    return f"{str(plain)!r}, " if small else ""

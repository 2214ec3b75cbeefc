"""Typed columns: ids and numbers of interactions from Arrow, numpy or Python, refused by row where one is no such."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

_BEYOND = 1 << 63
"""Whole numbers have to be smaller: Arrow stores them in 64 bits."""


def is_arrow(values: Any) -> bool:
    """Return whether values are a column of Arrow."""
    import pyarrow as pa

    return isinstance(values, pa.Array | pa.ChunkedArray)


def text_column(name: str, values: Any) -> Any:
    """Return ids as Arrow's strings, or as they came if each is a text.

    Args:
        name: Column, for the error.
        values: Arrow's strings (also large, viewed or as a dictionary), or a sequence.

    Raises:
        InputError: Naming the first row that holds no text: Arrow would write 1.0 for one and nan for a missing one.
    """
    if not is_arrow(values):
        if not all(issubclass(kind, str) for kind in set(map(type, values))):
            at, value = next((at, value) for at, value in enumerate(values) if not isinstance(value, str))
            _refuse_text(name, at, value)
        return values
    import pyarrow as pa
    from pyarrow import types

    kind = values.type.value_type if types.is_dictionary(values.type) else values.type
    if values.null_count or not (types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)):
        at = _first_missing(values) if values.null_count else 0
        if len(values):
            _refuse_text(name, at, values[at].as_py())
    return values if values.type == pa.string() else values.cast(pa.string())


def number_column(name: str, values: Any, kind: pa.DataType) -> Any:
    """Return numbers as Arrow's of a type, or as they came if each is such a number.

    Args:
        name: Column, for the error.
        values: Numbers of Arrow or numpy, or a sequence.
        kind: ``float32``, or ``int64`` for whole numbers, which may be written as floats.

    Raises:
        InputError: Naming the first row that holds another value.
    """
    import pyarrow as pa

    whole = pa.types.is_integer(kind)
    if is_arrow(values):
        if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)) and len(values):
            _refuse_number(name, 0, values[0].as_py(), whole)
        if values.null_count:
            at = _first_missing(values)
            _refuse_number(name, at, values[at].as_py(), whole)
        if values.type == kind:
            return values
        values = values.to_numpy(zero_copy_only=False) if isinstance(values, pa.Array) else values.to_numpy()
    _require_numbers(name, values, whole)
    if isinstance(values, np.ndarray) and values.dtype.kind in "iuf":
        return pa.array(values.astype(np.int64 if whole else np.float32, copy=False))
    return values


def _first_missing(values: pa.Array | pa.ChunkedArray) -> int:
    from pyarrow import compute

    return int(compute.index(values.is_null(), True).as_py())


def _refuse_text(name: str, at: int, value: Any) -> NoReturn:
    raise InputError(
        f'interactions: {name} {at} is {value!r:.40} of type {type(value).__name__}; ids are texts, such as "00501"'
    )


def _refuse_number(name: str, at: int, value: Any, whole: bool) -> NoReturn:
    expected = "a whole number of 64 bits" if whole else "a number"
    raise InputError(f"interactions: {name} {at} is {value!r:.40} where {expected} belongs")


def _require_numbers(name: str, values: Sequence[Any] | NDArray[Any], whole: bool) -> None:
    """Refuse values that are no numbers, or with `whole` no whole numbers of 64 bits."""
    found = np.asarray(values) if len(values) else np.zeros(0)
    if found.dtype.kind in "iu" and found.max(initial=0) < _BEYOND:
        return
    if found.dtype.kind == "f":
        fits = np.isfinite(found) & (found == np.floor(found)) & (np.abs(found) < _BEYOND) if whole else None
        if fits is None or bool(fits.all()):
            return
    for at, value in enumerate(values):
        number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        fits = number and (not whole or (value == value and abs(value) < _BEYOND and value == int(value)))  # noqa: PLR0124
        if not fits:
            _refuse_number(name, at, value, whole)

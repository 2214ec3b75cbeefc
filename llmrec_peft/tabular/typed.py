"""Columns of texts as columns of numbers, times, or texts told once."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as of

from llmrec_peft.errors import InputError
from llmrec_peft.printable import quoted

_BLANK = " \t"
_LOOKS = {
    "int": r"^-?[0-9]+$",
    "float": r"^[+-]?(?:[0-9]+D?[0-9]*|D[0-9]+)(?:[eE][+-]?[0-9]+)?$",
    "time": r"^[0-9]{4}-?[0-9]{2}-?[0-9]{2}",
}
"""What every number or time looks like that Arrow converts; D is what separates decimals."""


def require_types(types: Iterable[pa.DataType]) -> None:
    """Refuse types that texts are not converted to."""
    for kind in types:
        plain = kind.value_type if of.is_dictionary(kind) else kind
        known = of.is_string(plain) or of.is_large_string(plain)
        if not (known or (plain == kind and (of.is_integer(kind) or of.is_floating(kind) or of.is_timestamp(kind)))):
            raise InputError(
                f"columns are read as texts, numbers, times, or dictionaries of texts, not as {kind!s:.60}"
            )


def converted(texts: pa.Array, kind: pa.DataType, decimal: str = ".") -> pa.Array:
    """Return texts as another type; an empty text is null where the type is none of text.

    Args:
        texts: Texts [rows].
        kind: Text, a dictionary of texts, whole or other numbers, or timestamps, which are written as ISO 8601.
        decimal: What separates decimals.

    Raises:
        ValueError: If one of them cannot be converted, or is a number that is not finite.
    """
    if texts.type == kind:
        return texts
    if of.is_dictionary(kind):
        return texts.dictionary_encode().cast(kind)
    if of.is_string(kind) or of.is_large_string(kind):
        return texts.cast(kind)
    bare = pc.utf8_trim(texts, _BLANK)
    bare = pc.if_else(pc.equal(bare, ""), pa.scalar(None, bare.type), bare)
    if of.is_integer(kind):
        if pc.any(pc.match_substring(bare, "x", ignore_case=True)).as_py():
            raise ValueError("a hexadecimal number")
        return bare.cast(kind)
    if of.is_floating(kind):
        if decimal == ",":
            if pc.any(pc.match_substring(bare, ".")).as_py():
                raise ValueError("a point in a number with a decimal comma")
            bare = pc.replace_substring(bare, ",", ".")
        return finite(bare.cast(pa.float64()), kind)
    return bare.cast(kind)


def finite(numbers: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return numbers as another type of numbers.

    Raises:
        ValueError: If one of them is not finite there.
    """
    cast = numbers.cast(kind)
    if of.is_floating(kind) and pc.any(pc.invert(pc.is_finite(cast))).as_py():
        raise ValueError("a number that is not finite")
    return cast


def wrong_rows(texts: pa.Array, kind: pa.DataType, decimal: str = ".", most: int = 1 << 62) -> list[int]:
    """Return the first rows, `most` at most, whose text cannot be converted; the arguments are those of `converted`.

    What does not even look like such a number or time is found at once, the rest by halving.
    """
    look = _LOOKS.get("int" if of.is_integer(kind) else "float" if of.is_floating(kind) else "time")
    if look is None or of.is_dictionary(kind) or of.is_string(kind) or of.is_large_string(kind):
        return []
    bare = pc.utf8_trim(texts, _BLANK)
    like = pc.fill_null(pc.match_substring_regex(bare, look.replace("D", re.escape(decimal))), True)
    like = pc.or_(like, pc.fill_null(pc.equal(bare, ""), True))
    unlike = _places(pc.invert(like))[:most]
    rows = _places(like)
    candidates = texts.filter(like)
    found: list[int] = []
    parts = [(0, len(candidates))]
    while parts and len(found) < most:
        start, stop = parts.pop()
        try:
            converted(candidates.slice(start, stop - start), kind, decimal)
        except (ValueError, pa.ArrowException):
            if stop - start == 1:
                found.append(rows[start])
            else:
                middle = (start + stop) // 2
                parts += [(middle, stop), (start, middle)]
    return sorted([*unlike, *found])[:most]


def _places(mask: pa.Array) -> list[int]:
    places: list[int] = pc.indices_nonzero(mask).to_pylist()
    return places


def reason(text: str | None, kind: pa.DataType, decimal: str = ".") -> str:
    """Return what is wrong with a text that cannot be converted."""
    shown = quoted(text, 60)
    if of.is_timestamp(kind):
        return f"{shown} is no time as ISO 8601 writes it, such as 2015-03-09T14:05:00"
    bare = (text or "").strip()
    whole = of.is_integer(kind)
    what = "whole number" if whole else "number"
    if bare.lower().lstrip("+-") in ("nan", "inf", "infinity"):
        return f"{shown} is no finite {what}"
    if "," in bare and decimal == ".":
        return f"{shown} is no {what}: decimals follow a point and thousands stand together (option decimal)"
    if "." in bare and decimal == ",":
        return f"{shown} is no {what}: decimals follow a comma here (option decimal)"
    return f"{shown} is no {what}"

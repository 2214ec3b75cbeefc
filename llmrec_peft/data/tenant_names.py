"""Names of tenants: any value of a column as a folder's name, safe on every file system, no two alike."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

LONGEST = 64
"""Characters of a name before the digest that may follow it."""
_SAFE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9_-])?")
_OF_DEVICES = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.IGNORECASE)
"""Names that Windows keeps for devices."""
TAKEN = frozenset(("tenants.json",))
"""Names that the folder of all tenants has for other things."""
_DIGITS = 12
"""Hexadecimal digits of the digest."""


def tenant_names(values: Iterable[str]) -> dict[str, str]:
    """Return a folder's name for each value.

    A value that is a plain name keeps it: letters, digits, dots, hyphens and underscores of ASCII, at most 64 of
    them, beginning with a letter or digit. Of any other, and of values that differ only in case, the name is what is
    left of it and a digest of the whole, so that it does not depend on the other values' order.

    Args:
        values: Distinct values.

    >>> list(tenant_names(["books", "../x", "Films", "films"]).values())
    ['books', 'x-d6b96a97d147', 'Films-ef9e821ac893', 'films-db944067d6c7']
    """
    chosen = list(values)
    alike = Counter(value.casefold() for value in chosen)
    return {
        value: value if is_plain(value) and alike[value.casefold()] == 1 else _with_digest(value) for value in chosen
    }


def is_plain(name: str) -> bool:
    """Whether a text can be a folder's name as it is."""
    plain = _SAFE.fullmatch(name) is not None and _OF_DEVICES.fullmatch(name) is None
    return plain and name.casefold() not in TAKEN


def _with_digest(value: str) -> str:
    """Return the plain letters of a value with a digest of its bytes behind them."""
    digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
    letters = unicodedata.normalize("NFKD", value).encode("ascii", "ignore").decode()
    rest = re.sub(r"[^A-Za-z0-9]+", "-", letters).strip("-")[: LONGEST // 2].rstrip("-")
    return f"{rest or 'tenant'}-{digest}"

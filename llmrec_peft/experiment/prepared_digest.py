"""Digest of prepared data: the SHA-256 of its canonical JSON, written in pieces rather than as one text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from numpy.typing import NDArray

from llmrec_peft.identity import arrays_digest

_PIECE = 1 << 12
"""Texts or rows that are written together."""


def prepared_digest(
    arrays: Sequence[NDArray[Any]],
    texts: Sequence[str],
    wordings: Sequence[Sequence[str]],
    rows: Sequence[Iterable[Mapping[str, Any]]],
    names: Sequence[Sequence[str]],
) -> str:
    """Return the digest of numbers and texts.

    Equal to `llmrec_peft.identity.values_digest` of ``[arrays_digest(arrays), texts, wordings, described, names]``,
    where ``described`` is the JSON text of `rows`; of a million rows that JSON takes gigabytes as one text.

    Args:
        arrays: All arrays, in a fixed order.
        texts: Text of each item index.
        wordings: Further texts.
        rows: Columns of each user index and of each item index.
        names: Ids of users and of items.
    """
    sha = hashlib.sha256(f"[{json.dumps(arrays_digest(arrays))},".encode())
    for piece in _texts(texts):
        sha.update(piece.encode())
    sha.update(b",[")
    for at, wording in enumerate(wordings):
        sha.update(b"," if at else b"")
        for piece in _texts(wording):
            sha.update(piece.encode())
    sha.update(b'],"[')
    for at, table in enumerate(rows):
        sha.update(b", " if at else b"")
        for piece in _rows(table):
            sha.update(json.dumps(piece)[1:-1].encode())  # a text inside a text
    sha.update(b']",[')
    for at, ids in enumerate(names):
        sha.update(b"," if at else b"")
        for piece in _texts(ids):
            sha.update(piece.encode())
    sha.update(b"]]")
    return sha.hexdigest()


def _texts(texts: Iterable[str]) -> Iterator[str]:
    """Yield a JSON list of texts in pieces."""
    return _listed(texts, ",", lambda some: json.dumps(some, separators=(",", ":")))


def _rows(table: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a JSON list of rows in pieces; values that JSON does not have are written as texts."""
    return _listed(table, ", ", lambda some: json.dumps(some, sort_keys=True, default=str))


def _listed(values: Iterable[Any], between: str, written: Callable[[list[Any]], str]) -> Iterator[str]:
    rest, first = iter(values), True
    yield "["
    while some := list(islice(rest, _PIECE)):
        yield written(some)[1:-1] if first else between + written(some)[1:-1]
        first = False
    yield "]"

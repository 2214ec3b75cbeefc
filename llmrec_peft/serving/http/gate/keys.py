"""Keys: random texts that callers show, of which a server keeps the digest alone."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

Scope = Literal["ask", "write", "manage"]
"""What a key allows: ask for lists, scores and explanations; send items and events; change which run answers."""

_TEXT = re.compile(r"llmrec_(?P<key_id>[0-9a-f]{8})_[A-Za-z0-9_-]{43}")


@dataclass(frozen=True)
class StoredKey:
    """What is kept of a key; the key itself cannot be made from it.

    A key has 256 random bits, so nobody finds it by trying, and one SHA-256 is enough. Slow hashes are for passwords,
    which people choose; here they would cost the server more than whoever floods it with keys.

    Attributes:
        key_id: Public name of the key: eight hexadecimal digits, which stand in its text, too.
        digest: SHA-256 of the key's whole text, 32 bytes.
        tenant: Whose key it is; None for an admin key, which allows everything.
        scopes: What it allows.
        created: When it was made, in seconds since 1970.
        expires: When it ends, in seconds since 1970; None for never.
        label: What it is for, in its owner's words.
    """

    key_id: str
    digest: bytes = field(repr=False)
    tenant: str | None
    scopes: frozenset[Scope]
    created: float
    expires: float | None = None
    label: str = ""


def new_key(
    tenant: str | None, scopes: Iterable[Scope], expires: float | None = None, label: str = ""
) -> tuple[str, StoredKey]:
    """Make a key.

    Args:
        tenant: Whose key it is; None for an admin key.
        scopes: What it allows.
        expires: When it ends, in seconds since 1970; None for never.
        label: What it is for.

    Returns:
        Its text, which is told this once, and what is kept of it.

    >>> text, key = new_key("films", ["ask"])
    >>> len(text), key_id_of(text) == key.key_id, digest_of(text) == key.digest
    (59, True, True)
    """
    key_id = secrets.token_hex(4)
    text = f"llmrec_{key_id}_{secrets.token_urlsafe(32)}"
    return text, StoredKey(key_id, digest_of(text), tenant, frozenset(scopes), time.time(), expires, label)


def key_id_of(text: str) -> str | None:
    """Return the public name that stands in a key's text; None for a text that is no key."""
    found = _TEXT.fullmatch(text)
    return None if found is None else found["key_id"]


def digest_of(text: str) -> bytes:
    """Return the SHA-256 of a key's text."""
    return hashlib.sha256(text.encode("ascii")).digest()

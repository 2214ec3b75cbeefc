"""Rows of keys: digests of keys, what they allow, and when they end."""

from __future__ import annotations

import sqlite3
from typing import get_args

from llmrec_peft.errors import InputError
from llmrec_peft.printable import quoted
from llmrec_peft.serving.http.gate.keys import Scope, StoredKey


def put(connection: sqlite3.Connection, key: StoredKey) -> None:
    """Write a key.

    Raises:
        InputError: If another key has its name.
    """
    try:
        connection.execute(
            "INSERT INTO keys (key_id, digest, tenant, scopes, created, expires, label) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                key.key_id,
                key.digest,
                key.tenant,
                " ".join(scope for scope in get_args(Scope) if scope in key.scopes),
                key.created,
                key.expires,
                key.label,
            ),
        )
    except sqlite3.IntegrityError:
        raise InputError(f"a key of the name {quoted(key.key_id)} is there already: make another one") from None


def end(connection: sqlite3.Connection, key_id: str, when: float) -> None:
    """Let a key end at a time, unless it ends before; nothing if there is no such key.

    Args:
        connection: Connection inside a transaction.
        key_id: Name of the key.
        when: Seconds since 1970.
    """
    connection.execute(
        "UPDATE keys SET expires = min(coalesce(expires, :when), :when) WHERE key_id = :key_id",
        {"key_id": key_id, "when": when},
    )


def read(connection: sqlite3.Connection) -> list[StoredKey]:
    """Return all keys, those that have ended among them, oldest first."""
    rows = connection.execute(
        "SELECT key_id, digest, tenant, scopes, created, expires, label FROM keys ORDER BY created, key_id"
    )
    return [
        StoredKey(key_id, digest, tenant, frozenset(_scopes(scopes)), created, expires, label)
        for key_id, digest, tenant, scopes, created, expires, label in rows
    ]


def _scopes(text: str) -> list[Scope]:
    """Return the scopes that a row names; what is none allows nothing."""
    return [scope for scope in get_args(Scope) if scope in text.split()]

"""Rows of states: a version after some events, written once, and made again with the digest compared."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llmrec_peft.errors import InputError
from llmrec_peft.identity import tensors_digest, values_digest
from llmrec_peft.printable import quoted
from llmrec_peft.run.adding import Addition
from llmrec_peft.serving.sealed_store import SealedRun
from llmrec_peft.serving.versions import Added, Event, Placed, State
from llmrec_peft.strict_json import parse_json

_TYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def write_state(connection: sqlite3.Connection, placed: Placed) -> int:
    """Write a version's state, with those before it that are missing.

    Texts that are encoded twice may give vectors that differ in their last bits; those of the state itself are the ones
    that answer from now on, so they take the place of others.

    Args:
        connection: Connection inside a transaction.
        placed: The version in the state.

    Returns:
        Id of the state's row.
    """
    missing: list[tuple[State, Added | None]] = []
    state: State | None = placed.state
    added = placed.added
    before: int | None = None
    while state is not None:
        row = connection.execute("SELECT id, added FROM states WHERE digest = ?", (state.digest,)).fetchone()
        if row is not None and _has(row[1], added, compare=not missing):
            before = row[0]
            break
        missing.append((state, added))
        state, added = state.before, None if added is None else added.before
    for one, its in reversed(missing):
        before = _write(connection, placed.sealed, one, None if its is None else its.addition, before)
    assert before is not None  # noqa: S101 - a state has a row now
    return before


def _has(kept: str | None, added: Added | None, compare: bool) -> bool:
    """Return whether a row has what scoring takes, and if it is to be compared, this very one."""
    if added is None or not compare:
        return added is None or kept is not None
    return kept == json.dumps(_beside(added.addition))


def _write(
    connection: sqlite3.Connection, sealed: SealedRun, state: State, addition: Addition | None, before: int | None
) -> int:
    """Write one state; if it is there without what scoring takes, write that."""
    folder = sealed.folder.name
    connection.execute("INSERT INTO versions (folder) VALUES (?) ON CONFLICT DO NOTHING", (folder,))
    (version,) = connection.execute("SELECT id FROM versions WHERE folder = ?", (folder,)).fetchone()
    event = state.event
    connection.execute(
        "INSERT INTO states (digest, version, number, before, kind, rows, added, vectors)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (digest) DO UPDATE SET added = excluded.added, vectors = excluded.vectors",
        (
            state.digest,
            version,
            state.number,
            before,
            None if event is None else event.kind,
            None if event is None else json.dumps(list(event.values), allow_nan=False),
            None if addition is None else json.dumps(_beside(addition)),
            None if addition is None or addition.vectors is None else _bytes_of(addition.vectors),
        ),
    )
    (found,) = connection.execute("SELECT id FROM states WHERE digest = ?", (state.digest,)).fetchone()
    return int(found)


def release(connection: sqlite3.Connection, ids: Iterable[int]) -> None:
    """Let go of states that a tenant's route or past named, and of those before them.

    Where no route leads any more, titles and vectors are dropped; what nobody names at all is removed.
    """
    waiting = list(dict.fromkeys(ids))
    while waiting:
        one = {"id": waiting.pop()}
        row = connection.execute(
            "SELECT before, version,"
            " EXISTS (SELECT 1 FROM tenants WHERE main = :id OR trial = :id OR former = :id),"
            " EXISTS (SELECT 1 FROM states WHERE before = :id AND added IS NOT NULL),"
            " EXISTS (SELECT 1 FROM past WHERE state = :id), EXISTS (SELECT 1 FROM states WHERE before = :id)"
            " FROM states WHERE id = :id",
            one,
        ).fetchone()
        if row is None or row[2] or row[3]:
            continue
        before, version, _, _, past, later = row
        if past or later:
            dropped = connection.execute(
                "UPDATE states SET added = NULL, vectors = NULL WHERE id = :id AND added IS NOT NULL", one
            ).rowcount
            if not dropped:
                continue
        else:
            connection.execute("DELETE FROM states WHERE id = :id", one)
            connection.execute(
                "DELETE FROM versions WHERE id = ? AND NOT EXISTS (SELECT 1 FROM states WHERE version = versions.id)",
                (version,),
            )
        if before is not None:
            waiting.append(before)


class States:
    """States of one registry, made again from their rows; the same row gives the same object."""

    def __init__(self, connection: sqlite3.Connection, store: Path) -> None:
        """Set where they are read.

        Args:
            connection: Connection inside a transaction.
            store: Folder of the sealed store.
        """
        self._connection, self._store = connection, store
        self._states: dict[int, tuple[SealedRun, State]] = {}
        self._placed: dict[int, Placed] = {}

    def state(self, state_id: int) -> tuple[SealedRun, State]:
        """Return a version and its state, without what scoring takes of added items.

        Raises:
            InputError: If a row is not what was written.
        """
        rows = list[sqlite3.Row]()
        one: int | None = state_id
        while one is not None and one not in self._states:
            row = self._row(one)
            if rows and row["number"] != rows[-1]["number"] - 1:
                raise _changed(row)
            rows.append(row)
            one = row["before"]
        for row in reversed(rows):
            sealed = SealedRun.named(self._store, row["folder"])
            if row["before"] is None:
                made = State.first(sealed.digest, sealed.withheld)
            else:
                same, before = self._states[row["before"]]
                if same != sealed:
                    raise _changed(row)
                made = before.after(Event(row["kind"], _items(row)))
            if (made.digest, made.number) != (row["digest"], row["number"]):
                raise _changed(row)
            self._states[row["id"]] = sealed, made
        return self._states[state_id]

    def placed(self, state_id: int) -> Placed:
        """Return a version in a state, with what scoring takes of the items that were added.

        Raises:
            InputError: If a row is not what was written.
        """
        self.state(state_id)
        ids = list[int]()
        one: int | None = state_id
        while one is not None and one not in self._placed:
            ids.append(one)
            one = self._row(one)["before"]
        added = None if one is None else self._placed[one].added
        for each in reversed(ids):
            sealed, state = self._states[each]
            if state.event is not None:
                added = Added(self._addition(each, state, state.event), added)
            self._placed[each] = Placed(sealed, state, added)
        return self._placed[state_id]

    def _addition(self, state_id: int, state: State, event: Event) -> Addition:
        """Return the items that a state's last event added."""
        (text, content) = self._connection.execute(
            "SELECT added, vectors FROM states WHERE id = ?", (state_id,)
        ).fetchone()
        try:
            told = parse_json((text or "").encode(), "titles")
            vectors = None if content is None else _tensor_of(content, told["type"], len(event.values))
            ids = [values["item_id"] for values in event.values]
            addition = Addition(ids, told["titles"], event.values, vectors, told["cut"])
            if _beside(addition) == told:
                return addition
        except (InputError, KeyError, TypeError, ValueError, RuntimeError):
            pass
        raise _changed_state(state.digest)

    def _row(self, state_id: int) -> sqlite3.Row:
        cursor = self._connection.cursor()
        cursor.row_factory = sqlite3.Row
        row: sqlite3.Row | None = cursor.execute(
            "SELECT states.id, digest, folder, number, before, kind, rows"
            " FROM states JOIN versions ON versions.id = version WHERE states.id = ?",
            (state_id,),
        ).fetchone()
        if row is None:
            raise InputError(f"its state {state_id} is missing in the registry")
        return row


def _items(row: sqlite3.Row) -> list[Mapping[str, Any]]:
    items = parse_json((row["rows"] or "").encode(), "columns of items")
    if not isinstance(items, list) or not all(isinstance(one, dict) for one in items):
        raise _changed(row)
    return items


def _beside(addition: Addition) -> dict[str, Any]:
    """Return what scoring takes of an addition beside columns and vectors, with a digest of it and of the vectors."""
    vectors = addition.vectors
    told = {
        "titles": addition.titles,
        "cut": addition.cut,
        "type": None if vectors is None else str(vectors.dtype).removeprefix("torch."),
    }
    seen = values_digest([told, None if vectors is None else tensors_digest({"vectors": vectors})])
    return {**told, "digest": seen}


def _bytes_of(vectors: Tensor) -> bytes:
    return vectors.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def _tensor_of(content: bytes, name: str, count: int) -> Tensor:
    return torch.frombuffer(bytearray(content), dtype=_TYPES[name]).reshape(count, -1)


def _changed(row: sqlite3.Row) -> InputError:
    return _changed_state(row["digest"])


def _changed_state(digest: object) -> InputError:
    return InputError(f"its state {quoted(digest, 14)} is not as it was written to the registry")

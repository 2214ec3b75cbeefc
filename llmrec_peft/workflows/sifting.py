"""Sifting: which rows of a file of pairs can be scored, on what each score rests, and which items are new."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.errors import InputError
from llmrec_peft.run.new_items import NewItems
from llmrec_peft.run.tenant import Tenant
from llmrec_peft.workflows.pair_files import CHUNK_ROWS, Chunk
from llmrec_peft.workflows.scored_files import KEYS
from llmrec_peft.workflows.streams import Unknown


@dataclass
class Predicted:
    """What was scored.

    Attributes:
        rows: Rows of the input, all of which are in the output.
        scored: Rows that have a score.
        new_items: Items that the run did not know, scored by their texts.
        cut_items: New items whose text was longer than the tokens that the run reads, and was cut.
        unknown_users: Rows of users that the run does not know.
        unknown_user: One of these users.
        unknown_items: Rows of items that the run does not know and that have no text.
        unknown_item: One of these items.
        absent: Columns that the text of such an item takes and that the input does not have or has empty.
        known_users: Some users that the run knows.
    """

    rows: int = 0
    scored: int = 0
    new_items: int = 0
    cut_items: int = 0
    unknown_users: int = 0
    unknown_user: str | None = None
    unknown_items: int = 0
    unknown_item: str | None = None
    absent: tuple[str, ...] = ()
    known_users: tuple[str, ...] = ()

    def plain(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return asdict(self)

    def notes(self, unknown: Unknown) -> list[str]:
        """Say how many new texts were cut, how many rows are of unknown users and items, and what became of them."""
        lines = []
        if self.cut_items:
            lines.append(
                f"the texts of {self.cut_items} of {self.new_items} new items are longer than the run reads and were"
                " cut"
            )
        if self.unknown_items:
            lacking = f" and whose columns {', '.join(self.absent):.200} are not given" if self.absent else ""
            lines.append(
                f"{self.unknown_items} of {self.rows} rows are of items that the run does not know{lacking}, such as"
                f" {self.unknown_item!r:.60}: they have no score"
            )
        if self.unknown_users:
            became = "scored for the average user" if unknown == "popular" else "they have no score"
            known = ", ".join(f"{user!r:.60}" for user in self.known_users)
            like = f"; users that it knows are {known}" if self.unknown_users == self.rows else ""
            lines.append(
                f"{self.unknown_users} of {self.rows} rows are of users that the run does not know, such as"
                f" {self.unknown_user!r:.60}: {became}{like}"
            )
        return lines


@dataclass(frozen=True)
class Sifted:
    """What becomes of the rows of a chunk.

    Attributes:
        users: User of each row, [n].
        items: Item of each row, [n].
        wanted: Rows that are scored, int64.
        basis: On what the answer for each row rests, [n].
        new: Columns of the items that no earlier row had and that the run does not know.
    """

    users: list[str]
    items: list[str]
    wanted: NDArray[np.int64]
    basis: list[str]
    new: list[Mapping[str, Any]]


class Sifting:
    """Sifts the chunks of one file, one after the other, before anything is encoded or scored."""

    def __init__(self, tenant: Tenant, names: list[str], where: str, unknown: Unknown) -> None:
        """Begin with a file.

        Args:
            tenant: The run.
            names: Columns of the file.
            where: What errors call it.
            unknown: What becomes of a row of an unknown user, or of an unknown item without text.
        """
        self._where = where
        self._unknown = unknown
        self._texts: dict[str, tuple[int, bytes]] = {}
        self._reads_text = tenant.catalogue.vectors is not None or tenant.model.plan.prompt is not None
        self._new = NewItems.of(tenant.recipe, tenant.items)
        self._columns = [name for name in names if name not in KEYS]
        self.predicted = Predicted(known_users=tuple(tenant.vocabulary.users[:3]))

    def sifted(self, chunk: Chunk, tenant: Tenant) -> Sifted:
        """Return what becomes of the next rows, and count them.

        Args:
            chunk: The rows.
            tenant: The run; items that this file brought may have been added to it.

        Raises:
            InputError: Naming the row that cannot be what it should be.
        """
        users, items = self._ids(chunk)
        predicted = self.predicted
        unknown_user = tenant.vocabulary.user_indices(users) == 0
        self._take_users(users, unknown_user)
        no_item = np.zeros(len(chunk), bool)
        new: list[Mapping[str, Any]] = []
        catalogue = tenant.catalogue.row_of
        for row, item in enumerate(items):
            if item in catalogue and item not in self._texts:
                self._require_text(chunk, row, item, tenant)
                continue
            no_item[row] = not self._take_new(chunk, row, item, new)
        wanted = np.flatnonzero(~no_item & (~unknown_user | (self._unknown == "popular")))
        by_text = tenant.vocabulary.item_indices(items) == 0
        basis = np.select(
            [no_item, unknown_user, by_text], ["unknown-item", "unknown-user", "text"], "personal"
        ).tolist()
        predicted.rows += len(chunk)
        predicted.scored += len(wanted)
        predicted.new_items += len(new)
        return Sifted(users, items, wanted, basis, new)

    def _ids(self, chunk: Chunk) -> tuple[list[str], list[str]]:
        """Return the ids of a chunk after checking that each row has both."""
        users, items = (chunk.ids(key) for key in KEYS)
        for row, (user, item) in enumerate(zip(users, items, strict=True)):
            if not user or not item:
                raise InputError(f"{self._at(row)}: user_id or item_id is empty")
        return [user for user in users if user], [item for item in items if item]

    def _take_users(self, users: list[str], unknown: np.ndarray[Any, np.dtype[np.bool_]]) -> None:
        """Count rows of unknown users, or refuse the first."""
        rows = np.flatnonzero(unknown)
        if not len(rows):
            return
        user = users[rows[0]]
        if self._unknown == "refuse":
            known = ", ".join(f"{each!r:.60}" for each in self.predicted.known_users)
            raise InputError(
                f"{self._at(int(rows[0]))}: user {user!r:.60} is unknown to the run, which knows {known} and others"
            )
        self.predicted.unknown_users += len(rows)
        self.predicted.unknown_user = self.predicted.unknown_user or user

    def _require_text(self, chunk: Chunk, row: int, item: str, tenant: Tenant) -> None:
        """Refuse a text of an item that was added with another one before this file was read.

        What the file says of an item that training knew is not read.
        """
        place = tenant.catalogue.row_of[item] - len(tenant.vocabulary.items)
        if place < 0 or self._new.absent(self._columns):
            return
        text = self._new.text_columns(self._brought(chunk, row, item))
        if text and text != self._new.text_columns(tenant.catalogue.added[place]):
            raise InputError(
                f"{self._at(row)}: the item {item!r:.60} was added to the run with another text: one item has one text"
            )

    def _brought(self, chunk: Chunk, row: int, item: str) -> dict[str, Any]:
        """Return the columns of a row that the text of a new item takes.

        Raises:
            InputError: Naming the row, if a value cannot be brought to its column's type.
        """
        taken = [name for name in self._columns if name == "title" or name in (self._new.types or ())]
        try:
            return self._new.brought({**{name: chunk.value(name, row) for name in taken}, "item_id": item})
        except InputError as error:
            raise InputError(f"{self._at(row)}: {error}") from None

    def _take_new(self, chunk: Chunk, row: int, item: str, new: list[Mapping[str, Any]]) -> bool:
        """Take the text of an item that the run does not know, and return whether there is one.

        Raises:
            InputError: If a value cannot be brought to its column's type, or the item had another text before.
        """
        absent = self._new.absent(self._columns) if self._reads_text and self._new.types is not None else []
        if not self._reads_text or absent:
            return self._without_text(row, item, absent)
        brought = self._brought(chunk, row, item)
        text = self._new.text_columns(brought)
        digest = hashlib.blake2b(json.dumps(text, default=str).encode(), digest_size=16).digest()
        first = self._texts.setdefault(item, (self.predicted.rows + row + 1, digest))
        if first[1] != digest:
            raise InputError(
                f"{self._at(row)}: the new item {item!r:.60} has another text in row {first[0]}: one item has one text"
            )
        if not text:
            return self._without_text(row, item, list(self._new.types or ()))
        if first[0] == self.predicted.rows + row + 1:
            new.append(brought)
        return True

    def _without_text(self, row: int, item: str, absent: list[str]) -> bool:
        """Count a row whose item cannot be scored, or refuse it."""
        predicted = self.predicted
        if self._unknown == "refuse":
            texts = f"the columns that its text takes: {', '.join(absent):.200}" if absent else "one that it knows"
            raise InputError(f"{self._at(row)}: item {item!r:.60} is unknown to the run; give {texts}")
        predicted.unknown_items += 1
        predicted.unknown_item = predicted.unknown_item or item
        predicted.absent = tuple(absent)
        return False

    def _at(self, row: int) -> str:
        return f"{self._where}, row {self.predicted.rows + row + 1}"


def scores_of(tenant: Tenant, users: list[str], items: list[str], wanted: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return scores of some rows of a chunk, NaN for the others, float32 [n].

    Raises:
        InputError: If a score is not finite.
    """
    scores = np.full(len(users), np.nan, np.float32)
    asked = [users[row] for row in wanted], [items[row] for row in wanted]
    scores[wanted] = tenant.pairs(*asked, histories=None, chunk=CHUNK_ROWS)
    return scores

"""Files of one category as MiniOneRec publishes them: which there are, rows of purchases, and what items are called."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from llmrec_peft.plugins import InputError, without_markup
from llmrec_recipes.text_files import Record, csv_rows, json_object, required_file, whole_number

HEADER = (
    *("user_id", "history_item_title", "item_title", "history_item_id", "item_id"),
    *("history_item_sid", "item_sid"),
)
"""Columns of the files of purchases. Titles and semantic ids are read from the files of items instead."""
_ENDINGS = (".valid.csv", ".test.csv", ".item.json", ".index.json")

_LONGEST_ID = 19
"""Digits that an id has fewer of: Arrow stores numbers in 64 bits."""


@dataclass(frozen=True)
class Purchase:
    """A row: what a user bought next.

    Attributes:
        line: Its line in the file.
        user: The user's id.
        history: Items that he bought before, the newest last: at most the ten that the publisher keeps.
        item: The item.
    """

    line: int
    user: str
    history: tuple[str, ...]
    item: str


@dataclass(frozen=True)
class Described:
    """What the files of items say, in the order of the ids.

    Attributes:
        ids: Item ids.
        title: Titles without markup.
        brand: Brands, None where none is known.
        codes: Semantic ids, such as ``a12 b7 c201``: MiniOneRec's clusters of the items' texts, the coarsest first;
            None where an item has none.
    """

    ids: list[str]
    title: list[str | None]
    brand: list[str | None]
    codes: list[str | None]


def category_in(folder: Path, wanted: str | None) -> str:
    """Return the category whose files are read.

    Args:
        folder: Folder with the files of one or several categories.
        wanted: `data.options.category`.

    Raises:
        InputError: When the folder has none, not the wanted one, or several of which none is chosen.
    """
    try:
        names = [entry.name.removesuffix(".gz") for entry in folder.iterdir()] if folder.is_dir() else []
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror or error}") from None
    found = sorted({name.removesuffix(end) for name in names for end in _ENDINGS if name.endswith(end) and name != end})
    if not found:
        required_file(folder, "CATEGORY.valid.csv.gz")  # says what the folder holds
    listed = ", ".join(f"{name!a:.60}" for name in found[:8])
    if wanted is None and len(found) > 1:
        raise InputError(f"data.options.category: {folder} has {listed}: name one of them")
    if wanted is not None and wanted not in found:
        raise InputError(f"data.options.category: {folder} has {listed}, not {wanted!a:.60}")
    return found[0] if wanted is None else wanted


def file_of(folder: Path, name: str) -> Path:
    """Return the path of a file, packed as it is published, or unpacked.

    Raises:
        InputError: When neither is there, or it is empty.
    """
    return required_file(folder, name if (folder / name).is_file() else f"{name}.gz")


def purchases(path: Path) -> Iterator[Purchase]:
    """Yield the rows of a file of purchases, which its owner sorted by time.

    Raises:
        InputError: Naming file, line and field of what is wrong.
    """
    for line, fields in csv_rows(path, HEADER):
        row = dict(zip(HEADER, fields, strict=True))
        user = row["user_id"].strip()
        if not user:
            raise InputError(f"{path}, line {line}: user_id is empty")
        item = str(whole_number(row["item_id"], path, line, "item_id", low=0))
        yield Purchase(line, user, _history(row["history_item_id"], path, line), item)


def described(folder: Path, category: str) -> Described:
    """Read the titles, brands and semantic ids of a category's items.

    Raises:
        InputError: Naming file, item and field of what is wrong.
    """
    path, codes_path = (file_of(folder, f"{category}.{kind}.json") for kind in ("item", "index"))
    items, codes = json_object(path), json_object(codes_path)
    for name in items.fields:
        if not (name.isascii() and name.isdigit() and len(name) < _LONGEST_ID):
            raise InputError(f"{path}: {name[:20]!a} where an item's id, a whole number, belongs")
    ids = sorted(items.fields, key=int)
    found = Described(ids, [], [], [])
    for name in ids:
        fields = items.fields[name]
        where = f"{path}, item {name[:20]}"
        if not isinstance(fields, dict):
            raise InputError(f"{where}: no object with title, description, brand and categories")
        record = Record(where, fields)
        found.title.append(record.text("title", ""))
        found.brand.append(record.text("brand", "").strip() or None)
        tokens = Record(f"{codes_path}, item {name[:20]}", codes.fields).texts(name)
        found.codes.append(" ".join(token.strip("<>").replace("_", "") for token in tokens) or None)
    return replace(found, title=_plain(found.title), brand=_plain(found.brand))


def _plain(texts: Sequence[str | None]) -> list[Any]:
    """Return texts without markup and HTML entities."""
    import pyarrow as pa

    return list(without_markup(pa.chunked_array([pa.array(texts, pa.string())])).to_pylist())


def _history(text: str, path: Path, line: int) -> tuple[str, ...]:
    """Return the items of a list such as ``[12, 7]``: JSON, nothing of which is run."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        _refuse(text, path, line)
    if not isinstance(values, list) or any(type(value) is not int or not 0 <= value < 1 << 63 for value in values):
        _refuse(text, path, line)
    return tuple(map(str, values))


def _refuse(text: str, path: Path, line: int) -> NoReturn:
    raise InputError(f"{path}, line {line}: history_item_id {text[:40]!a} where a list of ids such as [12, 7] belongs")

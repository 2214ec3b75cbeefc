"""MovieLens-100K in GroupLens' layout: films, genres and users beside the ratings, which may be divided."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec_peft.plugins import InputError, interactions_table, table
from llmrec_recipes.at_once import WHOLE, all_in, all_match, columns_at_once
from llmrec_recipes.byte_lines import encoding_of
from llmrec_recipes.movies.found import OLDEST, Found, require_new
from llmrec_recipes.movies.titles import title_and_year
from llmrec_recipes.text_files import required_file, rows, whole_number

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

FILES = ("u.item", "u.genre", "u.user", "u.data", "u1.base", "u1.test")
"""Files of which one alone tells the layout."""
_RATINGS = (1, 5)
_OWNERS_ENCODING = "latin-1"
_ITEM_FIELDS = 24


def read_100k(path: Path) -> Found:
    """Read ``u1.base`` and ``u1.test`` (or only ``u.data``), ``u.item``, ``u.genre`` and ``u.user``.

    Args:
        path: Folder in the owner's layout.

    Raises:
        InputError: Naming file and line of the mistake.
    """
    described = {name: required_file(path, name) for name in ("u.genre", "u.item", "u.user")}
    encodings = {name: encoding_of(file, _OWNERS_ENCODING) for name, file in described.items()}
    genres = [name for _, (name, _) in rows(described["u.genre"], "|", 2, encodings["u.genre"])]
    items = _items(described["u.item"], encodings["u.item"], genres)
    users = _users(described["u.user"], encodings["u.user"])
    converted = [name for name, encoding in encodings.items() if encoding != _OWNERS_ENCODING]
    if (path / "u1.base").is_file() or not (path / "u.data").is_file():
        parts = [(required_file(path, "u1.base"), "train"), (required_file(path, "u1.test"), "test")]
    else:
        parts = [(required_file(path, "u.data"), "")]
    return Found(
        name="MovieLens-100K",
        interactions=_interactions(parts, set(items["item_id"]), set(users["user_id"])),
        items=items,
        users=users,
        rating_range=_RATINGS,
        described_in="u.item",
        notes=tuple(f"{name} is read as UTF-8; the owner's is {_OWNERS_ENCODING}" for name in converted),
    )


def _items(path: Path, encoding: str, genres: list[str]) -> Dataset:
    columns: dict[str, list[Any]] = {"item_id": [], "title": [], "year": [], "genres": []}
    seen: set[str] = set()
    for line, fields in rows(path, "|", _ITEM_FIELDS, encoding):
        require_new(fields[0], seen, path, line, "item")
        flags = fields[5:]
        if set(flags) - {"0", "1"}:
            raise InputError(f"{path}, line {line}: genre flags must be 0 or 1")
        title, year = title_and_year(fields[1])
        columns["item_id"].append(fields[0])
        columns["title"].append(title)
        columns["year"].append(year)
        named = [genre for genre, flag in zip(genres, flags, strict=False) if flag == "1" and genre != "unknown"]
        columns["genres"].append(named)
    return table(columns)


def _users(path: Path, encoding: str) -> Dataset:
    columns: dict[str, list[Any]] = {"user_id": [], "age": [], "gender": [], "occupation": []}
    seen: set[str] = set()
    for line, (user, age, gender, occupation, _zip) in rows(path, "|", 5, encoding):
        require_new(user, seen, path, line, "user")
        columns["user_id"].append(user)
        columns["age"].append(whole_number(age, path, line, "age", 0, OLDEST))
        columns["gender"].append(gender)
        columns["occupation"].append(occupation)
    return table(columns)


def _interactions(parts: list[tuple[Path, str]], items: set[str], users: set[str]) -> Dataset:
    """Return the interactions of some files: read at once where all lines are in order, else line by line."""
    at_once = [_at_once(path, part, items, users) for path, part in parts]
    clean = [read for read in at_once if read is not None]
    if len(clean) == len(parts):
        import pyarrow as pa

        whole = pa.concat_tables(clean)
        return interactions_table(**{name: whole.column(name) for name in whole.column_names})
    return _by_line(parts, items, users)


def _at_once(path: Path, part: str, items: set[str], users: set[str]) -> pa.Table | None:
    """Return the interactions of a file; None where a line holds something else than known ids, stars and a time."""
    read = columns_at_once(path, "\t", ("user_id", "item_id", "rating", "timestamp"))
    if read is None or not all_in(read["user_id"], list(users)) or not all_in(read["item_id"], list(items)):
        return None
    stars = [str(number) for number in range(_RATINGS[0], _RATINGS[1] + 1)]
    if not all_in(read["rating"], stars) or not all_match(read["timestamp"], WHOLE):
        return None
    import pyarrow as pa

    for at, (name, kind) in enumerate((("rating", pa.float32()), ("timestamp", pa.int64())), start=2):
        read = read.set_column(at, name, read[name].cast(kind))
    return read.append_column("part", pa.repeat(pa.scalar(part, pa.string()), len(read)))


def _by_line(parts: list[tuple[Path, str]], items: set[str], users: set[str]) -> Dataset:
    columns: dict[str, list[Any]] = {"user_id": [], "item_id": [], "rating": [], "timestamp": [], "part": []}
    for path, part in parts:
        for line, (user, item, rating, timestamp) in rows(path, "\t", 4):
            if item not in items:
                raise InputError(f"{path}, line {line}: item {item[:20]!r} is not in u.item")
            if user not in users:
                raise InputError(f"{path}, line {line}: user {user[:20]!r} is not in u.user")
            value = whole_number(rating, path, line, "rating", *_RATINGS)
            columns["user_id"].append(user)
            columns["item_id"].append(item)
            columns["rating"].append(float(value))
            columns["timestamp"].append(whole_number(timestamp, path, line, "timestamp"))
            columns["part"].append(part)
    return interactions_table(**columns)

"""Films and ratings of the larger MovieLens, whose files list an id, a title and genres, and a rating a line."""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from llmrec_peft.plugins import BadRow, FileForm, InputError, interactions_table, lines_of_rows, read_table, table
from llmrec_recipes.movies.titles import title_and_year

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset
    from numpy.typing import NDArray

FILM_COLUMNS = ("movieId", "title", "genres")
RATING_COLUMNS = ("userId", "movieId", "rating", "timestamp")
_NO_GENRES = "(no genres listed)"
_LATEST = 1 << 32
"""Seconds since 1970, in the year 2106: a larger number counts milliseconds."""


def read_films(path: Path, form: FileForm) -> Dataset:
    """Read the films: ``item_id``, ``title`` with its article in front, ``year`` (or null), ``genres``.

    Args:
        path: File with the columns `FILM_COLUMNS`.
        form: How it is written.

    Raises:
        InputError: Naming file, line and column of what cannot be read, and of an id that is empty or there twice.
    """
    read = read_table(path, form, _texts(FILM_COLUMNS)).table
    ids = read.column("movieId").to_pylist()
    _require_distinct(ids, path, form)
    parted = [title_and_year(html.unescape(title)) for title in read.column("title").to_pylist()]
    genres = [
        [genre for genre in map(str.strip, html.unescape(text).split("|")) if genre and genre != _NO_GENRES]
        for text in read.column("genres").to_pylist()
    ]
    columns: dict[str, list[Any]] = {
        "item_id": ids,
        "title": [title for title, _ in parted],
        "year": [year for _, year in parted],
        "genres": genres,
    }
    return table(columns)


def read_ratings(
    path: Path, form: FileForm, films: tuple[str, Dataset], users: tuple[str, Dataset] | None, stars: tuple[float, ...]
) -> Dataset:
    """Read the ratings into Arrow: nothing makes a Python object for one of them.

    Args:
        path: File with the columns `RATING_COLUMNS`.
        form: How it is written.
        films: The file that names the films, and the films.
        users: The file that names the users, and the users; None where the ratings alone know them.
        stars: The ratings that there are.

    Raises:
        InputError: Naming file, line and column of the first rating that is none.
    """
    import pyarrow as pa
    from pyarrow import compute

    kinds = {**_texts(RATING_COLUMNS), "rating": pa.float64(), "timestamp": pa.int64()}
    read = read_table(path, form, kinds).table
    if len(read) == 0:
        raise InputError(f"{path}: the file holds no rating")
    _require_known(read, "movieId", films, path, form)
    if users is not None:
        _require_known(read, "userId", users, path, form)
    else:
        empty = compute.equal(compute.utf8_trim_whitespace(read.column("userId")), "")
        _require(~np.asarray(empty), read, "userId", "where a user's id belongs", path, form)
    rating, time = (np.asarray(read.column(name).fill_null(-1)) for name in ("rating", "timestamp"))
    steps = ", ".join(f"{one:g}" for one in stars)
    _require(np.isin(rating, stars), read, "rating", f"where one of {steps} belongs", path, form)
    within = (time >= 0) & (time < _LATEST)
    _require(within, read, "timestamp", f"where seconds since 1970, 0 to {_LATEST - 1}, belong", path, form)
    return interactions_table(
        user_id=read.column("userId"),
        item_id=read.column("movieId"),
        rating=read.column("rating").cast(pa.float32()),
        timestamp=read.column("timestamp"),
    )


def users_of(ratings: Dataset) -> Dataset:
    """Return the users table of ratings that no file of users comes with, in the order of their first ratings."""
    from pyarrow import compute

    return table({"user_id": compute.unique(ratings.data.table.column("user_id"))})


def _texts(names: tuple[str, ...]) -> Mapping[str, pa.DataType]:
    """Return the type of text for each column, all of which the file must have."""
    import pyarrow as pa

    return dict.fromkeys(names, pa.string())


def _require_distinct(ids: list[str], path: Path, form: FileForm) -> None:
    """Refuse an id that is empty, has blanks around it, or was there before."""
    seen: set[str] = set()
    for row, name in enumerate(ids):
        if not name or name != name.strip():
            _refuse(row, "movieId", f"{name[:20]!r} where a film's id belongs", path, form)
        if name in seen:
            _refuse(row, "movieId", f"{name[:20]!r} is there twice", path, form)
        seen.add(name)


def _require_known(read: pa.Table, column: str, known: tuple[str, Dataset], path: Path, form: FileForm) -> None:
    """Refuse a rating of a film, or by a user, that the file of films or users lacks."""
    from pyarrow import compute

    file, described = known
    ids = described.data.table.column(0).combine_chunks()
    there = compute.is_in(read.column(column), value_set=ids)
    _require(np.asarray(there), read, column, f"which is not in {file}", path, form)


def _require(right: NDArray[np.bool_], read: pa.Table, column: str, expected: str, path: Path, form: FileForm) -> None:
    """Refuse the first row that is not right."""
    if right.all():
        return
    row = int(np.argmin(right))
    value = read.column(column)[row].as_py()
    text = "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
    _refuse(row, column, f"{text[:20]!r} {expected}", path, form)


def _refuse(row: int, column: str, reason: str, path: Path, form: FileForm) -> NoReturn:
    (line,) = lines_of_rows(path, form, [row])
    raise InputError(str(BadRow(path, line, column, reason)))

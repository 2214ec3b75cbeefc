"""Texts about films from a file of the user's own: plots, or reviews with their writers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from llmrec_peft.plugins import (
    FileForm,
    InputError,
    RecDataset,
    as_texts,
    file_below,
    interactions_table,
    read_table,
    sniffed,
    table,
    without_markup,
)

if TYPE_CHECKING:
    import pyarrow as pa

_FIELD = "data.options.reviews"
_ITEM = ("movieid", "itemid", "filmid", "movie", "item", "film", "id")
_LINKED = ("imdbid", "tmdbid")
_USER = ("userid", "user", "reviewerid", "reviewer")
_TEXT = (
    "plot",
    "review",
    "reviewtext",
    "reviews",
    "overview",
    "synopsis",
    "summary",
    "description",
    "text",
    "storyline",
)
_LINK_COLUMNS = ("movieId", "imdbId", "tmdbId")


def with_texts(dataset: RecDataset, folder: Path, name: str) -> RecDataset:
    """Return a dataset with the texts of a file.

    Texts without a user become the items' column ``plot``: null for a film that has none, joined by a blank where it
    has several. Texts with a user become the interactions' column ``review``, empty where there is none; of several for
    one pair the first counts. Markup is removed. Rows that match nothing are left out and counted in the notes.

    Args:
        dataset: Films and ratings.
        folder: Folder of the data, which the file lies in.
        name: The file's name, relative to the folder.

    Raises:
        InputError: If there is no such file below the folder, it cannot be read, or it has no column of films or texts;
            if it matches nothing.
    """
    file = file_below(folder, name, _FIELD)
    read = read_table(file, sniffed(file, {"header": True}).form).table
    text = _column(read, _TEXT)
    item = _column(read, (*_ITEM, *_LINKED))
    if text is None or item is None:
        what = "texts (plot, review, overview, text)" if text is None else "films (movieId, or imdbId or tmdbId)"
        raise InputError(f"{file}: no column of {what}; there are {', '.join(map(str, read.column_names[:8]))}")
    user = _column(read, _USER)
    texts = without_markup(as_texts(read.column(text), missing=False))
    items = as_texts(read.column(item), missing=False)
    if _bare(item) in _LINKED:
        items = _by_links(items, folder, _bare(item))
    if user is None:
        return _with_plots(dataset, items, texts, name)
    return _with_reviews(dataset, as_texts(read.column(user), missing=False), items, texts, name)


def _bare(name: str) -> str:
    """Return a column's name in small letters alone: ``movie_id`` and ``movieId`` are one."""
    return re.sub(r"[^a-z]", "", name.lower())


def _column(read: pa.Table, known: Sequence[str]) -> str | None:
    """Return the column of the first known name that there is."""
    bare = {_bare(name): name for name in reversed(read.column_names)}
    return next((bare[name] for name in known if name in bare), None)


def _by_links(foreign: pa.ChunkedArray, folder: Path, column: str) -> pa.ChunkedArray:
    """Return the films that ids of IMDb or TMDB stand for, by ``links.csv``; null for those that it lacks."""
    import pyarrow as pa
    from pyarrow import compute

    file = folder / "links.csv"
    if not file.exists():
        raise InputError(
            f"{_FIELD}: films are known by {column} there, and {file} is missing, which says what they are"
        )
    links = read_table(file, FileForm(), dict.fromkeys(_LINK_COLUMNS, pa.string())).table
    named = {_bare(name): links.column(name) for name in _LINK_COLUMNS}
    places = compute.index_in(_digits(foreign), value_set=_digits(named[column]).combine_chunks())
    return named["movieid"].combine_chunks().take(places)


def _digits(ids: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return ids without the ``tt`` and the zeros in front that IMDb writes and spreadsheets drop."""
    from pyarrow import compute

    return compute.replace_substring_regex(ids, "^(?:tt)?0*([0-9])", r"\1")


def _with_plots(dataset: RecDataset, items: pa.Array, texts: pa.ChunkedArray, name: str) -> RecDataset:
    import pyarrow as pa

    films = dataset.items.data.table
    plots: dict[str, dict[str, None]] = {item: {} for item in films.column("item_id").to_pylist()}
    others = 0
    for item, text in zip(items.to_pylist(), texts.to_pylist(), strict=True):
        if item not in plots:
            others += 1
        elif text:
            plots[item].setdefault(text)
    column = [" ".join(found) or None for found in plots.values()]
    lacking = sum(text is None for text in column)
    _require_some(lacking < len(column), name)
    whole = {**{one: films.column(one) for one in films.column_names}, "plot": pa.array(column, pa.string())}
    said = _said((f"rows of {name} about other films, left out", others), (f"films without a text in {name}", lacking))
    return replace(dataset, items=table(whole), notes=(*dataset.notes, *said))


def _with_reviews(
    dataset: RecDataset, users: pa.Array, items: pa.Array, texts: pa.ChunkedArray, name: str
) -> RecDataset:
    import pyarrow as pa
    from pyarrow import compute

    rated = dataset.interactions.data.table
    pairs = _pairs(rated.column("user_id"), rated.column("item_id"), users, items)
    places = compute.index_in(pairs[0], value_set=pairs[1])
    column = compute.fill_null(texts.combine_chunks().take(places), "")
    met = compute.is_in(pairs[1], value_set=pairs[0])
    others = len(met) - compute.sum(met).as_py()
    lacking = compute.sum(compute.equal(column, "")).as_py()
    _require_some(lacking < len(column), name)
    whole = {one: rated.column(one) for one in rated.column_names} | {"review": column.cast(pa.string())}
    said = _said(
        (f"rows of {name} of pairs that are no rating here, left out", others),
        (f"ratings without a review in {name}", lacking),
    )
    return replace(dataset, interactions=interactions_table(**whole), notes=(*dataset.notes, *said))


def _pairs(
    users: pa.ChunkedArray, items: pa.ChunkedArray, of_users: pa.Array, of_items: pa.Array
) -> tuple[pa.Array, pa.Array]:
    """Return one number for each pair of user and film, of ratings and of reviews; null where one is missing."""
    import pyarrow as pa
    from pyarrow import compute

    known = compute.unique(users), compute.unique(items)
    numbers = []
    for pair in ((users, items), (of_users, of_items)):
        user, item = (
            compute.index_in(one, value_set=ids).cast(pa.int64()) for one, ids in zip(pair, known, strict=True)
        )
        number = compute.add(compute.multiply(user, len(known[1])), item)
        numbers.append(number.combine_chunks() if isinstance(number, pa.ChunkedArray) else number)
    return numbers[0], numbers[1]


def _require_some(there: bool, name: str) -> None:
    if not there:
        raise InputError(f"{_FIELD}: no text of {name} is about a film (or rating) of this data: are its ids others?")


def _said(*counts: tuple[str, int]) -> list[str]:
    return [f"{what}: {count}" for what, count in counts if count]

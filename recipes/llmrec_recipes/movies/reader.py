"""Reader of MovieLens-100K in GroupLens' layout, and of Freebase triples about the films."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from llmrec_peft.plugins import Download, InputError, KnowledgeGraph, Reader, RecDataset, interactions_table, table
from llmrec_recipes.at_once import WHOLE, all_in, all_match, columns_at_once
from llmrec_recipes.byte_lines import encoding_of
from llmrec_recipes.text_files import required_file, required_match, rows, whole_number

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

_LICENCE = (
    "MovieLens 100K (c) GroupLens, University of Minnesota. Research use; no redistribution without permission;\n"
    "no commercial use without permission. Cite: F. M. Harper and J. A. Konstan, The MovieLens Datasets: History\n"
    "and Context, ACM TiiS 5(4), 2015, doi:10.1145/2827872."
)
_RATINGS = (1, 5)
_OWNERS_ENCODING = "latin-1"
_OLDEST = 150
"""Largest age in years that is read; a larger number is another column."""
_ITEM_FIELDS = 24
_YEAR = re.compile(r"\s*\((\d{4})(?:/[IVX]+)?\)(?:\s*\(T?V\))?\s*$")
_ARTICLE = re.compile(r"^(?P<rest>.+), (?P<article>The|A|An|Le|La|Les|Il|Los|Das|Der|Die|El)(?P<more>(?: \(.*\))?)$")


class Movies(Reader):
    """Ratings of films from MovieLens-100K, film texts, and optionally Freebase triples about the films."""

    summary: ClassVar[str] = "MovieLens-100K ratings with film texts and, optionally, Freebase triples"
    download: ClassVar[Download | None] = Download(
        url="https://files.grouplens.org/datasets/movielens/ml-100k.zip",
        md5="0e33842e24a9c977be4e0107933c0723",
        folder="ml-100k",
        sha256={
            "README": "0be24b7f62d9c14ed654236a7d48c3cdf7cd1e78b70a580bd0212e1b69136a34",
            "u.data": "06416e597f82b7342361e41163890c81036900f418ad91315590814211dca490",
            "u.genre": "9757e0d3e6b298159a80dd48eaf938114690e911e39af97a76949ef1663610bb",
            "u.info": "5b0a40b2e47a729ee6203063f6dcf8790c2e63f5a18663e6ee318a72c5f3c27b",
            "u.item": "553841ebc7de3a0fd0d6b62a204ea30c1e651aacfb2814c7a6584ac52f2c5701",
            "u.occupation": "94176a530a47df7fe1208410894caf4805dd6b902b1148fb65fb7592b2cc79b2",
            "u.user": "f120e114da2e8cf314fd28f99417c94ae9ddf1cb6db8ce0e4b5995d40e90e62c",
            "u1.base": "ce253ec86c448b44fb3ba9a30d12dcfc2e9210cbde71efada3730c22e9ac212a",
            "u1.test": "18c6014a4b2c7324f250a63f8904a7b16b2b19f911129e346141507b0cbac950",
        },
        licence=_LICENCE,
    )

    def read(self, path: Path, graph: Path | None) -> RecDataset:
        """Read ``u1.base`` and ``u1.test`` (or only ``u.data``), ``u.item``, ``u.genre`` and ``u.user``."""
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
        linked, others = _graph(graph, set(items["item_id"])) if graph else (None, 0)
        notes = [f"{name} is read as UTF-8; the owner's is {_OWNERS_ENCODING}" for name in converted]
        if others:
            notes.append(f"links of the graph to films that are not in u.item, left out: {others}")
        return RecDataset(
            name="MovieLens-100K",
            interactions=_interactions(parts, set(items["item_id"]), set(users["user_id"])),
            items=items,
            users=users,
            rating_range=_RATINGS,
            graph=linked,
            licence=_LICENCE,
            notes=tuple(notes),
        )

    def demo(self, seed: int) -> RecDataset:
        """Make up films whose descriptions predict who likes them; see `llmrec_recipes.movies.demo`."""
        from llmrec_recipes.movies.demo import demo_dataset

        return demo_dataset(seed)


def title_and_year(text: str) -> tuple[str, int | None]:
    """Split MovieLens' title into the title with its article in front and the year.

    >>> title_and_year("Postino, Il (1994)")
    ('Il Postino', 1994)
    >>> title_and_year("unknown")
    ('unknown', None)
    """
    found = _YEAR.search(text)
    title = _YEAR.sub("", text).strip()
    moved = _ARTICLE.match(title)
    if moved:
        title = f"{moved['article']} {moved['rest']}{moved['more']}"
    return title, int(found[1]) if found else None


def _items(path: Path, encoding: str, genres: list[str]) -> Dataset:
    columns: dict[str, list[Any]] = {"item_id": [], "title": [], "year": [], "genres": []}
    seen: set[str] = set()
    for line, fields in rows(path, "|", _ITEM_FIELDS, encoding):
        _require_new(fields[0], seen, path, line, "item")
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


def _require_new(name: str, seen: set[str], path: Path, line: int, what: str) -> None:
    """Refuse an id that is empty or was there before; remember it."""
    if not name.strip():
        raise InputError(f"{path}, line {line}: the {what}'s id is empty")
    if name in seen:
        raise InputError(f"{path}, line {line}: {what} {name[:20]!r} is there twice")
    seen.add(name)


def _users(path: Path, encoding: str) -> Dataset:
    columns: dict[str, list[Any]] = {"user_id": [], "age": [], "gender": [], "occupation": []}
    seen: set[str] = set()
    for line, (user, age, gender, occupation, _zip) in rows(path, "|", 5, encoding):
        _require_new(user, seen, path, line, "user")
        columns["user_id"].append(user)
        columns["age"].append(whole_number(age, path, line, "age", 0, _OLDEST))
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


def _graph(folder: Path, items: set[str]) -> tuple[KnowledgeGraph, int]:
    """Read ``*.kg`` (head, relation, tail) and ``*.link`` (item, entity), tab-separated with a header.

    Returns:
        The graph, and how many links to other films were left out.
    """
    if not folder.is_dir():
        raise InputError(f"no graph folder {folder}")
    found = {ending: required_match(folder, f"*.{ending}") for ending in ("kg", "link")}
    links: dict[str, list[Any]] = {"item_id": [], "entity_id": []}
    others = 0
    for _line, (item, entity) in rows(found["link"], "\t", 2, header=True):
        if item not in items:  # the linkage also covers films that later editions dropped
            others += 1
            continue
        links["item_id"].append(item)
        links["entity_id"].append(entity)
    triples: dict[str, list[Any]] = {"head": [], "relation": [], "tail": []}
    for _line, (head, relation, tail) in rows(found["kg"], "\t", 3, header=True):
        triples["head"].append(head)
        triples["relation"].append(relation)
        triples["tail"].append(tail)
    if not links["item_id"] or not triples["head"]:
        raise InputError(f"{folder}: the graph links no item of this data")
    return KnowledgeGraph(table(triples), table(links)), others

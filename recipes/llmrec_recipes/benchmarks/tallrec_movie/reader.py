"""Readers of TALLRec's benchmarks: records that give liked and disliked films or books and a question as texts."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from llmrec_peft.plugins import Reader, RecDataset, interactions_table, table
from llmrec_recipes.benchmarks.films import films_table
from llmrec_recipes.benchmarks.tallrec_movie.books import asked_book, books_table, listed_books
from llmrec_recipes.benchmarks.tallrec_movie.films import asked_film, listed_films
from llmrec_recipes.benchmarks.tallrec_movie.persons import persons
from llmrec_recipes.text_files import Record, json_array, no_graph, required_file

if TYPE_CHECKING:
    from datasets import Dataset

_PARTS = ("train", "valid", "test")
_LIKED, _DISLIKED = "User Preference:", "User Unpreference:"
_LABELS = {"Yes.": 1.0, "No.": 0.0}


class TallrecRecords(Reader):
    """Likes and dislikes; each record has a history of its own and names no user.

    Each record is read as a user of its own (``train-17``: part and position in the file, from 0). An item's id is its
    text as published. The history holds what was liked, then what was disliked: the order in time is not published.
    """

    subject: ClassVar[str]
    """What records ask about."""
    licence: ClassVar[str]
    """What the owners allow."""
    listing: ClassVar[str]
    """Two items as a list has them, for messages."""
    question: ClassVar[str]
    """An item as the question has it, for messages."""
    own_title: ClassVar[str]
    """What is noted of records whose item is in their own history."""
    windows: ClassVar[bool]
    """Whether records are windows over persons' ratings, so that several records are one person's."""

    def read(self, path: Path, graph: Path | None) -> RecDataset:
        """Read ``train.json``, ``valid.json`` and ``test.json``."""
        no_graph(graph, f"TALLRec's {self.subject}s")
        columns: dict[str, list[Any]] = {name: [] for name in ("user_id", "item_id", "rating", "timestamp", "part")}
        histories: dict[str, list[Any]] = {"history": [], "history_rating": []}
        items: dict[str, None] = {}
        known = 0
        for part in _PARTS:
            for place, record in enumerate(json_array(required_file(path, f"{part}.json"))):
                liked, disliked, target = self._asked(record)
                if record.text("output") not in _LABELS:
                    record.refuse("output", '"Yes." or "No."')
                columns["user_id"].append(f"{part}-{place}")
                columns["item_id"].append(target)
                columns["rating"].append(_LABELS[record.text("output")])
                columns["timestamp"].append(len(columns["timestamp"]))
                columns["part"].append(part)
                histories["history"].append([*liked, *disliked])
                histories["history_rating"].append([1.0] * len(liked) + [0.0] * len(disliked))
                items.update(dict.fromkeys([*liked, *disliked, target]))
                known += target in histories["history"][-1]
        person = None
        if self.windows:
            judged = [list(zip(*both, strict=True)) for both in zip(*histories.values(), strict=True)]
            person = [str(number) for number in persons(judged)]
        return RecDataset(
            name=f"TALLRec {self.subject}",
            interactions=interactions_table(**columns, **histories, person=person),
            items=self.items_table(list(items)),
            users=table({"user_id": columns["user_id"]}),
            rating_range=(0, 1),
            licence=self.licence,
            notes=(f"{self.own_title}: {known}",) if known else (),
            feedback="click",
        )

    @staticmethod
    @abstractmethod
    def listed(text: str) -> list[str] | None:
        """Return the ids of the items of a list that is not empty; None if it is none."""

    @staticmethod
    @abstractmethod
    def asked(text: str) -> str | None:
        """Return the id of the item between the question's words and its mark; None if it is none."""

    @staticmethod
    @abstractmethod
    def items_table(ids: list[str]) -> Dataset:
        """Return the items table of some ids."""

    def _asked(self, record: Record) -> tuple[list[str], list[str], str]:
        """Return the liked items, the disliked items, and the item that the record asks about."""
        lines = record.text("input").strip().split("\n")
        if len(lines) != 3:  # noqa: PLR2004 - liked, disliked, the question
            record.refuse("input", f"three lines ({_LIKED} … / {_DISLIKED} … / the question)")
        begin, line = f"Whether the user will like the target {self.subject} ", lines[2].strip()
        fits = line.startswith(begin) and line.endswith("?")
        target = self.asked(line.removeprefix(begin).removesuffix("?")) if fits else None
        if target is None:
            record.refuse("input", f"a third line like: {begin}{self.question}?", lines[2])
        return self._items_of(record, lines[0], _LIKED), self._items_of(record, lines[1], _DISLIKED), target

    def _items_of(self, record: Record, line: str, prefix: str) -> list[str]:
        """Return the items after a prefix; there may be none."""
        text = line.removeprefix(prefix).strip()
        found = [] if not text else self.listed(text)
        if found is None or not line.startswith(prefix):
            record.refuse("input", f"a line like: {prefix} {self.listing}", line)
        return found


class TallrecMovie(TallrecRecords):
    """Likes and dislikes of films, whose ids are their titles as published.

    Records whose histories overlap are windows over one person's ratings; such persons are resampled as a whole for
    intervals (the 1,000 test records come from 16).
    """

    summary: ClassVar[str] = "TALLRec's like/dislike records over MovieLens-100K, each with its own history"
    subject: ClassVar[str] = "movie"
    licence: ClassVar[str] = (
        "TALLRec's records are derived from MovieLens 100K (c) GroupLens, University of Minnesota: research use, no\n"
        "redistribution without permission. Cite: K. Bao et al., TALLRec, RecSys 2023, doi:10.1145/3604915.3608857."
    )
    listing: ClassVar[str] = '"Heat (1995)", "Alien (1979)"'
    question: ClassVar[str] = '"Heat (1995)"'
    own_title: ClassVar[str] = "records that ask about a title of their own history (two films can share one)"
    windows: ClassVar[bool] = True
    listed = staticmethod(listed_films)
    asked = staticmethod(asked_film)

    @staticmethod
    def items_table(ids: list[str]) -> Dataset:
        """Return ``item_id``, ``title`` with its article in front, and ``year``."""
        return films_table(ids)

    def demo(self, seed: int) -> RecDataset:
        """Make up records in which a film's title decides who likes it; see `demo_dataset`."""
        from llmrec_recipes.benchmarks.tallrec_movie.demo import demo_dataset

        return demo_dataset(seed)


class TallrecBook(TallrecRecords):
    """Likes and dislikes of books, whose ids are ``"TITLE" written by AUTHOR`` as published.

    Each record is the whole history of one of Book-Crossing's users.
    """

    summary: ClassVar[str] = "TALLRec's like/dislike records over Book-Crossing, each with its own history"
    subject: ClassVar[str] = "book"
    licence: ClassVar[str] = (
        "TALLRec's records are derived from Book-Crossing, collected by C.-N. Ziegler: research use, with\n"
        "acknowledgement. Cite: C.-N. Ziegler et al., WWW 2005, doi:10.1145/1060745.1060754; K. Bao et al., TALLRec,\n"
        "RecSys 2023, doi:10.1145/3604915.3608857."
    )
    listing: ClassVar[str] = '"Kim" written by Rudyard Kipling, "Emma" written by Jane Austen'
    question: ClassVar[str] = '""Kim" written by Rudyard Kipling"'
    own_title: ClassVar[str] = "records that ask about a book of their own history"
    windows: ClassVar[bool] = False
    listed = staticmethod(listed_books)
    asked = staticmethod(asked_book)
    items_table = staticmethod(books_table)

    def demo(self, seed: int) -> RecDataset:
        """Make up records in which a book's title decides who likes it; see `demo_books`."""
        from llmrec_recipes.benchmarks.tallrec_movie.demo import demo_books

        return demo_books(seed)

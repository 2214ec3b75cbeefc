"""Books of TALLRec's records: ``"TITLE" written by AUTHOR``, where titles may hold commas and quotation marks."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

from llmrec_peft.plugins import table

if TYPE_CHECKING:
    from datasets import Dataset

_BOOK = re.compile(r'"(?P<title>.*[^\s"].*)" ?written by ?(?P<author>.*\S.*)')
_NEXT = re.compile(r', (?=")')
_WRITTEN = re.compile(r'" ?written by ')


def listed_books(text: str) -> list[str] | None:
    """Return the books of a list such as ``"Kim" written by Rudyard Kipling, "Emma" written by Jane Austen``.

    Returns:
        Each book as it stands there; None where a part is no book. ``, "`` inside of a title parts no books.
    """
    books: list[str] = []
    for part in _NEXT.split(text):
        if books and not _WRITTEN.search(books[-1]):
            books[-1] += f", {part}"
        else:
            books.append(part)
    return books if all(map(_BOOK.fullmatch, books)) else None


def asked_book(text: str) -> str | None:
    """Return the book that a record asks about, as lists name it; None if there is none.

    The published records put the whole into quotation marks once more, the published script writes no blanks:
    ``""Kim" written by Rudyard Kipling"`` and ``"Kim"written byRudyard Kipling``.
    """
    bare = text[1:-1] if text.startswith('""') and text.endswith('"') else text
    found = _BOOK.fullmatch(bare)
    return None if found is None else f'"{found["title"]}" written by {found["author"]}'


def books_table(ids: list[str]) -> Dataset:
    """Return the items table of books: ``item_id`` as published, ``title``, ``author``.

    Entities are resolved. Backslashes and quotation marks, which the publisher's parser of Book-Crossing's files left
    inside of texts, are dropped.

    Args:
        ids: Books as `listed_books` returns them.
    """
    found = [_BOOK.fullmatch(name) for name in ids]
    parts = {name: [_plain(one[name]) if one else "" for one in found] for name in ("title", "author")}
    return table({"item_id": ids, **parts})


def _plain(text: str) -> str:
    return " ".join(html.unescape(text).replace("\\", "").replace('"', "").split())

"""Reader of IISAN's Amazon sequences: the products that each user bought, in order, and their titles."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

from llmrec_peft.plugins import InputError, Reader, RecDataset, interactions_table, table
from llmrec_recipes.ecommerce.texts import whole_title
from llmrec_recipes.text_files import no_graph, required_match, rows

_LICENCE = (
    "IISAN's sequences are derived from Amazon review data 2018 (J. Ni and J. McAuley, UC San Diego): research\n"
    "use. Cite: J. Fu et al., IISAN, SIGIR 2024, arXiv:2404.02059."
)
_SHORTEST = 3
"""Least length of a sequence that has a training item beside its validation and its test item."""
_QUOTED = re.compile(r'"((?:[^"]|"")*)"')


class AmazonScientific(Reader):
    """Sequences of purchases: the last one is the test item, the one before it the validation item.

    Works for IISAN's other categories too: files are found by ``*_users*.tsv`` and ``*_items*.tsv``. The timestamp is
    the position in the sequence, since none is published. Users buy products again: repeats are kept.
    """

    summary: ClassVar[str] = "IISAN's Amazon purchase sequences (Industrial and Scientific) with product titles"

    def read(self, path: Path, graph: Path | None) -> RecDataset:
        """Read the sequences and the titles."""
        no_graph(graph, "IISAN's sequences")
        users = required_match(path, "*_users*.tsv")
        titles, pieces = _titles(required_match(path, "*_items*.tsv"))
        columns: dict[str, list[Any]] = {name: [] for name in ("user_id", "item_id", "timestamp", "part")}
        people: list[str] = []
        short = 0
        for user, items in _sequences(users):
            people.append(user)
            columns["user_id"] += [user] * len(items)
            columns["item_id"] += items
            columns["timestamp"] += range(len(items))
            last_parts = ["valid", "test"] if len(items) >= _SHORTEST else []
            columns["part"] += ["train"] * (len(items) - len(last_parts)) + last_parts
            short += not last_parts
        unknown = [item for item in dict.fromkeys(columns["item_id"]) if item not in titles]
        titles |= dict.fromkeys(unknown, "")
        counts = {
            f"sequences shorter than {_SHORTEST}, all of which is training": short,
            "items of sequences without a line in the titles, known by their id alone": len(unknown),
            "titles that are pieces of a web page and name no product, left empty": pieces,
        }
        return RecDataset(
            name=f"Amazon {users.name.partition('_users')[0].removeprefix('am_').replace('_', ' ')} sequences",
            interactions=interactions_table(rating=[1.0] * len(columns["user_id"]), **columns),
            items=table({"item_id": list(titles), "title": list(titles.values())}),
            users=table({"user_id": people}),
            rating_range=(0, 1),
            licence=_LICENCE,
            notes=tuple(f"{what}: {count}" for what, count in counts.items() if count),
            feedback="implicit",
            repeats=True,
        )

    def demo(self, seed: int) -> RecDataset:
        """Make up supplies of which one family is bought after another; see `demo_dataset`."""
        from llmrec_recipes.benchmarks.amazon_scientific.demo import demo_dataset

        return demo_dataset(seed)


def _sequences(path: Path) -> list[tuple[str, list[str]]]:
    """Return each user with the items in their order."""
    sequences: dict[str, list[str]] = {}
    for line, (user, sequence) in rows(path, "\t", 2):
        items = sequence.split(" ")
        if not user.strip():
            raise InputError(f"{path}, line {line}: the user's id is empty")
        if user in sequences:
            raise InputError(f"{path}, line {line}: user {user[:20]!r} is there twice")
        if not all(items):
            raise InputError(f"{path}, line {line}: an item's id is empty (one blank belongs between two items)")
        sequences[user] = items
    return list(sequences.items())


def _titles(path: Path) -> tuple[dict[str, str], int]:
    """Return the title of each item, and the number of titles that were pieces of a web page."""
    titles: dict[str, str] = {}
    pieces = 0
    for line, (item, text) in rows(path, "\t", 2):
        if not item.strip():
            raise InputError(f"{path}, line {line}: the item's id is empty")
        if item in titles:
            raise InputError(f"{path}, line {line}: item {item[:20]!r} is there twice")
        quoted = _QUOTED.fullmatch(text)  # the publisher quoted titles with a quote in them as CSV does
        titles[item] = whole_title(quoted[1].replace('""', '"') if quoted else text)
        pieces += bool(text.strip()) and not titles[item]
    return titles, pieces

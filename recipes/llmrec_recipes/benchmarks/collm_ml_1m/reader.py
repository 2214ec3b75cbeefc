"""Reader of CoLLM's MovieLens-1M benchmark: likes and dislikes with histories of liked films, warm or cold."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from llmrec_peft.plugins import InputError, Reader, RecDataset, interactions_table, table
from llmrec_recipes.benchmarks.films import films_table
from llmrec_recipes.text_files import csv_rows, json_lines, no_graph, required_file, whole_number

_LICENCE = (
    "CoLLM's records are derived from MovieLens 1M (c) GroupLens, University of Minnesota: research use, no\n"
    "redistribution without permission. Cite: Y. Zhang et al., CoLLM, 2023, arXiv:2310.19488."
)
_PARTS = ("train", "valid", "test")
_KINDS = ("cold", "warm")
_PADDING = 0
"""The item id that means none: it comes first in every history and has no title."""


class CollmMl1m(Reader):
    """Likes and dislikes of films by users with ids, split by time.

    A history holds the films that the user had liked before. By the publisher's rule these may be of the same part:
    test histories grow with likes of the test period. A record is ``cold`` where its user or its film has no training
    record.
    """

    summary: ClassVar[str] = "CoLLM's like/dislike records over MovieLens-1M, warm and cold, with histories"

    def read(self, path: Path, graph: Path | None) -> RecDataset:
        """Read ``train.jsonl``, ``valid.jsonl``, ``test.jsonl`` and ``item_titles.csv``."""
        no_graph(graph, "CoLLM's MovieLens-1M")
        titles = _titles(required_file(path, "item_titles.csv"))
        columns: dict[str, list[Any]] = {
            name: []
            for name in ("user_id", "item_id", "rating", "timestamp", "part", "kind", "history", "history_rating")
        }
        seen: set[int] = set()
        name_of: dict[int, str] = {}  # 2.4 million history entries share 3,255 texts
        for part in _PARTS:
            for record in json_lines(required_file(path, f"{part}.jsonl")):
                film = record.whole("iid", low=1)
                history = [item for item in record.wholes("his", low=0) if item != _PADDING]
                columns["user_id"].append(str(record.whole("uid", low=0)))
                columns["item_id"].append(name_of.setdefault(film, str(film)))
                columns["rating"].append(float(record.whole("label", 0, 1)))
                columns["timestamp"].append(record.whole("timestamp"))
                columns["part"].append(part)
                columns["kind"].append(_KINDS[record.whole("not_cold", 0, 1)])
                columns["history"].append([name_of.setdefault(item, str(item)) for item in history])
                columns["history_rating"].append([1.0] * len(history))
                seen.update(history, (film,))
        untitled = sorted(seen - {item for item, title in titles.items() if title})
        titles |= dict.fromkeys(untitled, "")
        note = f"films without a title in item_titles.csv, known by their id alone: {len(untitled)}"
        return RecDataset(
            name="CoLLM MovieLens-1M",
            interactions=interactions_table(**columns),
            items=films_table(list(titles.values()), [str(item) for item in titles]),
            users=table({"user_id": list(dict.fromkeys(columns["user_id"]))}),
            rating_range=(0, 1),
            licence=_LICENCE,
            notes=(note,) if untitled else (),
            feedback="click",
        )

    def demo(self, seed: int) -> RecDataset:
        """Make up users and films that appear over time; see `llmrec_recipes.benchmarks.collm_ml_1m.demo`."""
        from llmrec_recipes.benchmarks.collm_ml_1m.demo import demo_dataset

        return demo_dataset(seed)


def _titles(path: Path) -> dict[int, str]:
    """Return the title of each film by its id, without the padding."""
    titles: dict[int, str] = {}
    for line, (number, title) in csv_rows(path, ("iid", "title")):
        item = whole_number(number, path, line, "iid", low=0)
        if item in titles:
            raise InputError(f"{path}, line {line}: item {item} is there twice")
        titles[item] = title.strip()
    titles.pop(_PADDING, None)
    return titles

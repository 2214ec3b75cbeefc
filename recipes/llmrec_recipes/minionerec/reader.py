"""Reader of MiniOneRec's splits: validation and test rows of one category, and the purchases before them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, ClassVar, cast

from pydantic import Field

from llmrec_peft.plugins import InputError, Options, Reader, RecDataset, interactions_table, table
from llmrec_recipes.minionerec.category_files import category_in, described, file_of, purchases
from llmrec_recipes.text_files import no_graph

_LICENCE = (
    "MiniOneRec's files: Apache-2.0; derived from Amazon review data 2018 (J. Ni and J. McAuley, UC San Diego):\n"
    "research use. Cite: X. Kong et al., MiniOneRec, 2025, arXiv:2510.24431."
)


class MiniOneRecOptions(Options):
    """What of the files is read."""

    category: str | None = Field(default=None, min_length=1)
    """Category, as its files are called: `Industrial_and_Scientific` or `Office_Products`. A folder with the files of
    one category needs none."""


class MiniOneRec(Reader):
    """Purchases of one category, each with the ten that its user made before.

    The published training file is not read. What is learnt from lies in the histories of the *validation* rows alone: a
    user's first validation row has the purchases before it, which are earlier than every validation and test item. The
    histories of test rows are input of their own rows. Files are sorted by time: rows are numbered in its place.
    """

    summary: ClassVar[str] = "MiniOneRec's Amazon splits: validation and test rows with histories, titles, semantic ids"
    Config: ClassVar[type[Options]] = MiniOneRecOptions
    options: Options = MiniOneRecOptions()

    def read(self, path: Path, graph: Path | None) -> RecDataset:
        """Read ``*.valid.csv.gz``, ``*.test.csv.gz``, ``*.item.json.gz`` and ``*.index.json.gz`` of one category."""
        no_graph(graph, "MiniOneRec's splits")
        category = category_in(path, cast(MiniOneRecOptions, self.options).category)
        items = described(path, category)
        rows = [(part, row) for part in ("valid", "test") for row in purchases(file_of(path, f"{category}.{part}.csv"))]
        columns: dict[str, list[Any]] = {
            name: [] for name in ("user_id", "item_id", "timestamp", "part", "history", "history_rating")
        }

        def add(user: str, item: str, time: int, part: str, history: tuple[str, ...]) -> None:
            entries = list(history)
            for name, value in zip(columns, (user, item, time, part, entries, [1.0] * len(entries)), strict=True):
                columns[name].append(value)

        start = max((len(row.history) for _, row in rows), default=0)
        expected: dict[str, tuple[str, ...]] = {}
        broken: Counter[str] = Counter()
        for number, (part, row) in enumerate(rows):
            if part == "valid" and row.user not in expected:
                for place, item in enumerate(row.history):
                    add(row.user, item, start - len(row.history) + place, "train", row.history[:place])
            elif expected.get(row.user, row.history)[-len(row.history) :] != row.history:
                broken[part] += 1
            expected[row.user] = (*row.history, row.item)
            add(row.user, row.item, start + number, part, row.history)
        if not {"train", "valid", "test"} <= set(columns["part"]):
            raise InputError(f"{path}: {category} has no rows to learn from, to validate on, and to test on")
        described_ids = set(items.ids)
        unknown = [item for item in dict.fromkeys(columns["item_id"]) if item not in described_ids]
        return RecDataset(
            name=f"MiniOneRec {category.replace('_', ' ')}",
            interactions=interactions_table(rating=[1.0] * len(columns["user_id"]), **columns),
            items=table(
                {
                    "item_id": items.ids + unknown,
                    "title": items.title + [""] * len(unknown),
                    "brand": items.brand + [None] * len(unknown),
                    "codes": items.codes + [None] * len(unknown),
                }
            ),
            users=table({"user_id": list(dict.fromkeys(columns["user_id"]))}),
            rating_range=(0, 1),
            licence=_LICENCE,
            notes=_notes(broken, len(unknown)),
            feedback="implicit",
            repeats=True,
        )

    def demo(self, seed: int) -> RecDataset:
        """Make up purchases in which one family of supplies follows another; see `llmrec_recipes.minionerec.demo`."""
        from llmrec_recipes.minionerec.demo import demo_dataset

        return demo_dataset(seed)


def _notes(broken: Counter[str], unknown: int) -> tuple[str, ...]:
    """Say what is learnt from, and what was found wrong."""
    counts = {
        f"{part} rows whose history does not go on from the user's row before": number
        for part, number in broken.items()
    } | {"items that item.json lacks, known by their id alone": unknown}
    return (
        "the published training file is not read: what is learnt from are the histories of validation rows alone",
        *(f"{what}: {count}" for what, count in counts.items() if count),
    )

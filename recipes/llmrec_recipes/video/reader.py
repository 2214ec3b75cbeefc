"""Reader of MicroLens: who watched which short video when, and the videos' titles in English or Chinese."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal, cast

from llmrec_peft.plugins import InputError, Options, Reader, RecDataset, interactions_table, table
from llmrec_recipes.text_files import csv_rows, no_graph, required_match, whole_number
from llmrec_recipes.video.titles import read_titles

_LICENCE = (
    "MicroLens (c) Westlake University: research use. Cite: Y. Ni et al., A Content-Driven Micro-Video Recommendation\n"
    "Dataset at Scale, arXiv:2309.15379."
)
_PAIRS = "*_pairs.csv"
_MILLISECONDS = 1_000
_EARLIEST, _LATEST = 1_000_000_000_000, 10_000_000_000_000
"""Milliseconds since 1970 of 2001 and of 2286; seconds lie below."""


class VideoOptions(Options):
    """What of MicroLens is read."""

    language: Literal["en", "zh", "auto"] = "auto"
    """Language of the titles, told from what the files `*_title*.csv` hold: English, Chinese, or (`auto`) that of the
    only file there is; English where there are both."""


class Video(Reader):
    """Videos that users watched (commented on), with times in seconds, and the title of each video.

    Videos of the titles' file that nobody watched stay: they can be recommended by their titles. The users of
    MicroLens watch a video once.
    """

    summary: ClassVar[str] = "MicroLens: short videos watched, with times, and titles in English or Chinese"
    Config: ClassVar[type[Options]] = VideoOptions
    options: Options = VideoOptions()

    def read(self, path: Path, graph: Path | None) -> RecDataset:
        """Read ``*_pairs.csv`` and the file of titles in the language that is asked for."""
        no_graph(graph, "MicroLens")
        columns = _pairs(required_match(path, _PAIRS))
        titles = read_titles(path, cast(VideoOptions, self.options).language)
        unknown = [item for item in dict.fromkeys(columns["item_id"]) if item not in titles.of]
        items = titles.of | dict.fromkeys(unknown, "")
        counts = {
            f"videos that {titles.file} lacks, known by their id alone": len(unknown),
            "videos with an empty title": sum(not title for title in titles.of.values()),
        }
        return RecDataset(
            name="MicroLens",
            interactions=interactions_table(rating=[1.0] * len(columns["user_id"]), **columns),
            items=table({"item_id": list(items), "title": list(items.values())}),
            users=table({"user_id": list(dict.fromkeys(columns["user_id"]))}),
            rating_range=(0, 1),
            licence=_LICENCE,
            notes=(
                f"titles are {'English' if titles.language == 'en' else 'Chinese'}, of {titles.file}",
                *(f"{what}: {count}" for what, count in counts.items() if count),
            ),
            feedback="implicit",
        )

    def demo(self, seed: int) -> RecDataset:
        """Make up videos whose titles tell who watches them; see `llmrec_recipes.video.demo`."""
        from llmrec_recipes.video.demo import demo_dataset

        return demo_dataset(seed)


def _pairs(path: Path) -> dict[str, list[Any]]:
    """Return user, item and time in seconds of each row.

    Raises:
        InputError: Naming file, line and column of the mistake.
    """
    columns: dict[str, list[Any]] = {"user_id": [], "item_id": [], "timestamp": []}
    for line, (user, item, time) in csv_rows(path, ("user", "item", "timestamp")):
        for name, value in (("user", user), ("item", item)):
            if not (value.isascii() and value.isdigit()):
                raise InputError(f"{path}, line {line}: {name} {value[:20]!a} is no number of digits")
        columns["user_id"].append(user)
        columns["item_id"].append(item)
        milliseconds = whole_number(time, path, line, "timestamp (milliseconds)", _EARLIEST, _LATEST)
        columns["timestamp"].append(milliseconds // _MILLISECONDS)
    if not columns["user_id"]:
        raise InputError(f"{path}: there is no row below the header")
    return columns

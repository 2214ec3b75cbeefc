"""Reader of TALLRec's movie benchmark: records that give liked and disliked films and a question as texts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

from llmrec_peft.plugins import Reader, RecDataset, interactions_table, table
from llmrec_recipes.benchmarks.films import films_table
from llmrec_recipes.benchmarks.tallrec_movie.persons import persons
from llmrec_recipes.text_files import Record, json_array, no_graph, required_file

_LICENCE = (
    "TALLRec's records are derived from MovieLens 100K (c) GroupLens, University of Minnesota: research use, no\n"
    "redistribution without permission. Cite: K. Bao et al., TALLRec, RecSys 2023, doi:10.1145/3604915.3608857."
)
_PARTS = ("train", "valid", "test")
_LIKED, _DISLIKED = "User Preference:", "User Unpreference:"
_QUESTION = re.compile(r'Whether the user will like the target movie "(.+)"\?')
_BETWEEN = re.compile(r'"[\s,]*"')
_LABELS = {"Yes.": 1.0, "No.": 0.0}


class TallrecMovie(Reader):
    """Likes and dislikes of films; each record has a history of its own and names no user.

    Each record is read as a user of its own (``train-17``: part and position in the file, from 0). Records whose
    histories overlap are windows over one person's ratings; such persons are resampled as a whole for intervals (the
    1,000 test records come from 16). A film's id is its title as published. The history holds the liked films, then the
    disliked ones: their order in time is not published.
    """

    summary: ClassVar[str] = "TALLRec's like/dislike records over MovieLens-100K, each with its own history"

    def read(self, path: Path, graph: Path | None) -> RecDataset:
        """Read ``train.json``, ``valid.json`` and ``test.json``."""
        no_graph(graph, "TALLRec's movies")
        columns: dict[str, list[Any]] = {name: [] for name in ("user_id", "item_id", "rating", "timestamp", "part")}
        histories: dict[str, list[Any]] = {"history": [], "history_rating": []}
        films: dict[str, None] = {}
        known = 0
        for part in _PARTS:
            for place, record in enumerate(json_array(required_file(path, f"{part}.json"))):
                liked, disliked, target = _asked(record)
                if record.text("output") not in _LABELS:
                    record.refuse("output", '"Yes." or "No."')
                columns["user_id"].append(f"{part}-{place}")
                columns["item_id"].append(target)
                columns["rating"].append(_LABELS[record.text("output")])
                columns["timestamp"].append(len(columns["timestamp"]))
                columns["part"].append(part)
                histories["history"].append([*liked, *disliked])
                histories["history_rating"].append([1.0] * len(liked) + [0.0] * len(disliked))
                films.update(dict.fromkeys([*liked, *disliked, target]))
                known += target in histories["history"][-1]
        judged = [list(zip(*both, strict=True)) for both in zip(*histories.values(), strict=True)]
        person = [str(number) for number in persons(judged)]
        note = f"records that ask about a title of their own history (two films can share one): {known}"
        return RecDataset(
            name="TALLRec movie",
            interactions=interactions_table(**columns, **histories, person=person),
            items=films_table(list(films)),
            users=table({"user_id": columns["user_id"]}),
            rating_range=(0, 1),
            licence=_LICENCE,
            notes=(note,) if known else (),
            feedback="click",
        )

    def demo(self, seed: int) -> RecDataset:
        """Make up records in which a film's title decides who likes it; see `demo_dataset`."""
        from llmrec_recipes.benchmarks.tallrec_movie.demo import demo_dataset

        return demo_dataset(seed)


def _asked(record: Record) -> tuple[list[str], list[str], str]:
    """Return the liked titles, the disliked titles, and the title that the record asks about."""
    lines = record.text("input").strip().split("\n")
    if len(lines) != 3:  # noqa: PLR2004 - liked, disliked, the question
        record.refuse("input", f"three lines ({_LIKED} … / {_DISLIKED} … / the question)")
    question = _QUESTION.fullmatch(lines[2].strip())
    if question is None:
        record.refuse(
            "input", 'a third line like: Whether the user will like the target movie "Heat (1995)"?', lines[2]
        )
    return _titles(record, lines[0], _LIKED), _titles(record, lines[1], _DISLIKED), question[1]


def _titles(record: Record, line: str, prefix: str) -> list[str]:
    """Return the quoted titles after a prefix; there may be none, and a title may contain commas and quotes."""
    expected = f'a line like: {prefix} "Heat (1995)", "Alien (1979)"'
    if not line.startswith(prefix):
        record.refuse("input", expected, line)
    text = line.removeprefix(prefix).strip()
    if not text:
        return []
    titles = text[1:-1].split('", "')
    if len(text) < 2 or text[0] + text[-1] != '""' or any(_unfit(title) for title in titles):  # noqa: PLR2004
        record.refuse("input", expected, line)
    return titles


def _unfit(title: str) -> bool:
    """Whether a title is empty, or is two titles with an unexpected separator between them."""
    return not title.strip() or _BETWEEN.search(title) is not None

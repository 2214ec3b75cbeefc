"""Datasets as a stranger's reader may build them: refused in one line, or numbered, divided and held together."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset

from fuzz.harness import Attempt
from fuzz.subject_readers import require_whole
from llmrec_peft.data.dataset import KnowledgeGraph, RecDataset, titles, without_duplicates
from llmrec_peft.data.histories import given
from llmrec_peft.data.soundness import sound
from llmrec_peft.data.splits import split
from llmrec_peft.data.strays import without_unknown
from llmrec_peft.data.subset import with_fewer_items
from llmrec_peft.data.vocabulary import Vocabulary
from llmrec_peft.errors import InputError

Tables = dict[str, dict[str, list[Any]]]
SPLITS = ("official", "random", "temporal", "leave-last-out", "cold-item", "cold-user")
NAMES = {"interactions": "interactions", "items": "items", "users": "users", "triples": "graph", "links": "graph"}
ODD: tuple[Any, ...] = (
    *(None, "", " ", "u1", "i1", "nan", "None", 0, 1, -1, 1.5, float("nan"), float("inf"), -float("inf"), True),
    *(1 << 62, (1 << 63) - 1, -(1 << 63), 1e300, [], ["i1"], [None], {}, {"a": None}, b"u1", "train", "Test"),
    *([1.0], [float("nan")], "x" * 5000, "\x00", "\ud83c", np.float32(3), 1 << 70),
)
TYPES = (pa.large_string(), pa.binary(), pa.dictionary(pa.int32(), pa.string()), pa.int32(), pa.float64(), pa.bool_())


def attempts(rng: random.Random, folder: Path) -> Iterator[Attempt]:
    """Build tables with something odd in them, by Arrow itself: no helper of ours looks at them before."""
    number = 0
    while True:
        number += 1
        tables, done = _tables(), []
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            done.append(_changed(tables, rng))
        made = {name: _table(columns, rng) for name, columns in tables.items()}
        given_as = {
            "rating_range": rng.choice(((1, 5),) * 9 + ((5, 1), (float("nan"), 5), (1,), "15", None)),
            "feedback": rng.choice(("rating",) * 9 + ("stars",)),
            "repeats": rng.random() < 0.2,
        }
        yield Attempt(
            f"{number}: {', '.join(done)}; {given_as}", partial(_used, made, given_as, rng.randrange(1 << 30))
        )


def _tables() -> Tables:
    pairs = [(user, item) for user in range(1, 5) for item in range(1, 6)]
    return {
        "interactions": {
            "user_id": [f"u{user}" for user, _ in pairs],
            "item_id": [f"i{item}" for _, item in pairs],
            "rating": [1.0 + (user * item) % 5 for user, item in pairs],
            "timestamp": [100 * item + user for user, item in pairs],
            "part": [("train", "train", "valid", "test")[(user + item) % 4] for user, item in pairs],
            "person": [f"p{user // 2}" for user, _ in pairs],
            "history": [[f"i{one}" for one in range(1, item)] for _, item in pairs],
            "history_rating": [[3.0] * (item - 1) for _, item in pairs],
        },
        "items": {
            "item_id": [f"i{item}" for item in range(1, 6)],
            "title": [f"Title {item}" for item in range(1, 6)],
            "price": [1.0, 2.0, None, 3.0, 4.0],
            "genres": [["a"], [], None, ["b", "c"], ["d"]],
        },
        "users": {"user_id": [f"u{user}" for user in range(1, 5)], "age": [1, 2, 3, None]},
        "triples": {"head": ["e1", "e2"], "relation": ["r", "r"], "tail": ["e3", "e3"]},
        "links": {"item_id": ["i1", "i2"], "entity_id": ["e1", "e2"]},
    }


def _changed(tables: Tables, rng: random.Random) -> str:
    name = rng.choice(sorted(tables))
    columns = tables[name]
    kind = rng.choice(("value", "value", "value", "column", "drop", "row", "double", "empty", "absent"))
    if not columns:
        return "nothing"
    column = rng.choice(sorted(columns))
    values = columns[column]
    if kind == "value" and values:
        values[rng.randrange(len(values))] = odd = rng.choice(ODD)
        return f"{name}.{column} holds {odd!r:.20}"
    if kind == "column":
        odd = rng.choice(ODD)
        columns[column] = [odd] * len(values)
        return f"{name}.{column} is {odd!r:.20}"
    if kind == "drop":
        del columns[column]
    elif kind == "row" and values:
        for own in columns.values():
            del own[0]
    elif kind == "double" and values:
        for own in columns.values():
            own.append(own[0])
    elif kind == "empty":
        tables[name] = {one: [] for one in columns}
    elif kind == "absent" and name not in ("interactions", "items"):
        tables[name] = {}
    return f"{name}: {kind} {column}"


def _table(columns: dict[str, list[Any]], rng: random.Random) -> Any:
    """Make a table by Arrow; sometimes of another type of text, in pieces, or behind an index; else what was given."""
    try:
        arrow = pa.table(columns)
        if columns and rng.random() < 0.2:
            name = rng.choice(sorted(columns))
            arrow = arrow.set_column(arrow.column_names.index(name), name, arrow.column(name).cast(rng.choice(TYPES)))
        if len(arrow) > 1 and rng.random() < 0.2:
            arrow = pa.concat_tables([arrow.slice(0, 1), arrow.slice(1)])
        made = Dataset(arrow)
    except (pa.ArrowException, ValueError, TypeError, OverflowError, NotImplementedError):
        return columns  # a reader that gives a plain mapping
    return made.select(range(len(made))[::-1]) if len(made) > 1 and rng.random() < 0.2 else made


def _used(made: dict[str, Any], given_as: dict[str, Any], seed: int) -> None:
    rng = random.Random(seed)
    graph = KnowledgeGraph(made["triples"], made["links"]) if rng.random() < 0.5 else None
    dataset = RecDataset("made up", made["interactions"], made["items"], made["users"], graph=graph, **given_as)
    if rng.random() < 0.3:
        try:
            dataset = without_unknown(dataset)
        except (AttributeError, KeyError, pa.ArrowException):  # it is for readers whose tables are whole
            return
    dataset = sound(dataset)
    if rng.random() < 0.3:
        dataset = with_fewer_items(dataset, 2, 0)
    dataset = without_duplicates(dataset)
    require_whole(dataset)
    titles(dataset.items)
    vocabulary = Vocabulary.of(dataset.users["user_id"], dataset.items["item_id"])
    if dataset.gives_histories:
        told = dataset.interactions
        histories = given(list(told["history"]), list(told["history_rating"]), vocabulary.item_indices)
        assert (histories.item > 0).all()
    try:
        parts = split(dataset, rng.choice(SPLITS), 0.3, 0.3, 0)
    except InputError:
        return
    used = np.concatenate([parts.train, parts.valid, parts.test])
    assert len(np.unique(used)) == len(used)

"""Subject: CSV and Parquet files of pairs, as exports of databases, spreadsheets and strangers make them."""

from __future__ import annotations

import codecs
import csv
import io
import math
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from fuzz.harness import Attempt
from llmrec_peft.artifact.tables import ItemTable
from llmrec_peft.data.batches import Batch
from llmrec_peft.data.column_types import ColumnType
from llmrec_peft.data.histories import Histories
from llmrec_peft.data.vocabulary import Vocabulary
from llmrec_peft.errors import InputError
from llmrec_peft.model import RecModel, plan_texts
from llmrec_peft.recipe import load_recipe
from llmrec_peft.run.recommender import Recommender
from llmrec_peft.run.tenant import Tenant, catalogue_of
from llmrec_peft.workflows.predict import predict

USERS, ITEMS, WIDTH = 30, 40, 4
RECIPE = load_recipe("movies")
VOCABULARY = Vocabulary.of(map(str, range(1, USERS + 1)), map(str, range(1, ITEMS + 1)))
TYPES = {"title": ColumnType("text"), "year": ColumnType("whole", gaps=True), "genres": ColumnType("text", many=True)}
CELLS = (
    *(
        "",
        " ",
        "1",
        "2",
        "30",
        "1.0",
        "01",
        "nobody",
        "new",
        "other",
        "None",
        "nan",
        "NULL",
        "true",
        "1e3",
        "-0",
        "007",
    ),
    *("12345678901234567890", "9" * 400, "Crime|Drama", "Crime, Drama", '["Crime"]', "['Crime']", "[", "{}", "1995.0"),
    *(
        "a\0b",
        "\ufeff",
        "\u2028",
        "\x1b[31m",
        "=1+1",
        '"',
        '""',
        "'",
        "\\",
        "\r",
        "\n",
        "é",
        "日本",
        "x" * 5000,
        "\x85",
    ),
)
HEADERS = (
    ["user_id", "item_id"],
    ["user_id", "item_id", "note"],
    ["user_id", "item_id", "title", "year", "genres"],
    ["item_id", "title", "user_id", "year", "genres", "order_no"],
)


class _Model(torch.nn.Module):
    """Scores a pair from its numbers alone."""

    def __init__(self) -> None:
        super().__init__()
        self.plan = plan_texts(RECIPE, ITEMS + 1, USERS + 1, 0)
        self.device = torch.device("cpu")

    def sharing(self, **_: object) -> _Model:
        return self

    def forward(self, batch: Batch) -> Any:
        keys = cast(torch.Tensor, batch.item_key)
        return SimpleNamespace(scores=((batch.user * 7 + keys * 3) % 50).float() / 10)


class _Tenant(Tenant):
    """A run whose language model says zero for every text."""

    @property
    def tuned(self) -> Any:
        return SimpleNamespace(read_items=lambda texts: (torch.zeros(len(texts), WIDTH), 0))


def _recommender() -> Recommender:
    """A small run in memory, fresh for each input."""
    texts = tuple(f"Film {item}" for item in VOCABULARY.items)
    items = ItemTable(texts, texts, np.ones(ITEMS, np.int64), (), TYPES)
    tenant = _Tenant(
        recipe=RECIPE,
        model=cast(RecModel, _Model()),
        vocabulary=VOCABULARY,
        items=items,
        catalogue=catalogue_of(VOCABULARY, items, torch.zeros(ITEMS + 1, WIDTH)),
        seen=Histories.empty(USERS + 1),
    )
    recommender = Recommender.__new__(Recommender)
    recommender._begin(tenant, "small")
    return recommender


def attempts(rng: random.Random, folder: Path) -> Iterator[Attempt]:
    """Yield files of every kind, endlessly."""
    makers = (_csv, _csv, _csv, _spoiled_csv, _spoiled_csv, _parquet, _parquet, _spoiled_parquet, _no_file)
    number = 0
    while True:
        number += 1
        make = rng.choice(makers)
        seed = rng.randrange(2**32)
        ending = rng.choice(["csv", "parquet"])
        unknown = rng.choice(["skip", "popular", "refuse"])
        name = f"{number} {make.__name__[1:]} {seed} to {ending}, {unknown}"
        yield Attempt(name, _call(folder / "file", make, seed, ending, unknown))


def _call(
    folder: Path, make: Callable[[random.Random, Path], Path], seed: int, ending: str, unknown: Any
) -> Callable[[], None]:
    def call() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        source, target = make(random.Random(seed), folder), folder / f"out.{ending}"
        before = _names(folder)
        try:
            predicted = predict(_recommender(), source, target, unknown=unknown)
        except InputError:
            assert _names(folder) == before, "a refusal left something behind"
            raise
        assert _names(folder) == sorted([*before, target.name]), "something was left beside the output"
        assert predicted.rows == _require_handed_on(source, target)
        predicted.notes(unknown)

    return call


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _require_handed_on(source: Path, target: Path) -> int:
    """Check that the output has the input's rows and that scores are finite or left out; return their number."""
    if source.suffix == ".csv" and target.suffix == ".csv":
        given, written = _csv_rows(source), _csv_rows(target)
        assert len(given) == len(written)
        for row, out in zip(given, written, strict=True):
            assert out[: len(row)] == row, "a column was changed"
            assert len(out) == len(row) + 2
        scores = [None if row[-2] == "" else float(row[-2]) for row in written[1:]]
        bases = [row[-1] for row in written[1:]]
    else:
        table = _text_of_csv(target) if target.suffix == ".csv" else pq.read_table(target)
        names = table.column_names[:-2]
        if source.suffix == target.suffix:
            own = pq.read_table(source)
            assert own.schema.names == names
            assert all(_same(own[name], table[name]) for name in names), "a column was changed"
        elif source.suffix == ".csv":
            rows = _csv_rows(source)
            assert [list(row) for row in zip(*(table[name].to_pylist() for name in names), strict=True)] == rows[1:]
        scores, bases = table["score"].to_pylist(), table["basis"].to_pylist()
        scores = [None if score in ("", None) else float(score) for score in scores]
    for score, basis in zip(scores, bases, strict=True):
        assert score is not None or basis.startswith("unknown"), "a known pair has no score"
        assert score is None or math.isfinite(score)
    return len(scores)


def _same(first: pa.ChunkedArray, second: pa.ChunkedArray) -> bool:
    """Return whether two columns are equal, NaN to NaN too."""
    return bool(first.equals(second)) or repr(first.to_pylist()) == repr(second.to_pylist())


def _csv_rows(path: Path) -> list[list[str]]:
    text = path.read_bytes().removeprefix(codecs.BOM_UTF8).decode()
    return [row for row in csv.reader(io.StringIO(text, newline="")) if row]


def _text_of_csv(path: Path) -> pa.Table:
    header, *rows = _csv_rows(path)
    return pa.table({name: [row[at] for row in rows] for at, name in enumerate(header)})


def _cell(rng: random.Random, name: str) -> str:
    if rng.random() < 0.04:
        return rng.choice(CELLS)
    if name == "user_id":
        return str(rng.randint(1, USERS))
    if name == "item_id":
        return str(rng.randint(1, ITEMS)) if rng.random() < 0.8 else rng.choice(["new", "other", "more"])
    known = {"title": "Heat", "year": "1995", "genres": "Crime|Drama"}
    return known.get(name) or rng.choice(CELLS)


def _rows(rng: random.Random) -> tuple[list[str], list[list[str]]]:
    header = list(rng.choice(HEADERS))
    if rng.random() < 0.15:
        header.insert(rng.randrange(len(header) + 1), rng.choice([*CELLS, "score", "basis", "user_id", "a,b"]))
    return header, [[_cell(rng, name) for name in header] for _ in range(rng.randrange(12))]


def _csv_bytes(rng: random.Random) -> bytes:
    header, rows = _rows(rng)
    text = io.StringIO()
    quoting = cast(Any, rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    csv.writer(text, lineterminator=rng.choice(["\n", "\r\n"]), quoting=quoting).writerows([header, *rows])
    return text.getvalue().encode("utf-8")


def _csv(rng: random.Random, folder: Path) -> Path:
    path = folder / "in.csv"
    path.write_bytes(_csv_bytes(rng))
    return path


def _spoiled_csv(rng: random.Random, folder: Path) -> Path:
    path, content = folder / "in.csv", _csv_bytes(rng)
    spoil = rng.choice(
        [
            lambda: codecs.BOM_UTF8 + content,
            lambda: content.decode().encode("utf-16"),
            lambda: content.decode().encode("latin-1", "replace"),
            lambda: content.replace(b"\n", b"\r"),
            lambda: content.replace(b"\r\n", b"\n").rstrip(b"\n"),
            lambda: content.replace(b"\n", b"\n\n", 1),
            lambda: content.replace(b",", b";"),
            lambda: content.replace(b'"', b"", 1),
            lambda: content + b'1,2,"never closed',
            lambda: content + b"1,2," + b"x" * 100_000 + b"\n",
            lambda: b"," * 3000 + b"\n" + content,
            lambda: b"",
            lambda: _broken(rng, content),
            lambda: _broken(rng, content),
        ]
    )
    path.write_bytes(spoil())
    return path


def _broken(rng: random.Random, content: bytes) -> bytes:
    """Cut content short, flip bytes of it, or put in what does not belong there."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        what = rng.randrange(4)
        if what == 0:
            del data[at:]
        elif what == 1 and data:
            data[at % len(data)] ^= 1 << rng.randrange(8)
        elif what == 2:
            data[at:at] = rng.choice([b"\0", b"\xff", b'"', b"\n", b"\r", b",", b"\xc3", b"\xef\xbb\xbf"])
        else:
            del data[at : at + rng.randrange(9)]
    return bytes(data)


def _column(rng: random.Random, name: str, rows: int) -> pa.Array:
    """A column of one of many types."""
    texts = [_cell(rng, name) for _ in range(rows)]
    numbers = [rng.choice([1, 2, 30, 7, 99]) for _ in range(rows)]
    gaps = [None if rng.random() < 0.1 else number for number in numbers]
    plain = (pa.string(), pa.large_string(), pa.string_view())
    if name in ("user_id", "item_id") and rng.random() < 0.6:
        return pa.array(map(str, numbers), rng.choice(plain))
    makers: list[Callable[[], pa.Array]] = [
        lambda: pa.array(texts, rng.choice(plain)),
        lambda: pa.array(texts).dictionary_encode(),
        lambda: pa.array(gaps, rng.choice([pa.int8(), pa.uint64(), pa.int64()])),
        lambda: pa.array([rng.choice([1.0, 1e10, math.nan, math.inf, 0.1, None]) for _ in range(rows)]),
        lambda: pa.array(map(float, numbers), rng.choice([pa.float16(), pa.float32()])),
        lambda: pa.array([rng.random() < 0.5 for _ in range(rows)]),
        lambda: pa.array([text.encode() for text in texts], rng.choice([pa.binary(), pa.large_binary()])),
        lambda: pa.array([[text] for text in texts]),
        lambda: pa.array([{"a": number} for number in numbers]),
        lambda: pa.array([[("k", number)] for number in numbers], pa.map_(pa.string(), pa.int64())),
        lambda: pa.nulls(rows),
        lambda: pa.array(numbers, pa.timestamp("ns", rng.choice([None, "UTC", "Europe/Berlin"]))),
        lambda: pa.array([2**62] * rows, pa.timestamp(rng.choice(["ms", "us"]))),
        lambda: pa.array(numbers, rng.choice([pa.date32(), pa.time32("s"), pa.duration("s")])),
        lambda: pa.array(numbers, pa.int32()).cast(pa.decimal128(20, 3)),
    ]
    return rng.choice(makers)()


def _parquet(rng: random.Random, folder: Path) -> Path:
    header, _ = _rows(rng)
    rows = rng.randrange(10)
    table = pa.Table.from_arrays([_column(rng, name, rows) for name in header], names=header)
    path = folder / "in.parquet"
    pq.write_table(table, path, row_group_size=rng.choice([1, 3, 1000]))
    return path


def _spoiled_parquet(rng: random.Random, folder: Path) -> Path:
    path = _parquet(rng, folder)
    path.write_bytes(_broken(rng, path.read_bytes()))
    return path


def _no_file(rng: random.Random, folder: Path) -> Path:
    path = folder / f"in.{rng.choice(['csv', 'parquet', 'txt', 'CSV', ''])}"
    what = rng.randrange(6)
    if what == 0:
        path.mkdir()
    elif what == 1:
        os.mkfifo(path)
    elif what == 2:
        path.symlink_to(folder / "nowhere.csv")
    elif what == 3:
        path.symlink_to(path)
    elif what == 4:
        path.write_bytes(rng.randbytes(rng.randrange(300)))
    return path

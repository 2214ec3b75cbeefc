"""Table files of a user's own: any format, packed or not, whole or damaged; guessed, then read."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import os
import random
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fuzz.harness import Attempt
from llmrec_peft.tabular.delimited import columns_of
from llmrec_peft.tabular.exact import read_exactly
from llmrec_peft.tabular.form import ENCODINGS, FileForm
from llmrec_peft.tabular.json_files import read_json_exactly
from llmrec_peft.tabular.read import read_table
from llmrec_peft.tabular.sniff import sniffed

CELLS = [
    *(
        "",
        " ",
        "1",
        "007",
        "3.5",
        "3,5",
        "1,234",
        "nan",
        "-inf",
        "1e999",
        "0x1F",
        "N34",
        "a b",
        'say "hi"',
        "two\nlines",
    ),
    *("é", "语言", "\u202e", "\x1b[2J", "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"), "a" * 300),
    *(
        "'",
        "|",
        ";",
        "::",
        "\t",
        "2015-01-02",
        "1999-13-45T99",
        "&amp;",
        "{{ x }}",
        "null",
        "user",
        "\x1f",
        "\x1e",
        "\0",
    ),
]
NAMES = ["user", "item", "rating", "time", "title", "", "user", "\x1b]0;x\x07", "a" * 400, "1", "{{ title }}"]


def _zip_of(content: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("table.csv", content)
    return target.getvalue()


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda content: content,
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zstd": lambda content: bytes(pa.compress(content, "zstd", asbytes=True)),
    "zip": _zip_of,
}
TYPES = [pa.float64(), pa.float32(), pa.int64(), pa.timestamp("s"), pa.dictionary(pa.int32(), pa.string()), pa.string()]


def attempts(rng: random.Random, folder: Path) -> Iterator[Attempt]:
    """Yield files of every kind, endlessly."""
    makers = (_delimited, _delimited, _delimited, _loose, _json_lines, _json_array, _parquet, _bomb, _no_file)
    number = 0
    while True:
        number += 1
        make, seed = rng.choice(makers), rng.randrange(2**32)
        yield Attempt(f"{number} {make.__name__[1:]} {seed}", _call(folder / "file", make, seed))


def _call(folder: Path, make: Callable[[random.Random, Path], None], seed: int) -> Callable[[], None]:
    def call() -> None:
        rng = random.Random(seed)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        path = folder / "table"
        make(rng, path)
        given: dict[str, Any] = {}
        if rng.random() < 0.2:
            given = rng.choice(
                [
                    {"delimiter": ";"},
                    {"quote": "none"},
                    {"encoding": rng.choice(ENCODINGS)},
                    {"header": False},
                    {"rest": True},
                ]
            )
        found = sniffed(path, given)
        assert set(found.unsure) <= set(FileForm.model_fields)
        assert FileForm.model_validate(found.form.model_dump()) == found.form
        skip_bad = rng.choice([0, 0, 1, 100])
        read = read_table(path, found.form, skip_bad=skip_bad)
        assert len(read.bad) <= skip_bad
        read.table.validate(full=True)
        if not read.bad:
            rows = min(len(read.table), len(found.sample))
            assert read.table.column_names == found.sample.column_names, "the sample has other columns"
            if not any(pa.types.is_list(field.type) for field in read.table.schema):
                first = read.table.slice(0, rows).to_pylist()
                assert first == found.sample.slice(0, rows).to_pylist(), "the sample has other cells"
            if found.form.format == "json-lines":
                exact = read_json_exactly(path, found.form, read.table.column_names, {}, 0).table
                assert exact.equals(read.table), "the quick way reads other cells"
            elif found.form.format == "delimited":
                exact = read_exactly(path, found.form, columns_of(path, found.form), {}, 0, quick_pieces=False).table
                assert exact.equals(read.table), "the quick way reads other cells"
        name = rng.choice(read.table.column_names)
        kind = rng.choice(TYPES)
        typed = read_table(path, found.form, {name: kind}, skip_bad=1000)
        assert typed.table.schema.field(name).type == kind
        assert len(typed.table) + len(typed.bad) == len(read.table) + len(read.bad), "rows were lost"

    return call


def _rows(rng: random.Random) -> tuple[list[str], list[list[str]]]:
    width = rng.randint(1, 6)
    names = rng.sample(NAMES, width) if rng.random() < 0.3 else [f"c{at}" for at in range(width)]
    kinds = [rng.choice(["number", "id", "any"]) for _ in range(width)]
    return names, [[_cell(rng, kind) for kind in kinds] for _ in range(rng.randrange(20))]


def _cell(rng: random.Random, kind: str) -> str:
    if rng.random() < 0.06 or kind == "any":
        return rng.choice(CELLS)
    return str(rng.randrange(100)) if kind == "number" else f"N{rng.randrange(50)}"


def _delimited(rng: random.Random, path: Path) -> None:
    names, rows = _rows(rng)
    text = io.StringIO()
    writer = csv.writer(
        text,
        delimiter=rng.choice(",;\t| "),
        lineterminator=rng.choice(["\n", "\r\n", "\r"]),
        quoting=rng.choice([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
    )
    writer.writerows(rows if rng.random() < 0.3 else [names, *rows])
    content = text.getvalue().encode(rng.choice([*ENCODINGS, "utf-8-sig", "utf-16-be", "utf-8", "utf-8"]), "replace")
    _write(rng, path, content)


def _loose(rng: random.Random, path: Path) -> None:
    """Cells joined without quotation."""
    names, rows = _rows(rng)
    separator = rng.choice(["::", "  ", "\t", ",", "|", "\x01", "^", " "])
    lines = [separator.join(row) for row in [names, *rows]]
    _write(rng, path, "\n".join(lines).encode("utf-8", "replace"))


def _objects(rng: random.Random) -> list[Any]:
    if rng.random() < 0.5:  # records that are alike, as programs write them
        return [
            {
                "user": f"u{rng.randrange(9)}",
                "stars": rng.choice([1, 2]),
                "sure": True,
                "tags": ["a"],
                "note": rng.choice(CELLS),
            }
            for _ in range(rng.randrange(12))
        ]
    values = [
        *CELLS,
        1,
        2.5,
        10**30,
        True,
        None,
        [],
        ["a", "b"],
        ["a", 1, None],
        {"a": [1]},
        [[1], {}],
        "\ud800",
        1e300,
    ]
    return [
        {name: rng.choice(values) for name in rng.sample(NAMES, rng.randint(1, 5))} if rng.random() < 0.95 else 5
        for _ in range(rng.randrange(12))
    ]


def _json_lines(rng: random.Random, path: Path) -> None:
    lines = [json.dumps(one, ensure_ascii=rng.random() < 0.5) for one in _objects(rng)]
    lines += rng.choice([[], [], ['{"a": NaN}'], ["{'a': 1}"], ['{"a": 1'], ["[" * 100_000], ['{"a": 1} {"a": 2}']])
    _write(rng, path, "\n".join(lines).encode("utf-8", "replace"))


def _json_array(rng: random.Random, path: Path) -> None:
    objects: Any = _objects(rng)
    if rng.random() < 0.3:
        objects = {str(at): one for at, one in enumerate(objects)}
    text = json.dumps(objects, indent=rng.choice([None, 2]))
    _write(rng, path, text.encode("utf-8", "replace"))


def _column(rng: random.Random, rows: int) -> pa.Array:
    texts, numbers = [rng.choice(CELLS[:24]) for _ in range(rows)], [rng.randrange(90) for _ in range(rows)]
    makers: list[Callable[[], pa.Array]] = [
        lambda: pa.array(texts, rng.choice([pa.string(), pa.large_string(), pa.string_view()])),
        lambda: pa.array(texts).dictionary_encode(),
        lambda: pa.array([None if number < 9 else number for number in numbers], rng.choice([pa.int8(), pa.uint64()])),
        lambda: pa.array(
            [float(number) if number else None for number in numbers], rng.choice([pa.float32(), pa.float64()])
        ),
        lambda: pa.array([number / 0.7 if number else float("nan") for number in numbers]),
        lambda: pa.array([number > 40 for number in numbers]),
        lambda: pa.array([b"\xff\xfe" if number < 9 else b"a" for number in numbers], pa.binary()),
        lambda: pa.array([None if number < 9 else texts[: number % 3] for number in numbers], pa.list_(pa.string())),
        lambda: pa.array([[number] for number in numbers], pa.large_list(pa.int32())),
        lambda: pa.array([[[number]] for number in numbers]),
        lambda: pa.array([{"a": number} for number in numbers], pa.struct([("a", pa.int64())])),
        lambda: pa.nulls(rows),
        lambda: pa.array(numbers, pa.timestamp("ns", rng.choice([None, "UTC", "Europe/Berlin"]))),
        lambda: pa.array(numbers, rng.choice([pa.date32(), pa.time32("s"), pa.duration("s")])),
        lambda: pa.array(numbers, pa.int32()).cast(pa.decimal128(20, 3)),
    ]
    return rng.choice(makers)()


def _parquet(rng: random.Random, path: Path) -> None:
    names, rows = _rows(rng)
    table = pa.Table.from_arrays([_column(rng, len(rows)) for _ in names], names=names)
    target = io.BytesIO()
    pq.write_table(table, target, compression=rng.choice(["snappy", "zstd", "gzip", "none"]), row_group_size=7)
    content = target.getvalue()
    path.write_bytes(_broken(rng, content) if rng.random() < 0.5 else content)


def _bomb(rng: random.Random, path: Path) -> None:
    """Little that unpacks to much, or one long line."""
    line = rng.choice([b"a,b\n", b"a" * 100, b'"', b"1 ", b'{"a": 1}\n', b"[", b"\0", b",", b"|x"])
    content = line * (rng.choice([1 << 12, 1 << 16, 1 << 18]) // len(line))
    packer = rng.choice(list(PACKERS))
    path.write_bytes(PACKERS[packer](content))


def _write(rng: random.Random, path: Path, content: bytes) -> None:
    if rng.random() < 0.3:
        content = _broken(rng, content)
    packed = PACKERS[rng.choice(["plain", "plain", *PACKERS])](content)
    path.write_bytes(_broken(rng, packed) if rng.random() < 0.2 else packed)


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
            data[at:at] = rng.choice(
                [b"\0", b"\xff", b'"', b"\n", b"\r", b",", b"\xc3", b"\xef\xbb\xbf", b"\x1f", b"\\"]
            )
        else:
            del data[at : at + rng.randrange(9)]
    return bytes(data)


def _no_file(rng: random.Random, path: Path) -> None:
    what = rng.randrange(6)
    if what == 0:
        path.mkdir()
    elif what == 1:
        os.mkfifo(path)
    elif what == 2:
        path.symlink_to(path.parent / "nowhere.csv")
    elif what == 3:
        path.symlink_to(path)
    elif what == 4:
        path.write_bytes(rng.randbytes(rng.randrange(300)))

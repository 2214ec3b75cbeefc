"""A run folder from a stranger: refused in one line, or answered as its files say; never changed under the reader."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from resealed import resealed
from spoiled import change_table, change_tensors, with_column

from llmrec_peft.artifact.manifest import ANSWERING, HISTORIES, NAME, PRIVATE, read_manifest
from llmrec_peft.artifact.parquet import Table
from llmrec_peft.backbone.tensor_bytes import tensors_in
from llmrec_peft.errors import InputError
from llmrec_peft.run.recommender import Recommender

VECTORS, SIGNALS, HEAD = "item_vectors.safetensors", "signals.safetensors", "head.safetensors"
ITEMS, VOCABULARY, SEEN = "items.parquet", "catalogue.safetensors", "seen.safetensors"


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Path:
    """A copy of the trained run that may be spoiled."""
    return Path(shutil.copytree(tiny_run, tmp_path / "run"))


def answers(run: Path) -> tuple[Any, ...]:
    """What a run answers from its stored vectors."""
    recommender = Recommender.from_pretrained(run)
    users, items = recommender.vocabulary.users[:5], recommender.vocabulary.items[:5]
    return (*recommender.recommend(users, 5), recommender.score(users, items).tolist())


def nan(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors, one number of them NaN."""
    tensors["text"][3, 0] = torch.nan
    return tensors


def of(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
    """A change of every tensor."""
    return lambda tensors: {name: change(tensor) for name, tensor in tensors.items()}


def floats(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[..., dict[str, torch.Tensor]]:
    """A change of every tensor of floats."""
    return of(lambda tensor: change(tensor) if tensor.is_floating_point() else tensor)


OTHER_TENSORS = {
    "vectors with NaN": (VECTORS, nan, "tensor text holds NaN or infinity"),
    "fewer vectors": (VECTORS, of(lambda t: t[:-1]), r"tensor text is float32 \[40, 32\], not float32 \[41, width\]"),
    "more vectors": (VECTORS, of(lambda t: torch.cat([t, t])), r"tensor text is float32 \[82, 32\]"),
    "narrower vectors": (VECTORS, of(lambda t: t[:, :-1]), "its files do not fit each other"),
    "vectors of another shape": (VECTORS, of(lambda t: t.reshape(82, 16)), r"tensor text is float32 \[82, 16\]"),
    "a flat vector": (VECTORS, of(lambda t: t.reshape(-1)), r"tensor text is float32 \[1312\]"),
    "one number": (VECTORS, of(lambda t: t[0, 0]), r"tensor text is float32 \[\]"),
    "double vectors": (VECTORS, of(torch.Tensor.double), "tensor text is float64"),
    "half vectors": (VECTORS, of(torch.Tensor.half), "tensor text is float16"),
    "vectors of another name": (VECTORS, lambda t: {"txt": t["text"]}, "tensor text is missing"),
    "one tensor more": (VECTORS, lambda t: {**t, "user": t["text"]}, "tensor user is unknown"),
    **{
        f"{file} of {name}": (file, floats(lambda t, dtype=dtype: t.to(dtype)), f"holds {name}, not float32")
        for file in (SIGNALS, HEAD)
        for name, dtype in {
            "float16": torch.float16,
            "float64": torch.float64,
            "bool": torch.bool,
            "int64": torch.int64,
        }.items()
    },
    "complex signals": (SIGNALS, floats(lambda t: t.to(torch.complex64)), "has the unknown dtype"),
    "signals too large": (SIGNALS, floats(lambda t: torch.full_like(t, 3e38)), "a score is not a finite number"),
    "short tables": (SIGNALS, of(lambda t: t[:-1] if len(t) == 41 else t), "has shape|is int64"),
}


@pytest.mark.parametrize("case", OTHER_TENSORS)
def test_tensors_that_do_not_fit_are_refused_though_their_digest_is_true(case: str, run: Path) -> None:
    name, change, message = OTHER_TENSORS[case]
    change_tensors(run / name, change)
    with pytest.raises(InputError, match=message) as caught:
        answers(resealed(run))
    assert "\n" not in str(caught.value)
    assert name in str(caught.value) or str(run) in str(caught.value)


@pytest.mark.parametrize("step", [-1, 900])
def test_neighbours_outside_their_tables_are_refused(step: int, quick_run: Callable[..., Path], tmp_path: Path) -> None:
    run = Path(shutil.copytree(quick_run("movies", {}), tmp_path / "run"))
    change_tensors(run / SIGNALS, of(lambda t: t if t.is_floating_point() else t + step))
    with pytest.raises(InputError, match=r"signals\.safetensors: tensor graph\.neighbours\.\w+ points to row"):
        answers(resealed(run))


def column(name: str, change: Callable[[list[Any]], object]) -> Callable[[pa.Table], pa.Table]:
    """A change of one column."""
    return lambda table: with_column(table, name, change(table[name].to_pylist()))


OTHER_TABLES = {
    "items in another order": (lambda t: t.take(list(range(39, -1, -1))), "row 1 is item '40', and '1' in the cat"),
    "fewer items": (lambda t: t.slice(0, 39), "39 items, and 40 in the catalogue"),
    "texts that are numbers": (column("text", lambda v: list(range(len(v)))), "text holds 'int64', not text"),
    "texts that are missing": (column("text", lambda v: [None, *v[1:]]), "text: a row without text"),
    "ids that are lists": (column("item_id", lambda v: [[x] for x in v]), "item_id holds '.*list.*', not text"),
    "no texts": (lambda t: t.drop_columns(["text"]), "no column text"),
}
Change = Callable[[torch.Tensor], torch.Tensor]


def tensor(name: str, change: Change) -> Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
    """A change of one tensor."""
    return lambda tensors: {**tensors, name: change(tensors[name])}


def put(place: int, value: float) -> Change:
    """A change of one number."""

    def change(before: torch.Tensor) -> torch.Tensor:
        after = before.clone()
        after[place] = value
        return after

    return change


def swapped(before: torch.Tensor) -> torch.Tensor:
    """The tensor, its first two numbers exchanged."""
    return torch.cat([before[:2].flip(0), before[2:]])


OTHER_CATALOGUES = {
    "an id that is not UTF-8": (VOCABULARY, tensor("items.content", put(0, 0xFF)), "items: a text is not UTF-8"),
    "a title that is not UTF-8": (VOCABULARY, tensor("titles.content", put(3, 0xC3)), "titles: a text is not UTF-8"),
    "offsets that fall": (VOCABULARY, tensor("items.offsets", put(5, 10**6)), "items: its offsets do not divide"),
    "offsets below zero": (VOCABULARY, tensor("titles.offsets", put(0, -1)), "titles: its offsets do not divide"),
    "offsets that end early": (VOCABULARY, tensor("users.offsets", put(-1, 3)), "users: its offsets do not divide"),
    "no offsets": (VOCABULARY, tensor("users.offsets", lambda t: t[:0]), "users: its offsets are missing"),
    "an order that repeats": (VOCABULARY, tensor("items.order", put(0, 1)), "its order is no permutation"),
    "an order out of range": (VOCABULARY, tensor("items.order", put(0, 40)), "its order is no permutation"),
    "an order below zero": (VOCABULARY, tensor("users.order", put(0, -1)), "its order is no permutation"),
    "a short order": (VOCABULARY, tensor("users.order", lambda t: t[:-1]), "its order is not one row for each of 30"),
    "an order of others": (VOCABULARY, tensor("items.order", swapped), "its order is not that of its ids"),
    "an order of 64 bits": (VOCABULARY, tensor("items.order", torch.Tensor.long), r"is int64 \[40\], not int32"),
    "an id twice": (VOCABULARY, tensor("items.content", put(1, ord("1"))), "an id stands twice|not that of its ids"),
    "an empty id": (VOCABULARY, tensor("items.offsets", put(1, 0)), "an id is empty|not that of its ids"),
    "fewer titles": (VOCABULARY, tensor("titles.offsets", lambda t: t[[*range(39), 40]]), "39 titles for 40 items"),
    "popularity below zero": (VOCABULARY, tensor("popularity", put(2, -5)), "popularity: -5 interactions"),
    "popularity as floats": (VOCABULARY, tensor("popularity", torch.Tensor.float), "popularity is float32"),
    "popularity of others": (VOCABULARY, tensor("popularity", lambda t: t[:-1]), "39 popularity for 40 items"),
    "a tensor in bf16": (VOCABULARY, tensor("popularity", torch.Tensor.bfloat16), "popularity is bfloat16"),
    "a stowaway": (VOCABULARY, lambda t: {**t, "more": torch.zeros(1)}, "tensor more is unknown"),
    "no titles": (VOCABULARY, lambda t: {k: v for k, v in t.items() if "titles" not in k}, "titles.* is missing"),
    "seen out of range": (SEEN, tensor("item", put(0, 10**7)), "item 10000000 is none of the run's items"),
    "seen below zero": (SEEN, tensor("item", put(0, -1)), "item -1 is none of the run's items"),
    "seen without end": (SEEN, tensor("timestamp", put(0, -(2**63))), "a time beyond all calendars"),
    "labels that are NaN": (SEEN, tensor("label", put(0, torch.nan)), "label holds NaN or infinity"),
    "bounds that fall": (SEEN, tensor("bounds", put(3, 10**6)), "bounds do not divide"),
    "bounds below zero": (SEEN, tensor("bounds", put(0, -4)), "bounds do not divide"),
    "fewer users": (SEEN, tensor("bounds", lambda t: t[[*range(30), 31]]), "30 users, and 31 in the catalogue"),
    "items as floats": (SEEN, tensor("item", torch.Tensor.float), "tensor item is float32"),
    "labels of others": (
        SEEN,
        tensor("label", lambda t: t[:-1]),
        r"tensor label is float32 \[\d+\], not float32 of one",
    ),
}


@pytest.mark.parametrize("case", OTHER_CATALOGUES)
def test_columns_that_do_not_fit_are_refused_though_their_digest_is_true(case: str, run: Path) -> None:
    name, change, message = OTHER_CATALOGUES[case]
    change_tensors(run / name, change)
    with pytest.raises(InputError, match=message) as caught:
        answers(resealed(run))
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


@pytest.mark.parametrize("name", [VOCABULARY, SEEN])
@pytest.mark.parametrize("kept", [0, 5, 200, -1])
def test_truncated_columns_are_refused_though_their_digest_is_true(name: str, kept: int, run: Path) -> None:
    (run / name).write_bytes((run / name).read_bytes()[:kept])
    with pytest.raises(InputError, match=rf"{name}: ") as caught:
        answers(resealed(run))
    assert "\n" not in str(caught.value)


def test_what_was_checked_once_is_checked_again_where_one_byte_is_another(run: Path) -> None:
    before = answers(run)
    assert answers(run) == before, "known contents"
    change_tensors(run / SEEN, tensor("item", put(0, 10**7)))
    with pytest.raises(InputError, match="is not what the run wrote"):
        answers(run)
    with pytest.raises(InputError, match="item 10000000 is none of the run's items"):
        answers(resealed(run))


def test_prompts_are_not_made_of_added_items_where_the_own_ones_have_no_columns(
    task_runs: Callable[[str], Path], tmp_path: Path
) -> None:
    run = Path(shutil.copytree(task_runs("prompt"), tmp_path / "run"))
    change_tensors(run / VOCABULARY, lambda t: {name: one for name, one in t.items() if "columns" not in name})
    with pytest.raises(InputError, match=r"catalogue\.safetensors: no columns of items, of which the run's prompts"):
        Recommender.from_pretrained(resealed(run))


@pytest.mark.parametrize("case", OTHER_TABLES)
def test_tables_that_do_not_fit_are_refused_though_their_digest_is_true(case: str, run: Path) -> None:
    change, message = OTHER_TABLES[case]
    change_table(run / ITEMS, change)
    recommender = Recommender.from_pretrained(resealed(run))
    assert recommender.recommend(["1"], 5), "no text of an item is read"
    with pytest.raises(InputError, match=message) as caught:
        list(recommender.items.texts)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["{", "[1]", '"a"', "[" * 5000, '{"a":' * 40 + "1" + "}" * 40, "9" * 5000])
def test_columns_of_users_that_are_no_objects_are_refused(content: str, run: Path) -> None:
    pq.write_table(pa.table({"columns": [content] * 30}), run / "users.parquet")
    with pytest.raises(InputError, match=r"users\.parquet: .*a row of columns is no JSON object"):
        answers(resealed(run))
    pq.write_table(pa.table({"columns": ["{}"] * 29}), run / "users.parquet")
    with pytest.raises(InputError, match=r"29 users, and 30 in the catalogue"):
        answers(resealed(run))


@pytest.mark.parametrize("name", (*ANSWERING, *HISTORIES[:1], NAME))
@pytest.mark.parametrize("kind", ["link", "FIFO", "folder", "dangling link"])
def test_only_regular_files_are_read(name: str, kind: str, run: Path) -> None:
    path = run / name
    if kind == "link":
        path.rename(run.parent / "elsewhere")
        path.symlink_to(run.parent / "elsewhere")
    else:
        path.unlink()
        if kind == "FIFO":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        else:
            path.symlink_to(run.parent / "nowhere")
    with pytest.raises(InputError, match=r"is a (link|FIFO|folder), not a regular file"):
        answers(run)


def test_file_beyond_all_bounds_is_not_read(run: Path) -> None:
    for name, size in {NAME: 2 << 20, "recipe.yaml": 2 << 20, ITEMS: 5 << 30, VECTORS: 1 << 30, HEAD: 1 << 30}.items():
        content = (run / name).read_bytes()
        with (run / name).open("r+b") as file:
            file.truncate(size)  # a hole: no byte is written
        with pytest.raises(InputError, match=f"{name}: has {size:,} bytes, more than the"):
            answers(run)
        (run / name).write_bytes(content)
    answers(run)


@pytest.mark.parametrize("name", PRIVATE)
def test_private_file_is_part_of_the_version_or_of_nothing(name: str, run: Path, tmp_path: Path) -> None:
    change_table(run / "predictions.parquet", lambda table: table)
    pq.write_table(pa.table({"columns": [json.dumps({"age": at}) for at in range(30)]}), run / "users.parquet")
    digest = read_manifest(resealed(run)).digest
    (run / name).rename(tmp_path / name)
    assert read_manifest(run).digest == digest, "left out when it was published"
    (run / name).write_bytes(b"something else")
    with pytest.raises(InputError, match=f"{name} is not what the run wrote"):
        read_manifest(run)
    assert (read_manifest(resealed(run)).digest == digest) == (name not in HISTORIES)


def test_run_without_histories_says_so(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert Recommender.from_pretrained(run).notes == ()
    (run / SEEN).unlink()
    recommender = Recommender.from_pretrained(run)
    assert recommender.notes == (f"{run} has no seen.safetensors: histories are missing, nothing is left out as seen",)
    assert f"warning: {run} has no seen.safetensors" in capsys.readouterr().err.replace("\n", "")
    assert len(recommender.recommend(["1"], 100)[0].items) == 40


def test_history_that_the_run_did_not_write_is_refused(run: Path) -> None:
    change_tensors(run / SEEN, tensor("item", lambda item: torch.full_like(item, 3)))
    with pytest.raises(InputError, match=r"seen\.safetensors is not what the run wrote"):
        answers(run)


def test_surplus_files_are_ignored_and_named(run: Path) -> None:
    before = answers(run)
    for name in ("adapter_model.bin", "\x1b[31mred", "model.py", "z"):
        (run / name).write_bytes(b"x")
    assert answers(run) == before
    (note,) = Recommender.from_pretrained(run).notes
    assert note == f"{run}: '\\x1b[31mred', 'adapter_model.bin', 'model.py' and 1 more ignored: no file of a run"


def test_files_changed_after_loading_change_no_answer(run: Path) -> None:
    recommender = Recommender.from_pretrained(run)
    users, items = recommender.vocabulary.users[:20], recommender.vocabulary.items[:20]
    texts = ["a quiet drama", "two robbers"]
    before, lists, vectors = recommender.score(users, items), recommender.recommend(users, 5), recommender.encode(texts)
    for path in [path for path in run.iterdir() if path.is_file()]:
        with path.open("r+b") as file:  # in place: the same inode
            file.write(b"\xff" * path.stat().st_size)
    assert recommender.score(users, items).tolist() == before.tolist()
    assert recommender.recommend(users, 5) == lists
    torch.testing.assert_close(recommender.encode(texts), vectors, rtol=0, atol=0)


@pytest.mark.trains
def test_files_cut_off_after_loading_do_not_end_the_process(run: Path) -> None:
    code = """
import sys
from pathlib import Path
from llmrec_peft.run.recommender import Recommender
run = Path(sys.argv[1])
recommender = Recommender.from_pretrained(run)
recommender.encode(["a film"])
users, items = recommender.vocabulary.users, recommender.vocabulary.items[:30]
for path in run.iterdir():
    with path.open("r+b") as file:
        file.truncate(0)
recommender.encode(["another film"])
print(float(recommender.score(users, items).sum()), len(recommender.recommend(users, 5)))
"""
    done = subprocess.run([sys.executable, "-c", code, run], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, (done.returncode, done.stderr)
    assert done.stdout.split()[1] == "30"


def test_adapter_changed_before_its_first_text_is_refused(run: Path) -> None:
    recommender = Recommender.from_pretrained(run)
    path = run / "adapter_model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"{path} is not what the run wrote"):
        recommender.encode(["a film"])


def packed(name: str, values: pa.Array, **options: Any) -> Callable[[Path], None]:
    """A Parquet file of one column."""
    return lambda path: pq.write_table(pa.table({name: values}), path, **options)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (packed("id", pa.array(["a" * 10**7]), compression="zstd"), "packed by ZSTD, not by SNAPPY or UNCOMPRESSED"),
        (packed("id", pa.array(["a"]), compression="gzip"), "packed by GZIP"),
        (packed("id", pa.array([str(n) for n in range(1000)]), row_group_size=1), "1,000 row groups"),
        (lambda path: pq.write_table(pa.table({f"c{n}": [1] for n in range(1001)}), path), "1,001 columns"),
        (lambda path: path.write_bytes(b"PAR1" + b"\xff" * 4 + b"PAR1"), "a footer that is too long"),
        (lambda path: path.write_bytes(b""), "no Parquet file"),
    ],
)
def test_footer_that_promises_too_much_is_refused(write: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    write(tmp_path / "table.parquet")
    with pytest.raises(InputError, match=message):
        Table((tmp_path / "table.parquet").read_bytes(), tmp_path / "table.parquet")


def test_one_long_text_in_many_rows_takes_the_memory_of_one(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    word = "a" * (1 << 20)
    pq.write_table(pa.table({"id": pa.array([word] * 5000)}), path)  # 5 GB, were each row a text of its own
    texts = Table(path.read_bytes(), path).texts("id")
    assert len(texts) == 5000
    assert len({id(text) for text in texts}) == 1


def framed(header: object, data: bytes = b"") -> bytearray:
    """A safetensors file."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return bytearray(len(text).to_bytes(8, "little") + text + data)


def entry(dtype: str = "F32", shape: object = (1,), offsets: object = (0, 4)) -> dict[str, object]:
    """What a header says of a tensor."""
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (bytearray(b"\x01"), "of 1 bytes, its header would be"),
        (bytearray(b"\xff" * 8), "its header would be"),
        (framed([]), "is no JSON object"),
        (framed({"a": entry()}), "its tensors have 4 bytes, but 0 lie behind the header"),
        (framed({"a": entry(), "b": entry()}, b"\0" * 4), "overlap those of another tensor"),
        (framed({"a": entry(shape=[2**40, 0], offsets=[0, 0])}), "has no shape"),
        (framed({"a": entry("BOOL", [1], [0, 1])}, b"\7"), "said to be BOOL and holds something else"),
    ],
)
def test_header_of_tensors_is_bounded_before_anything_is_made(content: bytearray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        tensors_in(content, Path("some.safetensors"))


def test_tensors_share_the_memory_that_was_read() -> None:
    content = framed({"a": entry(shape=[1, 2], offsets=[0, 8]), "b": entry("I64", [], [8, 16])}, bytes(range(16)))
    tensors, texts = tensors_in(content, Path("some.safetensors"))
    assert (list(tensors["a"].shape), list(tensors["b"].shape), texts) == ([1, 2], [], {})
    assert tensors["b"].item() == int.from_bytes(bytes(range(8, 16)), "little")

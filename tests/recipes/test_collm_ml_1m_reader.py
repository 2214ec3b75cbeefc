"""Reader of CoLLM's MovieLens-1M records: the published parts as they are, and every broken line named."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llmrec_recipes.benchmarks.collm_ml_1m.reader import CollmMl1m

from llmrec_peft.data.dataset import RecDataset, column, without_duplicates
from llmrec_peft.errors import InputError


@pytest.fixture(scope="module")
def real(shared_data: Path) -> RecDataset:
    folder = shared_data / "collm-ml-1m"
    if not (folder / "train.jsonl").is_file():
        pytest.skip(f"CoLLM's records are absent: {folder}")
    return CollmMl1m().read(folder, None)


def test_real_records_are_read_whole(real: RecDataset) -> None:
    parts = column(real.interactions, "part")
    assert Counter(parts) == {"train": 33_891, "valid": 10_401, "test": 7_331}
    likes = Counter(part for part, label in zip(parts, column(real.interactions, "rating"), strict=True) if label == 1)
    assert likes == {"train": 18_191, "valid": 5_495, "test": 3_998}
    assert set(column(real.interactions, "rating")) == {0.0, 1.0}
    assert (len(real.users), len(real.items)) == (838, 3255)
    assert (real.feedback, real.rating_range, real.repeats, real.notes) == ("click", (0, 1), False, ())
    assert without_duplicates(real) is real


def test_real_parts_follow_each_other_in_time(real: RecDataset) -> None:
    parts = np.asarray(column(real.interactions, "part"))
    time = np.asarray(column(real.interactions, "timestamp"))
    spans = [(time[parts == part].min(), time[parts == part].max()) for part in ("train", "valid", "test")]
    assert spans == [(991356108, 1017615347), (1017620997, 1030837385), (1030839253, 1044033786)]


def test_real_cold_records_are_those_of_users_or_films_without_training_record(real: RecDataset) -> None:
    names = ("part", "kind", "user_id", "item_id")
    rows = list(zip(*(column(real.interactions, name) for name in names), strict=True))
    assert Counter(row[:2] for row in rows) == {
        ("train", "warm"): 33_891,
        ("valid", "warm"): 6_609,
        ("valid", "cold"): 3_792,
        ("test", "warm"): 4_153,
        ("test", "cold"): 3_178,
    }
    users = {user for part, _, user, _ in rows if part == "train"}
    films = {film for part, _, _, film in rows if part == "train"}
    assert all((kind == "warm") == (user in users and film in films) for _, kind, user, film in rows)


def test_real_histories_are_earlier_likes_without_the_padding(real: RecDataset) -> None:
    columns = {name: column(real.interactions, name) for name in real.interactions.column_names}
    assert not [history for history in columns["history"] if "0" in history]
    assert not [item for item, history in zip(columns["item_id"], columns["history"], strict=True) if item in history]
    assert {label for labels in columns["history_rating"] for label in labels} == {1.0}
    assert [len(row) for row in columns["history"]] == [len(row) for row in columns["history_rating"]]
    pairs = zip(columns["user_id"], columns["item_id"], strict=True)
    when = dict(zip(pairs, zip(columns["timestamp"], columns["rating"], strict=True), strict=True))
    for user, moment, history in zip(columns["user_id"], columns["timestamp"], columns["history"], strict=True):
        for item in history[-3:]:
            assert when[user, item][0] <= moment
            assert when[user, item][1] == 1.0
    lengths = np.array([len(history) for history in columns["history"]])
    parts = np.asarray(columns["part"])
    shape = {part: (int((lengths[parts == part] == 0).sum()), int(lengths[parts == part].max())) for part in set(parts)}
    assert shape == {"train": (1275, 338), "valid": (103, 345), "test": (62, 445)}
    assert np.median(lengths[parts == "test"]) == 42


def test_real_titles_read_as_people_say_them(real: RecDataset) -> None:
    items = {row["item_id"]: row for row in real.items}
    assert (items["1"]["title"], items["1"]["year"]) == ("The Shawshank Redemption", 1994)
    assert "0" not in items, "the padding is no film"
    assert set(column(real.interactions, "item_id")) <= set(items)
    assert all(column(real.items, "title"))
    assert {"Alien³", "Pokémon: The First Movie", "The Cup (Phörpa)"} <= set(column(real.items, "title"))


GOOD: dict[str, Any] = {"uid": 7, "iid": 2, "label": 1, "timestamp": 991356108, "his": [0, 1], "not_cold": 1}
TITLES = 'iid,title\r\n0,\r\n1,"Sting, The (1973)"\r\n2,Heat (1995)\r\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for part in ("train", "valid", "test"):
        write(tmp_path, f"{part}.jsonl", GOOD, {**GOOD, "iid": 1, "label": 0, "his": [0]})
    (tmp_path / "item_titles.csv").write_bytes(TITLES.encode())
    return tmp_path


def write(folder: Path, name: str, *records: Any) -> None:
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_small_folder_is_read_as_it_stands(folder: Path) -> None:
    write(folder, "test.jsonl", {**GOOD, "not_cold": 0, "his": [0, 1, 0, 1]}, {**GOOD, "uid": 0, "his": []})
    data = CollmMl1m().read(folder, None)
    assert data.interactions[4] == {
        "user_id": "7",
        "item_id": "2",
        "rating": 1.0,
        "timestamp": 991356108,
        "part": "test",
        "history": ["1", "1"],
        "history_rating": [1.0, 1.0],
        "kind": "cold",
    }
    assert column(data.users, "user_id") == ["7", "0"]
    assert data.items[:] == {"item_id": ["1", "2"], "title": ["The Sting", "Heat"], "year": [1973, 1995]}


def test_films_without_a_title_are_kept_and_noted(folder: Path) -> None:
    (folder / "item_titles.csv").write_text("iid,title\n0,\n1, \n9,Alien (1979)\n", encoding="utf-8")
    data = CollmMl1m().read(folder, None)
    assert data.items[:] == {"item_id": ["1", "9", "2"], "title": ["", "Alien", ""], "year": [None, 1979, None]}
    assert data.notes == ("films without a title in item_titles.csv, known by their id alone: 2",)


def line(**changes: Any) -> Callable[[Path], None]:
    """A second training line with fields changed, or left out where the change is `...`."""
    kept = {name: value for name, value in {**GOOD, **changes}.items() if value is not ...}
    return lambda folder: write(folder, "train.jsonl", GOOD, kept)


def titles(text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "item_titles.csv").write_text(text, encoding="utf-8") and None


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (line(uid=...), "train.jsonl, line 2: no field 'uid'"),
        (line(uid=-1), "train.jsonl, line 2: uid -1 where a whole number not below 0 belongs"),
        (line(uid=""), "train.jsonl, line 2: uid '' where a whole number not below 0 belongs"),
        (line(iid=0), "train.jsonl, line 2: iid 0 where a whole number not below 1 belongs"),
        (line(iid="2"), "train.jsonl, line 2: iid '2' where a whole number not below 1 belongs"),
        (line(label=2), "train.jsonl, line 2: label 2 where a whole number from 0 to 1 belongs"),
        (line(label=0.5), "train.jsonl, line 2: label 0.5 where a whole number from 0 to 1 belongs"),
        (line(label=True), "train.jsonl, line 2: label true where a whole number from 0 to 1 belongs"),
        (line(not_cold=None), "train.jsonl, line 2: not_cold null where a whole number from 0 to 1 belongs"),
        (line(timestamp=10**30), "train.jsonl, line 2: timestamp 1000000000000000000000000000000 where a whole"),
        (line(his=5), "train.jsonl, line 2: his 5 where a list of whole numbers belongs"),
        (line(his=[0, -3]), "train.jsonl, line 2: his a list of 2 where a whole number not below 0 belongs"),
        (line(his=...), "train.jsonl, line 2: no field 'his'"),
        (lambda folder: write(folder, "test.jsonl", GOOD, "{'uid': 1}"), "test.jsonl, line 2: no JSON (column 2: "),
        (lambda folder: write(folder, "valid.jsonl", "[]"), "valid.jsonl, line 1: a list of 0 where an object"),
        (titles("iid;title\n"), "item_titles.csv, line 1: 'iid;title' where 'iid,title' belongs"),
        (titles("iid,title\n1\n"), "item_titles.csv, line 2: 1 fields where 2 belong"),
        (titles("iid,title\nx,Heat\n"), "item_titles.csv, line 2: iid 'x' is no whole number"),
        (titles("iid,title\n-1,Heat\n"), "item_titles.csv, line 2: iid -1 is below 0"),
        (titles("iid,title\n1,A\n1,B\n"), "item_titles.csv, line 3: item 1 is there twice"),
    ],
)
def test_broken_line_is_named_with_its_file(folder: Path, break_it: Callable[[Path], None], words: str) -> None:
    break_it(folder)
    with pytest.raises(InputError) as caught:
        CollmMl1m().read(folder, None)
    assert str(caught.value).startswith(f"{folder}/{words}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["train.jsonl", "valid.jsonl", "test.jsonl", "item_titles.csv"])
def test_missing_and_empty_files_are_named(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"")
    with pytest.raises(InputError, match=f"{name}: the file is empty"):
        CollmMl1m().read(folder, None)
    (folder / name).unlink()
    with pytest.raises(InputError, match=rf"no file {name} \(the folder holds "):
        CollmMl1m().read(folder, None)


def test_graph_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match=r"data\.graph: nothing links the items of CoLLM's MovieLens-1M"):
        CollmMl1m().read(folder, folder)

"""Rows whose values are no numbers, times or ids of files: named by line and column, left out as many as may be."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmrec_peft.custom.propose import Proposal, propose
from llmrec_peft.data.dataset import RecDataset, columns
from llmrec_peft.errors import InputError
from llmrec_peft.experiment.prepare import read_dataset

ROWS = [[f"u{at % 20}", f"i{at // 20}", str(at % 5 + 1), f"2023-01-{at % 28 + 1:02d}"] for at in range(200)]
HEAD = ["user", "item", "rating", "date"]


def written(folder: Path, changes: dict[int, tuple[int, str]], kind: str = "csv") -> Path:
    """Ratings with some cells changed: by row, the column and its text."""
    rows = [list(row) for row in ROWS]
    for row, (column, text) in changes.items():
        rows[row][column] = text
    path = folder / f"ratings.{kind}"
    if kind == "csv":
        path.write_text("\n".join(",".join(row) for row in [HEAD, *rows]) + "\n", encoding="utf-8")
    elif kind == "jsonl":
        path.write_text("\n".join(json.dumps(dict(zip(HEAD, row, strict=True))) for row in rows), encoding="utf-8")
    else:
        pq.write_table(pa.table(dict(zip(HEAD, map(list, zip(*rows, strict=True)), strict=True))), path)
    return path


def refusal(call: Any) -> str:
    with pytest.raises(InputError) as caught:
        call()
    said = str(caught.value)
    assert said.isprintable() and "\n" not in said
    return said


def read(proposal: Proposal, **options: Any) -> RecDataset:
    return read_dataset(
        proposal.recipe.changed({f"data.options.{name}": value for name, value in options.items()}).data
    )


@pytest.mark.parametrize(
    ("column", "text", "words"),
    [
        (2, "good", "column 'rating': 'good' is no number from 1 to 5"),
        (2, "1e999", "column 'rating': '1e999' is no number"),
        (2, "99", "column 'rating': '99' is no number from 1 to 5"),
        (3, "soon", "column 'date': 'soon' is no time written as iso"),
        (3, "2023-02-30", "column 'date': '2023-02-30' is no time written as iso"),
        (0, "1.2E+15", "column 'user': '1.2E+15' is a rounded number"),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_wrong_value_is_named_by_its_line_and_left_out_on_request(
    column: int, text: str, words: str, kind: str, tmp_path: Path
) -> None:
    proposal = propose(written(tmp_path, {}, kind))
    written(tmp_path, {150: (column, text), 160: (column, text)}, kind)
    line = 150 + {"csv": 2, "jsonl": 1, "parquet": 1}[kind]
    said = refusal(lambda: read(proposal, skip_bad=1))
    assert f"ratings.{kind}, line {line}, {words}" in said
    assert "(2 bad rows in the file; data.options.skip_bad, --skip-bad of llmrec init custom, allows 1)" in said
    dataset = read(proposal, skip_bad=2)
    assert len(dataset.interactions) == 198
    (note,) = [note for note in dataset.notes if "bad rows" in note]
    assert note.startswith(f"2 bad rows of ratings.{kind} were left out (line {line}, {words}") and "(and" not in note


def test_unreadable_rows_and_wrong_values_count_together_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, {10: (2, '"2"'), 50: (2, "bad"), 90: (3, "never"), 120: (0, '"a\nb"')})
    text = path.read_text(encoding="utf-8").splitlines()
    text.insert(31, "too,few")
    text.insert(150, "u1,i9,none")
    path.write_text("\n".join(text), encoding="utf-8")
    said = refusal(lambda: propose(path, given={"skip_bad": 3}))
    assert "line 32: 2 columns where 4 are expected" in said and "(4 bad rows in the file" in said
    proposal = propose(path, given={"skip_bad": 4})
    assert [note.split(":")[0] for note in proposal.notes] == [
        "ratings.csv, line 32",
        "ratings.csv, line 53, column 'rating'",
        "ratings.csv, line 93, column 'date'",
        "ratings.csv, line 151",
    ]
    options = proposal.recipe.data.options
    assert options is not None and options.model_dump()["interactions"]["time_form"] == "iso"
    assert options.model_dump()["feedback"] == "rating" and options.model_dump()["skip_bad"] == 4
    assert len(read_dataset(proposal.recipe.data).interactions) == 198


@pytest.mark.parametrize("given", [{}, {"rating_column": "rating"}])
def test_a_column_of_ratings_that_is_not_all_numbers_is_named_by_its_line(
    given: dict[str, str], tmp_path: Path
) -> None:
    path = written(tmp_path, {5: (1, '"x\ny\nz"'), 100: (2, "bad")})
    said = refusal(lambda: propose(path, given=given))
    assert "ratings.csv: line 104, column 'rating': 'bad' is no number" in said and "--skip-bad N" in said


def test_a_nameless_column_that_is_not_all_numbers_is_unsure(tmp_path: Path) -> None:
    path = tmp_path / "ratings.txt"
    rows = [f"{at % 20} {100 + at // 20} {at % 4 + 1}" for at in range(200)]
    path.write_text("\n".join([*rows[:99], "5 177 good", *rows[99:]]), encoding="utf-8")
    proposal = propose(path)
    assert any("column 'column_3' has numbers, but line 100, 'good', is none" in line for line in proposal.unsure)
    assert propose(path, given={"skip_bad": 1}).recipe.head.name == "rating"


def test_a_column_of_times_that_is_not_all_times_is_unsure(tmp_path: Path) -> None:
    unsure = propose(written(tmp_path, {5: (1, '"x\ny\nz"'), 100: (3, "soon")})).unsure
    assert any("'date' is called so, but line 104, 'soon', is none" in line for line in unsure)


@pytest.mark.parametrize(
    ("label", "words"),
    [("maybe", "column 'clicked': 'maybe' is neither 1 nor 0"), ("2", "column 'clicked': '2' is neither 1 nor 0")],
)
def test_clicks_that_are_neither_are_bad_rows(label: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "clicks.csv"
    rows = [f"u{at % 20},i{at // 20},{at % 2}" for at in range(200)]
    path.write_text("\n".join(["user,item,clicked", *rows]), encoding="utf-8")
    proposal = propose(path)
    path.write_text("\n".join(["user,item,clicked", *rows[:99], f"u1,i99,{label}", *rows[99:]]), encoding="utf-8")
    assert f"clicks.csv, line 101, {words}" in refusal(lambda: read(proposal))
    assert len(read(proposal, skip_bad=1).interactions) == 200


def test_clicks_in_words_are_seen_beside_bad_rows(tmp_path: Path) -> None:
    path = tmp_path / "clicks.csv"
    rows = [f"u{at % 20},i{at // 20},{('yes', 'no')[at % 2]}" for at in range(200)]
    path.write_text("\n".join(["user,item,clicked", *rows, "u1,i98,mu", "u1,i99,who knows"]), encoding="utf-8")
    proposal = propose(path, given={"skip_bad": 2})
    assert proposal.recipe.head.name == "click" and len(proposal.notes) == 2
    assert len(read(proposal).interactions) == 200


def test_wrong_values_of_items_and_users_are_bad_rows_too(tmp_path: Path) -> None:
    items, users = tmp_path / "items.csv", tmp_path / "users.csv"
    described = [f'i{at},Film {at},{1990 + at},2020-01-{at + 1:02d},"[""a"", ""b{at}""]"' for at in range(10)]
    head = "item,title,year,released,genres"
    items.write_text("\n".join([head, *described]), encoding="utf-8")
    users.write_text("\n".join(["user,age", *(f"u{at},{20 + at}" for at in range(20))]), encoding="utf-8")
    proposal = propose(written(tmp_path, {}), items, users)
    named = proposal.recipe.data.options
    assert named is not None and set(named.model_dump()["items"]["numbers"]) == {"year"}
    described[3] = described[3].replace("1993", "unknown")
    described[4] = described[4].replace("2020-01-05", "2020-13-05")
    described[5] = described[5].replace('"[""a"", ""b5""]"', "a b")
    items.write_text("\n".join([head, *described]), encoding="utf-8")
    said = refusal(lambda: read(proposal, skip_bad=2))
    assert "items.csv, line 5, column 'year': 'unknown' is no number (3 bad rows in the file" in said
    dataset = read(proposal, skip_bad=3)
    (note,) = [note for note in dataset.notes if "bad rows" in note]
    assert "line 6, column 'released': '2020-13-05' is no time" in note
    assert "line 7, column 'genres': 'a b' is no list" in note
    titles = dict(zip(columns(dataset.items)["item_id"], columns(dataset.items)["title"], strict=True))
    assert titles["i3"] == "" and titles["i6"] == "Film 6", "known by its id alone"


def test_missing_values_are_no_bad_rows(tmp_path: Path) -> None:
    dataset = read_dataset(propose(written(tmp_path, {3: (2, ""), 4: (2, "NA"), 5: (0, ""), 6: (3, "")})).recipe.data)
    assert len(dataset.interactions) == 196
    assert "2 of 200 interactions have no label: they were left out" in dataset.notes


def test_decimal_commas_are_read_beside_a_bad_row(tmp_path: Path) -> None:
    path = tmp_path / "ratings.csv"
    rows = [f"u{at % 20};i{at // 20};{at % 5 + 1},5" for at in range(200)]
    path.write_text("\n".join(["user;item;rating", *rows, "u1;i99;n/v"]), encoding="utf-8")
    proposal = propose(path, given={"skip_bad": 1})
    assert proposal.notes == ("ratings.csv, line 202, column 'rating': 'n/v' is no number from 1.5 to 5.5",)
    assert sorted(set(columns(read_dataset(proposal.recipe.data).interactions)["rating"]))[:2] == [1.5, 2.5]


CELLS = (
    "5",
    " 4 ",
    "+3",
    "1e0",
    "1e400",
    ".5",
    "5.",
    "0x1",
    "nan",
    "NAN",
    "-inf",
    "",
    "NA",
    "1,5",
    "１",
    "--1",
    "1_0",
    "é",
)
TIMES = ("2023-01-05", "2023-02-31", "2023-1-5 25:00", "2023-01-05T10:00:00Z", "0000-01-01", "9999-12-31", "1", "later")


@pytest.mark.parametrize("seed", range(8))
def test_whatever_cells_hold_is_read_or_left_out(seed: int, tmp_path: Path) -> None:
    proposal = propose(written(tmp_path, {}))
    draw = random.Random(seed)
    places = draw.sample(range(200), 60)
    cells = {at: (2, json.dumps(draw.choice(CELLS), ensure_ascii=False)) for at in places[:30]}
    written(tmp_path, {**cells, **{at: (3, draw.choice(TIMES)) for at in places[30:]}})
    dataset = read(proposal, skip_bad=60)
    assert 140 <= len(dataset.interactions) < 200
    rated = columns(dataset.interactions)["rating"]
    assert min(rated) >= 1.0 and max(rated) <= 5.0
    numbers = proposal.recipe.changed({"data.options.interactions.time_form": "order"})
    written(tmp_path, {at: (3, json.dumps(draw.choice(CELLS), ensure_ascii=False)) for at in range(200)})
    assert read_dataset(numbers.changed({"data.options.skip_bad": 200}).data).interactions

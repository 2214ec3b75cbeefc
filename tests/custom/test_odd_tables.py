"""Odd tables: names that stand twice, matrices, comments above a table, and one file given as two."""

from __future__ import annotations

import random
from pathlib import Path

import pandas as pd
import pytest

from llmrec_peft import Dataset
from llmrec_peft.custom.propose import Proposal, propose
from llmrec_peft.data.splits import split as split_of
from llmrec_peft.errors import InputError
from llmrec_peft.experiment.prepare import read_dataset


def rows(count: int = 60) -> list[tuple[str, str, int, int]]:
    """Return rows of user, item, rating and another rating."""
    draw = random.Random(0)
    pairs = draw.sample([(f"u{user}", f"i{item}") for user in range(12) for item in range(12)], count)
    return [(user, item, draw.randint(1, 5), draw.randint(1, 5)) for user, item in pairs]


def written(path: Path, header: str, cells: list[tuple[object, ...]], above: str = "") -> Path:
    """Write a file of rows under a header."""
    path.write_text(above + "\n".join([header, *(",".join(map(str, row)) for row in cells)]) + "\n", encoding="utf-8")
    return path


def labels(found: Proposal, folder: Path) -> list[float]:
    """Return the labels that the proposed recipe reads."""
    return read_dataset(found.recipe.changed({"data.path": str(folder)}).data).interactions["rating"][:]


def refusal(path: Path, **options: object) -> str:
    """Return the one line by which a file of interactions is refused."""
    with pytest.raises(InputError) as caught:
        propose(path, given=options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_of_two_ratings_that_differ_the_user_chooses_one(tmp_path: Path) -> None:
    made = rows()
    path = written(tmp_path / "a.csv", "user_id,item_id,rating,rating", made)
    assert "two columns are called 'rating' and differ" in refusal(path)
    assert "--rating-column 'column_4' for the other" in refusal(path)
    for column, at in (("rating", 2), ("column_4", 3)):
        found = propose(path, given={"rating_column": column})
        assert labels(found, tmp_path) == [row[at] for row in made]


def test_a_repeated_name_is_unsure_where_nothing_depends_on_it(tmp_path: Path) -> None:
    unsure = "interactions, columns: the header has '{}' twice: the later one is column_{}"
    notes = [(user, item, rating, "a", "b") for user, item, rating, _ in rows()]
    found = propose(written(tmp_path / "a.csv", "user_id,item_id,rating,note,note", notes))
    assert found.unsure == (unsure.format("note", 5),)
    equal = [(user, item, rating, rating) for user, item, rating, _ in rows()]
    found = propose(written(tmp_path / "b.csv", "user_id,item_id,rating,rating", equal))
    assert found.unsure == (unsure.format("rating", 4),)
    numbered = [(at, *row) for at, row in enumerate(rows())]
    assert propose(written(tmp_path / "c.csv", ",user_id,item_id,rating,other", numbered)).unsure == ()


def test_frames_with_a_repeated_name_are_refused() -> None:
    frame = pd.DataFrame(rows(), columns=["user", "item", "rating", "rating"])
    with pytest.raises(InputError, match="interactions: two columns are called 'rating': rename one of them"):
        Dataset.from_frames(frame)


@pytest.mark.parametrize("first", ["user", "", "Kunde"])
@pytest.mark.parametrize("code", ["{:04d}", "B{:03d}X", "tt{}"])
def test_a_matrix_is_refused_by_the_form_that_is_wanted(tmp_path: Path, first: str, code: str) -> None:
    draw = random.Random(0)
    cells = [(f"{10 + user:05d}", *(draw.choice(["", "", 1, 2, 3]) for _ in range(20))) for user in range(30)]
    header = ",".join([first, *(code.format(at) for at in range(1, 21))])
    said = refusal(written(tmp_path / "m.csv", header, cells))
    assert "m.csv: a row for each user and a column for each of 20 items" in said
    assert "write one row for each interaction, with the columns user, item and rating" in said


def test_a_matrix_in_memory_is_refused() -> None:
    frame = pd.DataFrame(rows(), columns=["user", "item", "rating", "other"]).drop(columns="other")
    frame["item"] = frame["item"].str.removeprefix("i").astype(int)
    wide = frame.pivot_table(index="user", columns="item", values="rating")
    with pytest.raises(InputError, match="interactions: a row for each user and a column for each of 12 items"):
        Dataset.from_frames(wide)
    with pytest.raises(InputError, match="interactions: a row for each item and a column for each of 12 users"):
        Dataset.from_frames(frame.pivot_table(index="item", columns="user", values="rating"))


def test_interactions_with_many_columns_of_numbers_are_no_matrix(tmp_path: Path) -> None:
    draw = random.Random(0)
    many = [(*row[:3], *(draw.randint(0, 3) for _ in range(20))) for row in rows()]
    header = ",".join(["user_id", "item_id", "rating", *(f"f{at}" for at in range(20))])
    found = propose(written(tmp_path / "a.csv", header, many))
    assert {guess.role: guess.column for guess in found.guesses if guess.column}["item"] == "item_id"
    bare = [(user.removeprefix("u"), item.removeprefix("i"), *more) for user, item, *more in many]
    found = propose(written(tmp_path / "b.csv", ",".join(map(str, bare[0])), bare[1:]))
    assert {guess.role: guess.column for guess in found.guesses if guess.column}["item"] == "column_2"


@pytest.mark.parametrize("comments", [1, 3])
def test_comments_above_a_table_are_named(tmp_path: Path, comments: int) -> None:
    above = "# exported 2024-01-01\n" * comments
    path = written(tmp_path / "a.csv", "user_id,item_id,rating,other", rows(), above)
    many = "the first line" if comments == 1 else "the first 3 lines"
    assert refusal(path).endswith(
        f"a.csv, line 1: '# exported 2024-01-01' is a comment and names no columns: remove {many}"
    )


def test_a_header_that_begins_with_a_hash_is_one(tmp_path: Path) -> None:
    found = propose(written(tmp_path / "a.csv", "#user_id,item_id,rating,other", rows()))
    assert {guess.role: guess.column for guess in found.guesses}["user"] == "#user_id"


def test_one_file_as_interactions_and_items(tmp_path: Path) -> None:
    described = [(user, item, f"The {item} lamp", rating) for user, item, rating, _ in rows()]
    path = written(tmp_path / "a.csv", "user_id,item_id,title,rating", described)
    with pytest.raises(InputError, match=r"--items: .*a\.csv is the file of the interactions: name a file"):
        propose(path, items=path)
    with pytest.raises(InputError, match=r"--users: .*or say --users-id-column COLUMN"):
        propose(path, users=path)
    with pytest.raises(InputError, match="name too long"):
        propose(path, items=tmp_path / ("x" * 300))
    found = propose(path, items=path, given={"items_id_column": "item_id"})
    data = read_dataset(found.recipe.changed({"data.path": str(tmp_path)}).data)
    assert dict(zip(data.items["item_id"], data.items["title"], strict=True))["i3"] == "The i3 lamp"


def pairs(each: int) -> dict[str, list[str]]:
    """Return interactions of users who have `each` of them."""
    return {"user": [f"u{row // each}" for row in range(60)], "item": [f"i{row % 7}" for row in range(60)]}


def test_users_of_one_interaction_are_unsure() -> None:
    [said] = Dataset.from_frames(pairs(1)).unsure
    assert said.startswith(
        "interactions, user: column 'user': its name; 60 distinct values in 60 rows; no value stands"
    )


@pytest.mark.parametrize(("each", "split"), [(2, "random"), (3, "leave-last-out")])
def test_users_with_few_interactions_are_split_in_a_way_that_is_possible(each: int, split: str) -> None:
    data = Dataset.from_frames(pairs(each))
    assert data.unsure == ()
    recipe = data.recipe()
    assert recipe.data.split == split
    assert len(split_of(data.dataset, split, recipe.data.test_fraction, recipe.data.valid_fraction, 0).valid)

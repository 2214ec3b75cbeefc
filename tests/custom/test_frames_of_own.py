"""Frames of every kind become one dataset; the recipe, the training and what is scored go by it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import llmrec_peft
from llmrec_peft.custom.dataset import Dataset
from llmrec_peft.custom.scored_frames import pairs_of, with_column
from llmrec_peft.data.dataset import columns
from llmrec_peft.errors import InputError

RATINGS = {"user": ["a", "a", "b", "b", "c"], "item": ["x", "y", "x", "z", "y"], "stars": [5, 3, 4, 1, 2]}
ITEMS = {"item": ["x", "y", "z"], "title": ["Xylophone", "Yacht race", "Zoo"]}


class Streamed:
    """A frame of a library that is not installed: it offers Arrow's stream and nothing else."""

    def __init__(self, columns: dict[str, list[Any]]) -> None:
        self._table = pa.table(columns)

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self._table.__arrow_c_stream__(requested_schema)


class Interchanged:
    """A frame that offers the older interchange protocol alone."""

    def __init__(self, columns: dict[str, list[Any]]) -> None:
        self._table = pa.table(columns)

    def __dataframe__(self, nan_as_null: bool = False, allow_copy: bool = True) -> Any:
        return self._table.__dataframe__(nan_as_null, allow_copy)


KINDS = {
    "dict": lambda columns: columns,
    "pandas": pd.DataFrame,
    "pandas with an index": lambda columns: pd.DataFrame(columns).set_index("item"),
    "pandas of categories": lambda columns: pd.DataFrame(columns).astype({"item": "category"}),
    "arrow": pa.table,
    "batch": pa.RecordBatch.from_pydict,
    "datasets": datasets.Dataset.from_dict,
    "stream": Streamed,
    "interchange": Interchanged,
}


def plain(data: Dataset) -> list[Any]:
    return [columns(table) for table in (data.dataset.interactions, data.dataset.items, data.dataset.users)]


@pytest.mark.parametrize("kind", KINDS)
def test_all_kinds_of_frames_are_one_dataset(kind: str) -> None:
    make = KINDS[kind]
    data = Dataset.from_frames(make(RATINGS), make(ITEMS))
    expected = Dataset.from_frames(RATINGS, ITEMS)
    assert plain(data) == plain(expected)
    assert (data.dataset.feedback, data.dataset.rating_range) == ("rating", (1.0, 5.0))
    assert columns(data.dataset.items)["title"] == ITEMS["title"]


def test_numbers_are_ids_and_floats_are_whole() -> None:
    whole = Dataset.from_frames(pd.DataFrame({**RATINGS, "user": [1, 1, 2, 2, 3]}))
    floats = Dataset.from_frames(pd.DataFrame({**RATINGS, "user": [1.0, 1.0, 2.0, 2.0, 3.0]}))
    mixed = Dataset.from_frames(pd.DataFrame({**RATINGS, "user": [1, "1", "2", 2, "3"]}))
    assert plain(whole) == plain(floats) == plain(mixed)
    assert columns(whole.dataset.users)["user_id"] == ["1", "2", "3"]


def test_missing_values_of_pandas_are_left_out() -> None:
    frame = pd.DataFrame({**RATINGS, "stars": [5, 3, np.nan, 1, 2]})
    data = Dataset.from_frames(frame)
    assert len(data.dataset.interactions) == 4
    assert data.dataset.notes == ("1 of 5 interactions have no label: they were left out",)


def test_moments_lists_and_nested_columns() -> None:
    day = [dt.datetime(2024, 1, at, tzinfo=dt.UTC) for at in range(1, 6)]
    ratings = pa.table({**RATINGS, "when": day, "more": [{"a": 1}] * 5})
    items = {**ITEMS, "genres": [["a", "b"], ["a"], None], "vector": [[0.5], [0.1], [0.2]]}
    data = Dataset.from_frames(ratings, items)
    assert columns(data.dataset.interactions)["timestamp"][0] == 1_704_067_200
    assert data.recipe().data.split == "temporal"
    assert columns(data.dataset.items)["genres"] == [["a", "b"], ["a"], None]


def test_what_is_no_frame_is_refused() -> None:
    for wrong, said in (
        (3, "interactions is a int where a frame belongs: pandas, polars"),
        (Path("x.csv"), r"'x\.csv' is a path: llmrec init custom"),
        (pd.Series([1]), "a pandas Series where a DataFrame belongs"),
        ({"a": [1], "b": [1, 2]}, "interactions: a column cannot become"),
    ):
        with pytest.raises(InputError, match=said):
            Dataset.from_frames(wrong)
    with pytest.raises(InputError, match="unknown option 'user': did you mean 'user_column'"):
        Dataset.from_frames(RATINGS, user="user")


def test_columns_can_be_said() -> None:
    frame = {"a": RATINGS["user"], "b": RATINGS["item"], "c": [10, 20, 30, 40, 50]}
    told = {"user_column": "b", "item_column": "a", "rating_column": "c", "feedback": "rating", "scale": (0.0, 60.0)}
    data = Dataset.from_frames(frame, **told)
    assert columns(data.dataset.users)["user_id"] == ["x", "y", "z"]
    assert data.dataset.rating_range == (0.0, 60.0)


def test_what_is_printed_of_a_dataset_tells_the_guesses() -> None:
    said = repr(Dataset.from_frames(RATINGS, {**ITEMS, "title": ["X\x1b[2J", "Y", "Z"]}, name="toys"))
    assert said.splitlines()[0] == "Dataset 'toys': 5 interactions, 3 users, 3 items, ratings from 1 to 5"
    assert "  interactions, user: column 'user': its name; 3 distinct values in 5 rows" in said.splitlines()
    assert "\x1b" not in said


def test_recipe_takes_changes() -> None:
    data = Dataset.from_frames(RATINGS, ITEMS, name="my toys: {1}")
    recipe = data.recipe({"training.epochs": 2})
    assert (recipe.training.epochs, recipe.data.reader, recipe.name) == (2, "frames", "my toys- -1")
    with pytest.raises(InputError, match=r"unknown field 'training\.epoch'"):
        data.recipe({"training.epoch": 2})
    with pytest.raises(InputError, match="hand the data over in Python"):
        llmrec_peft.train(data.recipe(), run="run")


@pytest.mark.parametrize("kind", [name for name in KINDS if "index" not in name])
def test_a_column_of_scores_is_added_to_the_same_kind(kind: str) -> None:
    frame = KINDS[kind](
        {"item_id": ["x", "y"], "user_id": ["a", "b"], "note": ["p", "q"]}
        | ({"item": ["x", "y"]} if "categories" in kind else {})
    )
    table, users, items = pairs_of(frame)
    assert (users, items) == (["a", "b"], ["x", "y"])
    scored = with_column(frame, table, "score", np.array([1.5, 2.5], np.float32))
    kept = type(frame) if kind not in ("stream", "interchange") else pa.Table
    assert isinstance(scored, kept)
    assert list(scored["score"] if kind != "batch" else scored.column("score").to_pylist())[1] in (
        2.5,
        pa.scalar(2.5, pa.float32()),
    )


def test_pairs_that_cannot_be_told_are_asked_for() -> None:
    with pytest.raises(InputError, match="which column has the users"):
        pairs_of({"a": ["x"], "item": ["y"]})
    with pytest.raises(InputError, match="1 rows have no item in column 'item'"):
        pairs_of({"user": ["x"], "item": [None]})


@pytest.fixture
def quick(tiny_backbone: Path) -> Iterator[dict[str, Any]]:
    yield {
        "backbone.name": str(tiny_backbone),
        "training.epochs": 1,
        "training.refit": False,
        "evaluation.bootstrap": 0,
        "evaluation.blend": False,
    }


@pytest.mark.trains
def test_frames_are_trained_on_and_answered(
    quick: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    rows = [(f"u{user}", f"i{item}") for user in range(20) for item in draw.permutation(30)[:12]]
    ratings = pd.DataFrame(rows, columns=["user", "item"]).assign(stars=draw.integers(1, 6, len(rows)))
    items = pd.DataFrame({"item": [f"i{at}" for at in range(30)], "title": [f"Thing {at}" for at in range(30)]})
    data = Dataset.from_frames(ratings, items, name="things")
    recommender = llmrec_peft.train(data.recipe(quick), data, quiet=True)
    assert (tmp_path / "runs" / "things-seed1" / "manifest.json").is_file()
    assert recommender.metrics["test"]["after"]["rmse"] > 0.0
    assert repr(recommender).startswith("Recommender 'things': rating over 20 users, 30 items; adapter lora\n")
    assert "what answers: rmse" in repr(recommender)
    table = recommender.recommend(["u1", "u2"], k=3).to_frame()
    assert list(table.columns) == ["user_id", "rank", "item_id", "title", "score", "basis"]
    assert list(table["rank"]) == [1, 2, 3, 1, 2, 3]
    scored = recommender.score(ratings.head(4))
    assert isinstance(scored, pd.DataFrame)
    pairs = recommender.score(list(ratings["user"][:4]), list(ratings["item"][:4]))
    assert np.allclose(scored["score"], pairs)
    capsys.readouterr()
    recommender.score(pd.DataFrame({"user": ["u1", "7"], "item": ["i2", "i2"]}))
    assert "score: 1 of 2 rows are of users that the run does not know, such as '7'" in capsys.readouterr().err
    explanation = recommender.explain("u1", "i2", top=2)
    total = sum(explanation.base.values()) + sum(one.contribution for one in explanation.of("signal"))
    assert abs(total - explanation.raw) < 1e-3
    run = "runs/things-seed1"
    assert llmrec_peft.evaluate(run, data)["repeats"]
    with pytest.raises(InputError, match="hand the data over"):
        llmrec_peft.evaluate(run)
    with pytest.raises(InputError, match="the data handed over is not what"):
        llmrec_peft.evaluate(run, Dataset.from_frames(ratings.head(200), items))
    resumed = llmrec_peft.train(data.recipe(quick), data, run=run, resume=True, quiet=True)
    assert resumed.metrics == recommender.metrics
    with pytest.raises(InputError, match="is finished, trained on other data than what is handed over"):
        llmrec_peft.train(
            data.recipe(quick), Dataset.from_frames(ratings.head(200), items, name="things"), run, resume=True
        )
    with pytest.raises(InputError, match=r"name the run folder by train\(recipe, run=\.\.\.\)"):
        llmrec_peft.train(data.recipe(quick), "runs/other")  # type: ignore[arg-type]

"""Columns that look like something else: opinions in words, ratings in place of users, objects in place of ids."""

from __future__ import annotations

from typing import Any

import datasets
import pyarrow as pa
import pytest

from llmrec_peft import Dataset
from llmrec_peft.errors import InputError
from tests.custom.test_column_guesses import found, interactions, pairs


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("rating", ["awful", "bad", "ok", "good", "great"]),
        ("vote", ["up", "down"]),
        ("like", ["love", "hate", "none"]),
        ("opinion", [-1, 1]),
    ],
)
def test_opinions_that_are_not_read_are_no_sure_interactions(name: str, values: list[Any]) -> None:
    guessed = found(interactions("user", "item", **{name: values}))
    assert guessed.columns.feedback == "implicit"
    assert len(guessed.unsure) == 1
    assert f"'{name}' could be one" in guessed.unsure[0]


def test_votes_below_zero_are_ratings() -> None:
    guessed = found(interactions("user", "item", vote=[-1, 1]))
    assert (guessed.columns.feedback, guessed.columns.scale) == ("rating", (-1.0, 1.0))
    assert guessed.unsure == ()


def test_ratings_are_never_taken_for_users() -> None:
    made = interactions("user", "item_id", rating=[1, 2, 3, 4, 5])
    del made["user"]
    with pytest.raises(InputError, match="which column is the user\\? Say --user-column NAME"):
        found(made)


def test_ids_that_are_objects_are_unsure() -> None:
    made = pairs()
    columns = {"user": made["u"], "product": [f'{{"sku": "{item}"}}' for item in made["i"]]}
    (unsure,) = found(columns).unsure
    assert "its values are JSON objects" in unsure


@pytest.mark.parametrize("scale", [(5, 1), (1, 3), "1,5", 7, (1, 2, 3), (float("nan"), 5), (0, float("inf"))])
def test_scales_that_do_not_fit_are_refused(scale: Any) -> None:
    with pytest.raises(InputError, match="--scale: "):
        found(interactions("user", "item", rating=[1, 2, 3, 4, 5]), given={"scale": scale})


def test_a_given_scale_may_be_wider_than_the_ratings() -> None:
    guessed = found(interactions("user", "item", rating=[2, 3, 4]), given={"scale": [0, 10]})
    assert guessed.columns.scale == (0.0, 10.0)


def test_a_kind_of_feedback_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InputError, match="--feedback: 'stars' is none of rating, click, implicit"):
        found(interactions("user", "item", rating=[1, 2, 3]), given={"feedback": "stars"})


def test_no_frame_of_interactions_is_refused() -> None:
    with pytest.raises(InputError, match="interactions: give a table"):
        Dataset.from_frames(None)


def test_a_dataset_of_several_parts_is_asked_for_one() -> None:
    part = datasets.Dataset.from_dict({"user": ["a", "b"], "item": ["x", "y"]})
    with pytest.raises(InputError, match="interactions has several parts, 'train', 'test': give one of them"):
        Dataset.from_frames(datasets.DatasetDict({"train": part, "test": part}))


def test_categories_as_polars_writes_them_are_read() -> None:
    views = pa.array(["a", "b"], pa.string_view())
    users = pa.DictionaryArray.from_arrays(pa.array([0, 1, None, 0], pa.uint32()), views)
    data = Dataset.from_frames(pa.table({"user": users, "item": ["x", "y", "x", "y"], "stars": [1, 2, 3, 5]}))
    assert data.dataset.interactions["user_id"] == ["a", "b", "a"]

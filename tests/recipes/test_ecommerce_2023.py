"""Reader of Amazon Reviews, the edition of 2023: its fields and its units, and what it must not read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from llmrec_recipes.ecommerce.reader import Ecommerce

from llmrec_peft.data.dataset import column
from llmrec_peft.data.soundness import sound
from llmrec_peft.errors import InputError

REVIEW: dict[str, Any] = {
    "rating": 4.0,
    "title": "Fine",
    "text": "Good &amp; strong.<br />Twice.",
    "images": [],
    "asin": "B00VARIANT",
    "parent_asin": "B1",
    "user_id": "AE1",
    "timestamp": 1588687728923,
    "helpful_vote": 0,
    "verified_purchase": True,
}
PRODUCT: dict[str, Any] = {
    "main_category": "Grocery",
    "title": "Old Mill Tea, 100 Bags",
    "average_rating": 4.4,
    "rating_number": 1201,
    "features": ["Strong &amp; malty", ""],
    "description": ["A tea", "of the <b>old</b> kind."],
    "price": 9.5,
    "images": [{"thumb": "https://x/y.jpg", "variant": "MAIN"}],
    "videos": [],
    "store": "Old Mill",
    "categories": ["Grocery & Gourmet Food", "Beverages", "Tea"],
    "details": {"Brand": "Old Mill", "Weight": "250 g"},
    "parent_asin": "B1",
    "bought_together": None,
}


def folder_of(path: Path, reviews: list[Any], products: list[Any]) -> Path:
    for name, records in (("Tea_Time.jsonl", reviews), ("meta_Tea_Time.jsonl", products)):
        lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
        (path / name).write_text("\n".join(lines), encoding="utf-8")
    return path


def test_fields_of_2023_are_read_as_those_of_2018(tmp_path: Path) -> None:
    data = Ecommerce().read(folder_of(tmp_path, [REVIEW, {**REVIEW, "user_id": "AE2"}], [PRODUCT]), None)
    assert sound(data) is data
    assert data.name == "Amazon Tea Time 2023"
    assert "arXiv:2403.03952" in data.licence
    assert data.interactions[0] == {
        "user_id": "AE1",
        "item_id": "B1",
        "rating": 4.0,
        "timestamp": 1588687728,
        "part": "",
        "review": "Good & strong. Twice.",
    }
    assert data.items[:] == {
        "item_id": ["B1"],
        "title": ["Old Mill Tea, 100 Bags"],
        "description": ["A tea of the old kind."],
        "features": [["Strong & malty"]],
        "categories": [["Grocery & Gourmet Food", "Beverages", "Tea"]],
        "brand": ["Old Mill"],
    }


@pytest.mark.parametrize(
    ("changes", "review"),
    [({"text": ""}, "Fine"), ({"text": None}, "Fine"), ({"text": "", "title": None}, ""), ({"title": ...}, None)],
)
def test_title_stands_in_for_an_empty_review(tmp_path: Path, changes: dict[str, Any], review: str | None) -> None:
    kept = {name: value for name, value in {**REVIEW, **changes}.items() if value is not ...}
    data = Ecommerce().read(folder_of(tmp_path, [kept], [PRODUCT]), None)
    assert column(data.interactions, "review") == ["Good & strong. Twice." if review is None else review]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"categories": []}, {"categories": [["Grocery"]]}),
        ({"categories": [], "main_category": None}, {"categories": [[]]}),
        ({"store": None}, {"brand": [""]}),
        ({"title": None, "description": []}, {"title": ["Old Mill, Tea"]}),
        ({"features": None, "description": None}, {"features": [[]], "description": [""]}),
    ],
)
def test_products_with_gaps_are_read(tmp_path: Path, changes: dict[str, Any], told: dict[str, Any]) -> None:
    items = Ecommerce().read(folder_of(tmp_path, [REVIEW], [{**PRODUCT, **changes}]), None).items[:]
    assert {name: items[name] for name in told} == told


@pytest.mark.parametrize("field", ["average_rating", "rating_number", "details", "price", "images"])
@pytest.mark.parametrize("value", [1.0, "odd", None, [{"deep": {"deeper": []}}], {"a": 1}])
def test_averages_and_counts_of_ratings_are_never_read(tmp_path: Path, field: str, value: Any) -> None:
    """They are averages over all ratings, those of the test part among them."""
    told = Ecommerce().read(folder_of(tmp_path, [REVIEW], [PRODUCT]), None)
    other = Ecommerce().read(folder_of(tmp_path, [REVIEW], [{**PRODUCT, field: value}]), None)
    assert told.items[:] == other.items[:]
    assert told.graph is not None and other.graph is not None
    assert told.graph.triples[:] == other.graph.triples[:]
    assert "4.4" not in repr((told.items[:], told.graph.triples[:]))
    assert "1201" not in repr((told.items[:], told.graph.triples[:]))


def test_reviews_of_no_stars_are_left_out_and_counted(tmp_path: Path) -> None:
    data = Ecommerce().read(folder_of(tmp_path, [{**REVIEW, "rating": 0.0, "user_id": "AE0"}, REVIEW], [PRODUCT]), None)
    assert column(data.interactions, "user_id") == column(data.users, "user_id") == ["AE1"]
    assert data.notes == ("reviews of 0 stars, which nobody can give, left out: 1",)
    folder_of(tmp_path, [{**REVIEW, "rating": 0}], [PRODUCT])
    with pytest.raises(InputError, match=r"Tea_Time\.jsonl: no review gives stars"):
        Ecommerce().read(tmp_path, None)


def review(**changes: Any) -> Callable[[Path], Path]:
    """A second review with fields changed, or left out where the change is `...`."""
    kept = {name: value for name, value in {**REVIEW, **changes}.items() if value is not ...}
    return lambda folder: folder_of(folder, [REVIEW, kept], [PRODUCT])


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (review(rating=6), "Tea_Time.jsonl, line 2, field 'rating': 6.0 where a number from 1 to 5 belongs"),
        (review(rating=None), "Tea_Time.jsonl, line 2, field 'rating': nothing where a number from 1 to 5 belongs"),
        (review(timestamp=1588687728), "'timestamp': 1588687728 where a time in milliseconds since 1970 belongs"),
        (review(timestamp=10**16), "'timestamp': 10000000000000000 where a time in milliseconds since 1970 belongs"),
        (review(timestamp="yesterday"), "Tea_Time.jsonl, line 2, column 'timestamp': 'yesterday' is no whole number"),
        (review(parent_asin=...), "Tea_Time.jsonl, line 2, field 'parent_asin': an id without blanks belongs here"),
        (review(user_id=None), "Tea_Time.jsonl, line 2, field 'user_id': an id without blanks belongs here"),
        (
            lambda folder: folder_of(folder, [REVIEW], [PRODUCT, {**PRODUCT, "parent_asin": None}]),
            "meta_Tea_Time.jsonl, line 2, field 'parent_asin': an id without blanks belongs here",
        ),
        (
            lambda folder: folder_of(folder, [{"overall": 5.0, "reviewerID": "A", "asin": "B"}], [PRODUCT]),
            "Tea_Time.jsonl, line 1, field 'user_id': an id without blanks belongs here",
        ),
    ],
)
def test_broken_line_is_named_with_its_file(tmp_path: Path, break_it: Callable[[Path], Path], words: str) -> None:
    with pytest.raises(InputError) as caught:
        Ecommerce().read(break_it(tmp_path), None)
    assert str(tmp_path) in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)

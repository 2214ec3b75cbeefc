"""The reader: what it reads, what it refuses in one line, what it makes up; and its recipe."""

from __future__ import annotations

from pathlib import Path

import pytest
from llmrec_peft import load_recipe
from llmrec_peft.plugins import InputError

from llmrec_example_plugin.shop.reader import Shop

RATINGS = "user,product,stars,seconds\nann,1,5,10\nbob,2,3.5,20\n"
PRODUCTS = "product,name\n1,green tea\n2,black coffee\n"


def folder(path: Path, ratings: str = RATINGS, products: str = PRODUCTS) -> Path:
    """A shop's two files."""
    (path / "ratings.csv").write_text(ratings, encoding="utf-8")
    (path / "products.csv").write_text(products, encoding="utf-8")
    return path


def test_ratings_and_products_are_read(tmp_path: Path) -> None:
    found = Shop().read(folder(tmp_path), None)
    assert found.interactions["rating"][:] == [5.0, 3.5]
    assert found.items["title"][:] == ["green tea", "black coffee"]


@pytest.mark.parametrize(
    ("ratings", "message"),
    [
        (RATINGS + "cid,1,,30\n", "line 4: expected the columns user, product, stars, seconds"),
        (RATINGS + "cid,1,many,30\n", "line 4: stars and seconds have to be numbers"),
        (RATINGS + "cid,1,6,30\n", "line 4: stars have to be 1 to 5"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, ratings: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Shop().read(folder(tmp_path, ratings), None)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ratings\.csv is missing"):
        Shop().read(tmp_path, None)


def test_made_up_data_are_the_same_for_the_same_seed() -> None:
    assert Shop().demo(1).interactions.to_dict() == Shop().demo(1).interactions.to_dict()
    assert Shop().demo(1).interactions.to_dict() != Shop().demo(2).interactions.to_dict()


def test_the_recipe_is_valid() -> None:
    assert load_recipe("shop", data="demo").data.reader == "shop"

"""A dataset is divided by a column: whose rows are whose, what is refused, and names that are safe folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmrec_peft.data.dataset import RecDataset, column, interactions_table, table
from llmrec_peft.data.division import divided
from llmrec_peft.data.soundness import sound
from llmrec_peft.data.tenant_names import is_plain, tenant_names
from llmrec_peft.errors import InputError

HOSTILE = ["../x", "..", ".", "", " ", "a/b", "a\\b", "\x00", "con", "tenants.json", ".hidden", "a" * 300, "x.", "-rf"]


def shops() -> RecDataset:
    """Three users, four items of two shops, one of them nobody's; a city a user, a kind of device an interaction."""
    rows = [("u1", "i1", "phone"), ("u1", "i2", "web"), ("u2", "i1", "web"), ("u2", "i3", "phone"), ("u3", "i4", "web")]
    users, items, devices = zip(*rows, strict=True)
    made = interactions_table(list(users), list(items), [3.0] * 5, list(range(5)), kind=list(devices))
    return sound(
        RecDataset(
            "shops",
            made,
            table({"item_id": ["i1", "i2", "i3", "i4"], "title": list("abcd"), "shop": ["A", "B", "A", None]}),
            table({"user_id": ["u1", "u2", "u3"], "city": ["Rome", "Rome", "Oslo"], "shop": ["1", "2", "3"]}),
            (1.0, 5.0),
        )
    )


def held(part: RecDataset) -> tuple[list[str], list[str], list[tuple[str, str]]]:
    """Users, items, and pairs of a part."""
    pairs = zip(column(part.interactions, "user_id"), column(part.interactions, "item_id"), strict=True)
    return column(part.users, "user_id"), column(part.items, "item_id"), list(pairs)


def test_a_column_of_items_gives_their_interactions_and_the_users_of_these() -> None:
    found = divided(shops(), "items.shop")
    assert list(found.parts) == ["A", "B"]
    assert held(found.parts["A"]) == (["u1", "u2"], ["i1", "i3"], [("u1", "i1"), ("u2", "i1"), ("u2", "i3")])
    assert held(found.parts["B"]) == (["u1"], ["i2"], [("u1", "i2")])
    assert found.without == 1


def test_a_column_of_users_keeps_the_whole_catalogue() -> None:
    found = divided(shops(), "city")
    assert held(found.parts["Oslo"]) == (["u3"], ["i1", "i2", "i3", "i4"], [("u3", "i4")])


def test_a_column_of_interactions_gives_users_and_items_that_they_name() -> None:
    found = divided(shops(), "kind")
    assert held(found.parts["phone"]) == (["u1", "u2"], ["i1", "i3"], [("u1", "i1"), ("u2", "i3")])


def test_a_column_that_two_tables_have_has_to_say_which() -> None:
    with pytest.raises(InputError, match=r"items\.shop and users\.shop: say which"):
        divided(shops(), "shop")


@pytest.mark.parametrize("asked", ["town", "user_id", "rating", "items.city"])
def test_a_column_that_is_not_there_is_refused_in_one_line_that_names_those_that_are(asked: str) -> None:
    with pytest.raises(InputError, match=r"Known: interactions\.kind, items\.shop, items\.title, users\.city"):
        divided(shops(), asked)


def test_values_become_distinct_folders_inside_the_one_they_are_made_in(tmp_path: Path) -> None:
    values = [*HOSTILE, "\u00e9", "e\u0301", "Shop", "shop", "\u4e66", "books"]
    names = tenant_names(values)
    assert all(is_plain(name) and len(name) <= 64 for name in names.values())
    assert len({name.casefold() for name in names.values()}) == len(values)
    for name in names.values():
        folder = tmp_path / name
        folder.mkdir()
        assert folder.resolve().parent == tmp_path.resolve()
    assert names["books"] == "books"
    assert tenant_names(["../x", "other"])["../x"] == names["../x"]  # whatever the other values are

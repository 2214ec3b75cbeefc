"""What columns are taken for, by name and by content; what cannot be told is asked for by the option's name."""

from __future__ import annotations

import random
from typing import Any

import pyarrow as pa
import pytest

from llmrec_peft.custom.guess import Looked
from llmrec_peft.custom.understand import Understood, understood
from llmrec_peft.errors import InputError


def looked(called: str, columns: dict[str, list[Any]], headed: bool = True) -> Looked:
    return Looked.at(pa.table(columns), called, headed)


def found(interactions: dict[str, list[Any]], headed: bool = True, given: Any = None, **others: Any) -> Understood:
    tables = {"interactions": looked("i.csv", interactions, headed)}
    tables |= {name: looked(f"{name}.csv", columns) for name, columns in others.items()}
    return understood(tables, given or {})


def pairs(users: int = 30, items: int = 40, each: int = 8, seed: int = 0) -> dict[str, list[Any]]:
    draw = random.Random(seed)
    rows = [(f"u{user}", f"{item:03d}") for user in range(users) for item in draw.sample(range(items), each)]
    return {"u": [user for user, _ in rows], "i": [item for _, item in rows], "rows": [draw.random() for _ in rows]}


def interactions(user: str, item: str, **more: Any) -> dict[str, list[Any]]:
    made = pairs()
    draw = random.Random(1)
    columns = {user: made["u"], item: made["i"]}
    for name, values in more.items():
        columns[name] = [values(draw) if callable(values) else draw.choice(values) for _ in made["u"]]
    return columns


@pytest.mark.parametrize(
    ("user", "item"),
    [
        ("userId", "movieId"),
        ("user_id", "item_id"),
        ("reviewerID", "asin"),
        ("uid", "iid"),
        ("customer_unique_id", "product_id"),
        ("Kundennummer", "Artikelnummer"),
        ("utilisateur", "produit"),
        ("usuario", "producto"),
        ("用户", "商品"),
        ("msno", "song_id"),
        ("User-ID", "ISBN"),
    ],
)
def test_usual_names_of_users_and_items(user: str, item: str) -> None:
    columns = interactions(user, item)
    swapped = dict(reversed(columns.items()))  # the order of columns does not matter
    for table in (columns, swapped):
        guessed = found(table)
        assert (guessed.columns.interactions.user, guessed.columns.interactions.item) == (user, item)
        assert guessed.unsure == ()


@pytest.mark.parametrize(
    ("values", "feedback", "scale"),
    [
        ([1, 2, 3, 4, 5], "rating", (1.0, 5.0)),
        ([2, 3, 4, 5], "rating", (1.0, 5.0)),
        ([0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4], "rating", (0.5, 4.0)),
        (list(range(1, 11)), "rating", (1.0, 10.0)),
        (list(range(11)), "rating", (0.0, 10.0)),
        ([20, 40, 60, 80, 100], "rating", (1.0, 100.0)),
        ([0, 1], "click", None),
        ([-10.0, -3.5, 0.25, 9.5, 10.0], "rating", (-10.0, 10.0)),
    ],
)
def test_scale_of_ratings(values: list[float], feedback: str, scale: tuple[float, float] | None) -> None:
    guessed = found(interactions("user", "item", rating=values))
    assert (guessed.columns.feedback, guessed.columns.scale) == (feedback, scale)
    assert guessed.columns.interactions.label == "rating"


@pytest.mark.parametrize("name", ["plays", "weight", "hours", "what"])
def test_counts_with_a_long_tail_are_no_ratings(name: str) -> None:
    guessed = found(interactions("user", "item", **{name: lambda draw: int(1 + draw.paretovariate(0.7) * 3)}))
    assert guessed.columns.feedback == "implicit"
    assert guessed.columns.interactions.label is None
    assert any(guess.role == "count" and guess.column == name for guess in guessed.guesses)


def test_flags_with_other_names_are_no_clicks() -> None:
    guessed = found(interactions("user", "item", stars=[1, 2, 3, 4, 5], verified=[True, False]))
    assert guessed.columns.interactions.label == "stars"
    guessed = found(interactions("user", "item", verified=[True, False]))
    assert guessed.columns.feedback == "implicit"
    guessed = found(interactions("user", "item", clicked=["yes", "no"]))
    assert (guessed.columns.feedback, guessed.columns.interactions.label) == ("click", "clicked")


def test_one_value_alone_is_no_label() -> None:
    assert found(interactions("user", "item", click=[1])).columns.feedback == "implicit"


def test_kinds_of_events_are_seen() -> None:
    made = pairs()
    columns = {"c1": made["u"], "c2": made["i"], "c3": ["purchase", "play"] * (len(made["u"]) // 2)}
    guessed = found(columns, headed=False)
    assert guessed.columns.interactions.event == "c3"
    assert guessed.columns.feedback == "implicit"


def test_files_without_names_go_by_place_and_say_so() -> None:
    made = pairs()
    columns = {"c1": made["u"], "c2": made["i"], "c3": [1 + n % 5 for n in range(len(made["u"]))]}
    guessed = found(columns, headed=False)
    assert (guessed.columns.interactions.user, guessed.columns.interactions.item) == ("c1", "c2")
    assert guessed.columns.scale == (1.0, 5.0)
    assert len(guessed.unsure) == 2


def test_items_decide_which_nameless_column_is_the_item() -> None:
    made = pairs()
    columns = {"c1": made["i"], "c2": made["u"]}
    items = {"id": sorted(set(made["i"])), "name": [f"Thing {one}" for one in sorted(set(made["i"]))]}
    guessed = found(columns, headed=False, items=items)
    assert (guessed.columns.interactions.user, guessed.columns.interactions.item) == ("c2", "c1")
    assert guessed.unsure == ()


def test_what_cannot_be_told_is_asked_for_by_the_option() -> None:
    made = pairs()
    columns = {"a": made["u"], "b": made["i"], "c": list(reversed(made["i"]))}
    with pytest.raises(InputError, match=r"Say --user-column NAME and --item-column NAME; there are 'a', 'b', 'c'"):
        found(columns)
    guessed = found(columns, given={"user_column": "a", "item_column": "c"})
    assert guessed.columns.interactions.item == "c"
    with pytest.raises(InputError, match=r"--user-column: i\.csv has no column 'z'"):
        found(columns, given={"user_column": "z"})
    with pytest.raises(InputError, match="unknown option 'user_colum': did you mean 'user_column'"):
        found(columns, given={"user_colum": "a"})


def test_ids_that_lost_their_zeros_are_seen() -> None:
    made = pairs()
    items = {"item_id": [str(n) for n in range(40)], "title": [f"Thing {n}" for n in range(40)]}
    made["i"] = [one for one in made["i"] if one < "010"] * 5
    made["u"] = (made["u"] * 5)[: len(made["i"])]
    with pytest.raises(InputError, match="without leading zeros they would agree"):
        found({"user": made["u"], "item": made["i"]}, items=items)


def test_columns_of_items_and_users() -> None:
    made = pairs()
    draw = random.Random(3)
    ids = [f"{n:03d}" for n in range(40)]
    items = {
        "item": ids,
        "Name": [f"The {draw.choice(['old', 'new'])} thing {n}" for n in range(40)],
        "genres": [draw.choice(["Crime|Drama", "Comedy", "Drama"]) for _ in ids],
        "tags": [draw.choice(['["a", "b"]', '["b"]']) for _ in ids],
        "brand": [draw.choice(["Acme", "Other"]) for _ in ids],
        "description": [f"A long text that tells of number {n} and of much more" for n in range(40)],
        "price": [str(draw.random() * 100) for _ in ids],
        "published": [f"{draw.randint(1, 28)}-Jan-{1960 + n}" for n in range(40)],
        "image": [f"https://example.org/{n}.jpg" for n in range(40)],
        "nothing": [None for _ in ids],
    }
    users = {"user_id": sorted(set(made["u"])), "age": [str(20 + n) for n in range(30)], "sex": ["F", "M"] * 15}
    guessed = found({"user": made["u"], "item": made["i"]}, items=items, users=users)
    columns = guessed.columns.items
    assert columns is not None
    assert (columns.id, columns.title) == ("item", "Name")
    assert {name: one.mark for name, one in columns.categories.items()} == {
        "genres": "|",
        "tags": "json",
        "brand": None,
    }
    assert (set(columns.texts), set(columns.numbers), set(columns.years)) == ({"description"}, {"price"}, {"published"})
    left = {guess.column: guess.said for guess in guessed.guesses if guess.role == "left out"}
    assert left == {"image": "addresses and files are not read", "nothing": "it is empty"}
    assert guessed.columns.users is not None
    assert (set(guessed.columns.users.numbers), set(guessed.columns.users.categories)) == ({"age"}, {"sex"})


def test_names_that_are_ids_are_titles() -> None:
    made = pairs()
    games = {f"{n:03d}": f"The Great Game {n}" for n in range(40)}
    guessed = found({"user": made["u"], "game": [games[one] for one in made["i"]]})
    assert guessed.columns.ids_as_titles
    assert guessed.texts
    assert not found({"user": made["u"], "game": made["i"]}).texts


def test_people_who_come_back_are_seen() -> None:
    made = pairs()
    times = [1_700_000_000 + n for n in range(2 * len(made["u"]))]
    twice = {"user": made["u"] * 2, "item": made["i"] * 2, "time": times}
    assert found(twice).columns.repeats
    assert not found({"user": made["u"], "item": made["i"], "time": times[: len(made["u"])]}).columns.repeats


def test_graph_by_name_and_by_place() -> None:
    made = pairs()
    triples = [(f"{n:03d}", "made_by", f"maker {n % 7}") for n in range(40)]
    for names in (("head", "relation", "tail"), ("subject", "predicate", "object"), ("a", "b", "c")):
        graph = {name: [row[at] for row in triples] for at, name in enumerate(names)}
        guessed = found({"user": made["u"], "item": made["i"]}, graph=graph)
        assert guessed.columns.graph is not None
        assert tuple(guessed.columns.graph.model_dump().values()) == names
    with pytest.raises(InputError, match="no head and no tail is the id of an item"):
        found({"user": made["u"], "item": made["i"]}, graph={"head": ["x"], "relation": ["r"], "tail": ["y"]})


def test_hostile_tables_are_refused() -> None:
    twice = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["user_id", "user_id"])
    with pytest.raises(InputError, match="two columns are called 'user_id'"):
        Looked.at(twice, "i.csv")
    with pytest.raises(InputError, match="10000 columns"):
        Looked.at(pa.table({f"n{at}": ["a"] for at in range(10_000)}), "i.csv")
    with pytest.raises(InputError, match="no rows"):
        Looked.at(pa.table({"user": pa.array([], pa.string())}), "i.csv")
    with pytest.raises(InputError, match="control character"):
        Looked.at(pa.table({"us\x1b[2Jer": ["a"]}), "i.csv")

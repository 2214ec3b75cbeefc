"""Made-up data of the benchmark recipes: the same for a seed, in the readers' columns, predictable from texts."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from llmrec_recipes.benchmarks.amazon_scientific import demo as supplies
from llmrec_recipes.benchmarks.tallrec_movie import demo as records
from llmrec_recipes.ecommerce import demo as magazines
from llmrec_recipes.movies.demo import MOOD, PACE

from llmrec_peft import registry
from llmrec_peft.data.dataset import RecDataset, column
from llmrec_peft.data.soundness import sound
from llmrec_peft.data.source import Reader
from llmrec_peft.data.views import ViewTemplate
from llmrec_peft.recipe.yaml_file import merge, read_yaml

BASE = ["user_id", "item_id", "rating", "timestamp", "part"]
SHAPES = {
    "tallrec-movie": (
        "click",
        (0, 1),
        False,
        [*BASE, "history", "history_rating", "person"],
        ["item_id", "title", "year"],
    ),
    "tallrec-book": (
        "click",
        (0, 1),
        False,
        [*BASE, "history", "history_rating"],
        ["item_id", "title", "author"],
    ),
    "collm-ml-1m": (
        "click",
        (0, 1),
        False,
        [*BASE, "history", "history_rating", "kind"],
        ["item_id", "title", "year"],
    ),
    "amazon-scientific": ("implicit", (0, 1), True, BASE, ["item_id", "title"]),
    "minionerec": (
        "implicit",
        (0, 1),
        True,
        [*BASE, "history", "history_rating"],
        ["item_id", "title", "brand", "codes"],
    ),
    "ecommerce": (
        "rating",
        (1, 5),
        False,
        [*BASE, "review"],
        ["item_id", "title", "description", "features", "categories", "brand"],
    ),
    "news": (
        "click",
        (0, 1),
        True,
        [*BASE, "history", "history_rating", "kind", "impression"],
        ["item_id", "category", "subcategory", "title", "abstract", "first_seen"],
    ),
}


def source(name: str) -> Reader:
    plugin: type[Reader] = registry.get("readers", name)
    return plugin()


@pytest.fixture(params=list(SHAPES))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def plain(data: RecDataset) -> list[object]:
    return [data.interactions[:], data.items[:], data.users[:]]


def test_same_seed_makes_the_same_data_and_another_seed_other_data(name: str) -> None:
    first = plain(source(name).demo(1))
    assert first == plain(source(name).demo(1))
    assert first[0] != plain(source(name).demo(2))[0]


def test_made_up_data_is_sound(name: str) -> None:
    data = source(name).demo(2)
    assert sound(data) is data


def test_demo_has_the_columns_and_feedback_of_its_reader(name: str) -> None:
    data = source(name).demo(1)
    shape = (
        data.feedback,
        data.rating_range,
        data.repeats,
        data.interactions.column_names,
        data.items.column_names,
    )
    assert shape == SHAPES[name]
    assert any("made up" in note for note in data.notes)
    assert "Made up" in data.licence


@pytest.mark.parametrize(
    ("name", "file", "marker"),
    [
        ("tallrec-movie", "tallrec-movie", "train.json"),
        ("collm-ml-1m", "collm-ml-1m", "train.jsonl"),
        ("amazon-scientific", "iisan-scientific", "Industrial_and_Scientific_items.tsv"),
        ("ecommerce", "amazon-magazines", "Magazine_Subscriptions_5.json.gz"),
        ("news", "mind-sample", "behaviors.tsv"),
    ],
)
def test_demo_and_real_data_have_the_same_columns_and_types(
    shared_data: Path, name: str, file: str, marker: str
) -> None:
    if not (shared_data / file / marker).is_file():
        pytest.skip(f"real data is absent: {shared_data / file}")
    real, made_up = source(name).read(shared_data / file, None), source(name).demo(1)
    assert real.interactions.features == made_up.interactions.features
    assert real.items.features == made_up.items.features
    assert real.users.features == made_up.users.features
    assert (real.feedback, real.rating_range, real.repeats) == (made_up.feedback, made_up.rating_range, made_up.repeats)


def test_demo_is_whole(name: str) -> None:
    data = source(name).demo(3)
    items, users = column(data.items, "item_id"), column(data.users, "user_id")
    assert len(set(items)) == len(items)
    assert len(set(users)) == len(users)
    assert set(column(data.interactions, "item_id")) <= set(items)
    assert set(column(data.interactions, "user_id")) <= set(users)
    low, high = data.rating_range
    assert all(low <= rating <= high for rating in column(data.interactions, "rating"))
    pairs = list(zip(column(data.interactions, "user_id"), column(data.interactions, "item_id"), strict=True))
    assert data.repeats or len(set(pairs)) == len(pairs)
    assert 400 < len(pairs) < 2500, "seconds of training"
    if data.gives_histories:
        histories, labels = column(data.interactions, "history"), column(data.interactions, "history_rating")
        assert [len(row) for row in histories] == [len(row) for row in labels]
        assert not [pair for pair, row in zip(pairs, histories, strict=True) if pair[1] in row]
        assert {item for row in histories for item in row} <= set(items)


def test_demo_holds_items_that_training_never_meets(name: str) -> None:
    data = source(name).demo(3)
    items = np.asarray(column(data.interactions, "item_id"))
    parts = np.asarray(column(data.interactions, "part"))
    if name == "ecommerce":  # not divided by its owner: a cut in time, as the recipe says
        time = np.asarray(column(data.interactions, "timestamp"))
        parts = np.where(time > np.quantile(time, 0.8), "test", "train")
    unseen = ~np.isin(items[parts == "test"], items[parts == "train"])
    assert 0.1 < unseen.mean() < 0.6


def auc(score: np.ndarray, label: np.ndarray) -> float:
    above = score[label == 1][:, None] - score[label == 0][None, :]
    return float((above > 0).mean() + 0.5 * (above == 0).mean())


def quality(titles: list[str], *words: dict[int, tuple[str, ...]]) -> dict[str, int]:
    """1 or -1 for each title, by the word that it holds."""
    signs = {word: sign for table in words for sign, known in table.items() for word in known}
    found = {}
    for title in titles:
        (sign,) = {signs[word] for word in title.lower().replace(",", "").split() if word in signs}
        found[title] = sign
    return found


@pytest.mark.parametrize("name", ["tallrec-movie", "tallrec-book", "collm-ml-1m"])
def test_titles_tell_who_likes_a_film_and_counting_does_not(name: str) -> None:
    data = source(name).demo(5)
    titles = dict(zip(column(data.items, "item_id"), column(data.items, "title"), strict=True))
    mood = quality(list(titles.values()), MOOD, records.NEW_MOOD)
    pace = quality(list(titles.values()), PACE, records.NEW_PACE)
    names = ("item_id", "history", "history_rating", "rating", "part")
    rows = list(zip(*(column(data.interactions, one) for one in names), strict=True))
    liked: dict[str, list[float]] = {}
    for item, _, _, rating, part in rows:
        if part == "train":
            liked.setdefault(item, []).append(rating)
    tested = [row for row in rows if row[4] == "test"]
    told = [
        sum(
            (2 * label - 1) * (2 * mood[titles[seen]] * mood[titles[item]] + pace[titles[seen]] * pace[titles[item]])
            for seen, label in zip(history, labels, strict=True)
        )
        / max(1, len(history))
        for item, history, labels, _, _ in tested
    ]
    counted = [(sum(liked.get(item, [])) + 1) / (len(liked.get(item, [])) + 2) for item, *_ in tested]
    labels = np.array([row[3] for row in tested])
    assert 0.35 < labels.mean() < 0.65
    assert auc(np.array(told), labels) > 0.85
    assert auc(np.array(counted), labels) < 0.65


def test_kinds_of_the_made_up_likes_say_what_training_knows() -> None:
    data = source("collm-ml-1m").demo(5)
    names = ("user_id", "item_id", "part", "kind", "timestamp")
    rows = list(zip(*(column(data.interactions, one) for one in names), strict=True))
    users = {user for user, _, part, *_ in rows if part == "train"}
    films = {film for _, film, part, *_ in rows if part == "train"}
    assert all((kind == "warm") == (user in users and film in films) for user, film, _, kind, _ in rows)
    assert {kind for _, _, part, kind, _ in rows if part == "test"} == {"warm", "cold"}
    order = [("train", "valid", "test").index(part) for _, _, part, *_ in rows]
    assert all(one <= other for one, other in pairwise(order))
    assert all(one[4] <= other[4] for one, other in pairwise(rows))


def test_next_supply_follows_the_family_that_the_title_names() -> None:
    data = source("amazon-scientific").demo(5)
    names = {name.lower(): at for at, pair in enumerate(supplies.FAMILIES) for name in pair}
    family = {}
    for row in data.items:
        (family[row["item_id"]],) = {at for name, at in names.items() if name in row["title"].lower()}
    last: dict[str, list[str]] = {}
    for user, item in zip(column(data.interactions, "user_id"), column(data.interactions, "item_id"), strict=True):
        last.setdefault(user, []).append(item)
    count = len(supplies.FAMILIES)
    follows = [(family[row[-1]] - family[row[-2]]) % count == 1 for row in last.values()]
    assert np.mean(follows) > 0.6
    popular = np.bincount([family[row[-1]] for row in last.values()], minlength=count)
    assert popular.max() < 0.15 * len(last), "no family is a safe guess"


def test_letters_and_stars_follow_what_the_description_says() -> None:
    data = source("ecommerce").demo(5)
    described = {row["item_id"]: row["description"] for row in data.items}
    sides = {
        item: [
            next(sign for sign, words in table.items() if any(word in text for word in words))
            for table in (magazines.DEPTH, magazines.SPIRIT)
        ]
        for item, text in described.items()
    }
    for item, letter in zip(column(data.interactions, "item_id"), column(data.interactions, "review"), strict=True):
        for sign, table in zip(sides[item], (magazines.FELT_DEPTH, magazines.FELT_SPIRIT), strict=True):
            assert any(word.lower() in letter.lower() for word in table[sign])
    users = np.asarray(column(data.interactions, "user_id"))
    stars = np.asarray(column(data.interactions, "rating"))
    features = np.array([[1, *sides[item]] for item in column(data.interactions, "item_id")], float)
    late = np.asarray(column(data.interactions, "timestamp")) > np.quantile(column(data.interactions, "timestamp"), 0.8)
    told, mean = np.zeros(len(stars)), np.zeros(len(stars))
    for user in np.unique(users):
        own = users == user
        known = own & ~late
        ridge = features[known].T @ features[known] + np.eye(3) * 0.3
        told[own] = features[own] @ np.linalg.solve(ridge, features[known].T @ (stars[known] - 3)) + 3
        mean[own] = stars[known].mean() if known.any() else 3.0
    error = [float(np.sqrt(np.mean((guess[late] - stars[late]) ** 2))) for guess in (told, mean)]
    assert error[0] < 0.75 * error[1]


def test_recipes_render_every_item_also_one_without_text(name: str) -> None:
    file = registry.get("recipes", name)
    whole = read_yaml(file)
    assert whole["data"]["reader"] == whole["name"] == name
    laid_over = merge(whole, read_yaml(file.with_name("demo.yaml")))
    data = source(name).demo(1)
    for values in (whole, laid_over):
        template = ViewTemplate(values["views"]["item"]["template"])
        texts = template.render_all(data.items)
        assert all(texts)
        assert data.items[0]["title"] in texts[0]
        bare = {
            "title": "",
            "year": None,
            "description": "",
            "features": [],
            "categories": [],
            "brand": "",
            "abstract": "",
            "author": "",
        }
        template.render({"item_id": "1", **bare})

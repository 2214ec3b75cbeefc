"""Leakage: every way of giving an example away is found, named and counted; clean and real data have none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmrec_peft import registry
from llmrec_peft.data.dataset import RecDataset
from llmrec_peft.data.histories import Histories
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.data.leakage import Leak, find_leaks, require_no_leaks
from llmrec_peft.data.splits import Split
from llmrec_peft.data.tables import interactions_table, table
from llmrec_peft.errors import InputError
from llmrec_peft.experiment.prepare import prepare
from llmrec_peft.recipe import load_recipe

TEXTS = ["", *(f"text of item {n}" for n in range(1, 30))]
TITLES = ["", *(f"Film Number {n:02d}" for n in range(1, 30))]
PARTS = Split(np.arange(4), np.arange(4, 6), np.arange(6, 8))
PAIR, RECORD, OWN, TWIN = "same_pair", "same_history", "own_item", "same_text"
TITLE, LATE = "title_in_text", "late_training"


def histories(rows: list[list[int]], labels: list[list[float]] | None = None) -> Histories:
    lengths = np.array([len(row) for row in rows], np.int64)
    end = np.cumsum(lengths)
    told = [[1.0] * len(row) for row in rows] if labels is None else labels
    flat = np.array([item for row in rows for item in row], np.int64)
    return Histories(flat, np.array([v for row in told for v in row], np.float32), end - lengths, end)


def clean() -> Interactions:
    """Eight interactions in order of time, four of them training; nobody meets an item twice."""
    told = [[20 + row, 10 + row, 1, 2, 3][: 3 + row % 3] for row in range(8)]
    return Interactions(
        user=np.array([1, 2, 3, 4, 1, 2, 3, 4]),
        item=np.arange(4, 12),
        label=np.ones(8, np.float32),
        timestamp=np.arange(8),
        history=histories(told),
    )


def of(part: Interactions, **options: Any) -> list[Leak]:
    return find_leaks(part, PARTS, options.pop("texts", TEXTS), TITLES, **options)


def changed(part: Interactions, **columns: dict[int, int]) -> Interactions:
    """The same with single values replaced, by column and row."""
    values = {}
    for name, cells in columns.items():
        values[name] = getattr(part, name).copy()
        for row, value in cells.items():
            values[name][row] = value
    return replace(part, **values)


def test_clean_data_has_no_leak() -> None:
    users = ["", "likes drama", "likes films", "", "old"]
    assert of(clean(), in_time=True, user_texts=users) == []
    assert of(replace(clean(), history=None), in_time=True) == []
    require_no_leaks([])


@pytest.mark.parametrize(
    ("row", "like", "part"), [(4, 0, "validation"), (6, 2, "test"), (6, 4, "test"), (7, 5, "test")]
)
def test_pair_of_another_part_is_found(row: int, like: int, part: str) -> None:
    """Test may meet neither what trained nor what chose; validation nothing of training."""
    base = replace(clean(), history=None)
    leaking = changed(base, user={row: int(base.user[like])}, item={row: int(base.item[like])})
    assert of(leaking) == [Leak(PAIR, part, 1, row)]


def test_same_user_or_same_item_alone_is_no_leak() -> None:
    base = replace(clean(), history=None)
    assert of(changed(base, item={6: int(base.item[0])})) == []
    assert of(changed(base, user={6: int(base.user[0])})) == []
    assert of(changed(base, user={1: 1}, item={1: int(base.item[0])})) == [], "twice in training is no leak"


def test_record_copied_under_another_user_is_found_by_its_history() -> None:
    told = [[1, 2, 3], [21, 22, 23, 24, 25], [1, 2], [1], [2], [3], [25, 24, 23, 22, 21], [1, 3]]
    labels = [[1.0] * len(row) for row in told]
    labels[1] = [1.0, 0.0, 1.0, 0.0, 1.0]
    labels[6] = labels[1][::-1]
    base = changed(clean(), item={6: 5})  # the item of row 1, asked of somebody else with the same history
    assert of(replace(base, history=histories(told, labels))) == [Leak(RECORD, "test", 1, 6)]
    labels[6] = labels[1][::-1]
    labels[6][0] = 0.0
    assert of(replace(base, history=histories(told, labels))) == [], "judged otherwise it is another one"
    told[1], told[6] = told[1][:4], told[6][1:]
    assert of(replace(base, history=histories(told))) == [], "so few entries two people may share by chance"


@pytest.mark.parametrize(("row", "part"), [(0, "training"), (5, "validation"), (7, "test")])
def test_item_in_its_own_history_is_found_also_under_another_id(row: int, part: str) -> None:
    base = clean()
    assert base.history is not None
    told = [base.history.of(at)[0].tolist() for at in range(8)]
    told[row][1] = int(base.item[row])
    assert of(replace(base, history=histories(told))) == [Leak(OWN, part, 1, row)]
    twin = 29
    told[row][1] = twin
    assert of(replace(base, history=histories(told))) == []
    texts = [*TEXTS]
    texts[twin] = texts[base.item[row]]
    assert of(replace(base, history=histories(told)), texts=texts) == [Leak(TWIN, part, 1, row)]


def test_items_without_text_are_not_taken_for_one_another() -> None:
    texts = [""] * len(TEXTS)
    assert of(clean(), texts=texts) == []


@pytest.mark.parametrize("row", [1, 4, 6])
def test_title_in_the_users_text_is_found_whatever_its_case(row: int) -> None:
    base = clean()
    part = {1: "training", 4: "validation", 6: "test"}[row]
    users = [""] * 5
    users[base.user[row]] = f"Somebody who adores {TITLES[base.item[row]].upper()} above all."
    assert of(base, user_texts=users) == [Leak(TITLE, part, 1, row)]
    short = [title if at != base.item[row] else "Up" for at, title in enumerate(TITLES)]
    users[base.user[row]] = "Somebody who looks up."
    assert find_leaks(base, PARTS, TEXTS, short, user_texts=users) == [], "so short a title says nothing"


def test_training_after_the_first_test_interaction_is_found_where_time_divides() -> None:
    late = changed(clean(), timestamp={2: 7, 3: 9})
    assert of(late, in_time=True) == [Leak(LATE, "training", 2, 2)]
    assert of(late) == [], "other splits are not by time"
    assert of(changed(clean(), timestamp={3: 6}), in_time=True) == [], "at the very moment is not after it"


def test_repeats_are_no_leak_where_users_meet_items_repeatedly() -> None:
    base = clean()
    told = [base.history.of(at)[0].tolist() for at in range(8)]  # type: ignore[union-attr]
    told[6][0] = int(base.item[6])
    again = changed(replace(base, history=histories(told)), user={7: 1}, item={7: int(base.item[0])})
    assert {leak.name for leak in of(again)} == {PAIR, OWN}
    assert of(again, repeats=True) == []
    assert of(changed(again, timestamp={0: 50}), repeats=True, in_time=True) == [Leak(LATE, "training", 1, 0)]


def test_every_leak_is_named_and_counted_in_one_line() -> None:
    leaks = [Leak(PAIR, "test", 2, 6), Leak(OWN, "training", 1, 3)]
    with pytest.raises(InputError) as caught:
        require_no_leaks(leaks)
    said = str(caught.value)
    assert "\n" not in said
    assert (
        "2 test examples: the same user and item are in the data learnt from (first: interaction 6);"
        " 1 training examples: the item stands in its own history (first: interaction 3)" in said
    )
    assert "data.allow_leakage=true, " in said and "data.allow_leakage=[same_pair, own_item]" in said


# ---- through `prepare` ----


def leaking_dataset() -> RecDataset:
    """Ratings whose test part repeats a training pair and holds a film in its own given history."""
    users = ["a", "b", "c", "d", "e", "f"]
    items = ["1", "2", "3", "4", "5", "1"]
    return RecDataset(
        name="made up",
        interactions=interactions_table(
            [*users[:5], "a"],
            items,
            [4.0, 2.0, 5.0, 1.0, 3.0, 4.0],
            list(range(6)),
            ["train", "train", "train", "valid", "test", "test"],
            [["3"], ["3"], ["1"], ["1"], ["5", "2"], ["2"]],
            [[1.0], [1.0], [1.0], [1.0], [1.0, 1.0], [1.0]],
        ),
        items=table({"item_id": ["1", "2", "3", "4", "5"], "title": [f"Film Number {n}" for n in range(5)]}),
        users=table({"user_id": users}),
        rating_range=(1, 5),
    )


def read_from(monkeypatch: pytest.MonkeyPatch, dataset: RecDataset) -> None:
    movies = registry.get("readers", "movies")
    monkeypatch.setattr(movies, "read", lambda self, path, graph: dataset)


RECIPE = {
    "data.path": "somewhere",
    "views.item.template": "{{ title }}",
    "signals": {"history": {}},
}


def test_prepare_refuses_what_leaks_and_names_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    read_from(monkeypatch, leaking_dataset())
    with pytest.raises(InputError, match="the data gives answers away") as caught:
        prepare(load_recipe("movies", changes=RECIPE))
    assert "1 test examples: the same user and item" in str(caught.value)
    assert "1 test examples: the item stands in its own history" in str(caught.value)


def test_allowed_leaks_pass_and_are_kept_to_be_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    read_from(monkeypatch, leaking_dataset())
    prepared = prepare(load_recipe("movies", changes={**RECIPE, "data.allow_leakage": True}))
    assert {(leak.name, leak.part, leak.count) for leak in prepared.leaks} == {(PAIR, "test", 1), (OWN, "test", 1)}
    assert len(prepared.test) == 2, "nothing was taken out"


def test_only_kinds_of_leaks_that_are_named_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    read_from(monkeypatch, leaking_dataset())
    with pytest.raises(InputError, match="gives answers away: 1 test examples: the item stands in its own") as caught:
        prepare(load_recipe("movies", changes={**RECIPE, "data.allow_leakage": [PAIR, TWIN]}))
    assert "the same user and item" not in str(caught.value), "only what is refused is named"
    recipe = load_recipe("movies", ["data.allow_leakage=[same_pair, own_item]"], RECIPE)
    assert {leak.name for leak in prepare(recipe).leaks} == {PAIR, OWN}
    assert recipe.plain()["data"]["allow_leakage"] == [PAIR, OWN]
    with pytest.raises(InputError, match=r"data\.allow_leakage.*'same_title'") as caught:
        load_recipe("movies", changes={"data.allow_leakage": ["same_title"]})
    assert str(caught.value).isprintable()


def test_histories_made_of_earlier_interactions_tell_no_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    data = leaking_dataset()
    read_from(monkeypatch, replace(data, interactions=data.interactions.select(range(5))))
    changes = {**RECIPE, "data.history": "earlier", "data.allow_leakage": False}
    with pytest.raises(InputError, match="has no histories: nobody met anything before"):
        prepare(load_recipe("movies", changes=changes))
    read_from(monkeypatch, replace(data, repeats=True))
    prepared = prepare(load_recipe("movies", changes=changes))
    assert prepared.leaks == ()
    assert prepared.test.history.lengths.tolist() == [0, 1]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "folder", "marker"),
    [
        ("tallrec-movie", "tallrec-movie", "train.json"),
        ("collm-ml-1m", "collm-ml-1m", "train.jsonl"),
        ("amazon-scientific", "iisan-scientific", "Industrial_and_Scientific_items.tsv"),
    ],
)
def test_real_benchmarks_give_nothing_away(shared_data: Path, name: str, folder: str, marker: str) -> None:
    if not (shared_data / folder / marker).is_file():
        pytest.skip(f"real data is absent: {shared_data / folder}")
    prepared = prepare(load_recipe(name, changes={"data.path": str(shared_data / folder)}))
    assert prepared.leaks == ()
    assert prepared.interactions.history is not None, "histories were looked at, too"


@pytest.mark.parametrize(("title", "leaks"), [("流浪地球", True), ("红高粱", True), ("活着", False), ("Heat", False)])
def test_a_chinese_title_is_long_enough_with_three_characters(title: str, leaks: bool) -> None:
    one = np.ones(2, np.int64)
    interactions = Interactions(one, np.array([1, 2]), np.ones(2, np.float32), np.array([1, 2]))
    parts = Split(np.array([0]), np.zeros(0, np.int64), np.array([1]))
    told = ["", f"最近看了{title}，很喜欢。"]
    found = find_leaks(interactions, parts, ["", "a", "b"], ["", "another", title], user_texts=told)
    assert [leak.name for leak in found] == (["title_in_text"] if leaks else [])


def test_a_link_is_no_answer_to_its_reverse() -> None:
    """Interactions 4 and 5 are validation, 6 and 7 test; users 1 to 4 are the items 11 to 14."""
    people = replace(clean(), history=None, item=np.array([12, 13, 14, 11, 13, 14, 11, 12]))
    people = replace(people, oneself=people.user + 10)
    assert of(replace(people, oneself=None)) == [], "items are no people"
    # validation: 1→3 and 2→4 are not learnt from the other way round; test: 3→1 is validation's 1→3, 4→2 its 2→4
    assert [(leak.name, leak.part, leak.count) for leak in of(people)] == [("reversed_pair", "test", 2)]
    turned = changed(people, item={4: 14})  # 1→4, and 4→1 is training
    assert ("reversed_pair", "validation", 1, 4) in [(one.name, one.part, one.count, one.row) for one in of(turned)]

"""Whole columns: what is read at once is what a row at a time would have given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from datasets import Dataset

from llmrec_peft.data.dataset import column, numbered, numbers, selected
from llmrec_peft.data.histories import Histories
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.data.leakage import MIN_HISTORY, find_leaks
from llmrec_peft.data.rows import Rows
from llmrec_peft.data.splits import Split
from llmrec_peft.data.tables import table
from llmrec_peft.data.views import ViewTemplate
from llmrec_peft.errors import InputError

FILMS = {
    "item_id": ["7", "8", "9", "10"],
    "title": ["Heat", "Köln 75", "", "Alien"],
    "year": [1995, None, 1979, 1986],
    "genres": [["Crime", "Drama"], [], None, ["Horror"]],
}


def rows(films: Dataset) -> list[Mapping[str, Any]]:
    return list(Rows(films).known())


def test_rows_are_those_that_a_dataset_yields_one_by_one() -> None:
    films = table(FILMS)
    assert rows(films) == list(films)
    assert rows(films.select([3, 1])) == list(films.select([3, 1]))


def test_selected_rows_are_a_table_of_their_own_with_the_same_types() -> None:
    films = table(FILMS)
    some = selected(films, np.array([3, 0]))
    assert rows(some) == [rows(films)[3], rows(films)[0]]
    assert some.features == films.features
    assert column(some, "title") == ["Alien", "Heat"]


def test_numbers_are_the_values_of_a_column_also_where_some_are_missing() -> None:
    assert numbers(table({"x": [1.5, 2.5]}), "x").tolist() == [1.5, 2.5]
    assert numbers(table({"x": [3, None]}), "x").tolist() == [3, None]


def test_numbered_counts_from_one_and_gives_unknown_names_zero() -> None:
    found = numbered(table({"user_id": ["b", "a", "c", "b"]}), "user_id", ("a", "b"))
    assert found.dtype == np.int64
    assert found.tolist() == [2, 1, 0, 2]


@pytest.mark.parametrize(
    "template",
    [
        "{{ title }} ({{ year }}){% if genres %}. {{ genres | join(', ') }}{% endif %}",
        "{% if year %}{% set said = year %}{% endif %}{{ title }} {{ said is defined }}",
        "{% for n in range(2) %}{{ title }} {% endfor %}",
        "{{ genres | map('lower') | join('; ') }} {{ year | default('no year') }}",
        "{% for genre in genres or [] %}{{ loop.index }} {{ genre }}\n{% endfor %}",
    ],
)
def test_many_rows_are_rendered_as_each_by_itself(template: str) -> None:
    view, films = ViewTemplate(template), rows(table(FILMS))
    assert view.render_all(films) == [view.render(film) for film in films]


@pytest.mark.parametrize("template", ["{{ director }}", "{{ year + 1 }}", "{{ genres[0] }}"])
def test_row_that_cannot_be_rendered_is_refused_alike_among_many(template: str) -> None:
    view, films = ViewTemplate(template), rows(table(FILMS))
    alone = []
    for film in films:
        try:
            view.render(film)
        except InputError as error:
            alone.append(str(error))
    assert alone
    with pytest.raises(InputError) as refused:
        view.render_all(films)
    assert str(refused.value) == alone[0]


def made_up(seed: int, count: int = 300, items: int = 12) -> tuple[Interactions, Split]:
    """Interactions with histories over few items, so that much is met twice."""
    rng = np.random.default_rng(seed)
    length = rng.integers(0, MIN_HISTORY + 4, count)
    end = np.cumsum(length).astype(np.int64)
    stored = rng.integers(0, items, int(end[-1]))
    history = Histories(stored, rng.integers(0, 2, len(stored)).astype(np.float32), end - length, end)
    for row in range(0, count, 9):  # some records are told twice, their entries in another order
        other = (row + 5) % count
        span = slice(int(history.begin[row]), int(history.end[row]))
        order = rng.permutation(span.stop - span.start)
        history = history.joined(
            Histories(stored[span][order], history.label[span][order], np.zeros(1, np.int64), np.full(1, len(order)))
        )
        history.begin[other], history.end[other] = history.begin[-1], history.end[-1]
        history = history.take(np.arange(count))
    item = rng.integers(1, items, count)
    item[[(row + 5) % count for row in range(0, count, 9)]] = item[np.arange(0, count, 9)]
    parts = np.split(rng.permutation(count), [200, 250])
    told = Interactions(rng.integers(1, 40, count), item, np.ones(count, np.float32), np.arange(count), history)
    return told, Split(*(np.sort(part) for part in parts))


@pytest.mark.parametrize("seed", range(4))
def test_leaks_are_those_that_a_walk_over_single_records_finds(seed: int) -> None:
    told, parts = made_up(seed)
    texts = ["", *(f"text {index // 2}" for index in range(1, 12))]
    assert told.history is not None
    history = told.history

    def record(row: int) -> tuple[int, tuple[tuple[int, float], ...]]:
        entries, labels = history.of(row)
        return int(told.item[row]), tuple(sorted(zip(entries.tolist(), labels.tolist(), strict=True)))

    expected: dict[tuple[str, str], list[int]] = {}
    for part, rows_, learnt in (("validation", parts.valid, parts.train), ("test", parts.test, parts.fit)):
        pairs = {(told.user[row], told.item[row]) for row in learnt}
        known = {record(row) for row in learnt}
        expected["same_pair", part] = [row for row in rows_ if (told.user[row], told.item[row]) in pairs]
        expected["same_history", part] = [
            row for row in rows_ if len(record(row)[1]) >= MIN_HISTORY and record(row) in known
        ]
    for part, rows_ in (("training", parts.train), ("validation", parts.valid), ("test", parts.test)):
        own = {row for row in rows_ if told.item[row] in history.of(row)[0]}
        expected["own_item", part] = sorted(own)
        expected["same_text", part] = [
            row
            for row in rows_
            if row not in own and any(i > 0 and texts[i] == texts[told.item[row]] for i in history.of(row)[0])
        ]
    found = {(leak.name, leak.part): (leak.count, leak.row) for leak in find_leaks(told, parts, texts, texts)}
    assert found == {key: (len(rows_), rows_[0]) for key, rows_ in expected.items() if rows_}
    assert len(found) == 10


@pytest.mark.parametrize("seed", range(3))
def test_history_holds_an_item_wherever_its_entries_are_stored(seed: int) -> None:
    told, _ = made_up(seed)
    assert told.history is not None
    history = told.history
    expected = [bool((history.of(row)[0] == told.item[row]).any()) for row in range(len(told))]
    assert history.holds(told.item).tolist() == expected
    assert 0 < sum(expected) < len(expected)

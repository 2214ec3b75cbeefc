"""A column of texts over buffers is the tuple of its texts, and its sorted rows are a dictionary of them."""

from __future__ import annotations

import random

import numpy as np
import pytest

from llmrec_peft.data.text_column import RowsByText, TextColumn, require_texts, rows_by_text, rows_of
from llmrec_peft.data.vocabulary import Vocabulary
from llmrec_peft.errors import InputError

TEXTS = ("b", "aé", "中文", "", "a", "aé\0", "\U0001f600", "z" * 300)


def test_column_is_the_tuple_of_its_texts() -> None:
    column = TextColumn.of(TEXTS)
    assert column == TEXTS
    assert column == TEXTS
    assert column != TEXTS[:-1]
    assert (tuple(column), len(column), column[-1], column[1:4]) == (TEXTS, 8, TEXTS[-1], TEXTS[1:4])
    assert list(reversed(column)) == list(reversed(TEXTS))
    for at in (8, -9):
        with pytest.raises(IndexError):
            column[at]
    assert list(TextColumn.of([])) == []


def test_column_of_many_texts_iterates_beyond_its_blocks() -> None:
    many = [f"é{number}" for number in range(10_000)]
    assert list(TextColumn.of(many)) == many


def test_rows_are_those_of_a_dictionary_whatever_is_asked_for() -> None:
    draw = random.Random(0)
    for count in (1, 2, 3, 50, 700):
        texts = list({"".join(draw.choices("ab中é\U0001f600", k=draw.randrange(1, 7))) for _ in range(count)})
        draw.shuffle(texts)
        rows, expected = rows_by_text(TextColumn.of(texts, sort=True)), {text: row for row, text in enumerate(texts)}
        assert isinstance(rows, RowsByText)
        asked = [*texts, "", "a", "zz", "\ud800", "é"]
        assert dict(rows) == expected
        assert [rows.get(one) for one in asked] == [expected.get(one) for one in asked]
        assert [one in rows for one in asked] == [one in expected for one in asked]
        for some in (asked, asked[:1], asked[-2:]):  # by a dictionary for many, by bisection for few
            assert rows_of(rows, some).tolist() == [expected.get(one, -1) for one in some]


def test_vocabulary_over_columns_answers_as_one_over_tuples() -> None:
    plain = Vocabulary(("u2", "u1"), ("i3", "i1", "i2"))
    over = Vocabulary(TextColumn.of(plain.users, sort=True), TextColumn.of(plain.items, sort=True))
    assert over == plain
    assert over.user_indices(["u1", "nobody", "u2"]).tolist() == [2, 0, 1]
    assert over.item_ids(np.array([3, 1])) == ["i2", "i3"]
    for wrong in (7, ["u1"], None):
        with pytest.raises(InputError, match="user ids are texts"):
            over.user_indices([wrong])  # type: ignore[list-item]


@pytest.mark.parametrize("seed", range(40))
def test_changed_buffers_are_refused_or_are_another_sound_column(seed: int) -> None:
    draw = np.random.default_rng(seed)
    column = TextColumn.of([text for text in TEXTS if text], sort=True)
    assert column.order is not None
    buffers = [column.offsets.copy(), column.content.copy(), column.order.copy()]
    changed = buffers[int(draw.integers(3))]
    changed[int(draw.integers(len(changed)))] = draw.integers(0, 256)
    other = TextColumn(*buffers)
    if require_texts(other, distinct=True) is None:
        texts = list(other)
        assert [other[row] for row in other.order.tolist()] == sorted(texts)
        assert len(set(texts)) == len(texts)


def test_text_that_utf8_cannot_write_is_refused() -> None:
    with pytest.raises(InputError, match="is no text that UTF-8 can write"):
        TextColumn.of(["a", "\ud800"])

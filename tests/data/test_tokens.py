"""TokenTable: distinct texts once, rows padded on the right."""

from __future__ import annotations

import numpy as np

from llmrec_peft.data.tokens import TokenTable, count_cut


def test_each_distinct_text_is_tokenized_once_and_keys_find_theirs() -> None:
    asked: list[list[str]] = []

    def tokenize(texts: list[str]) -> list[list[int]]:
        asked.append(texts)
        return [[len(text), 7] for text in texts]

    table = TokenTable.of(["", "bb", "a", "bb", "", "a"], tokenize, pad_id=0)
    assert asked == [["", "bb", "a"]]
    assert table.num_distinct == 3
    assert table.row_of.tolist() == [0, 1, 2, 1, 0, 2]


def test_rows_come_back_whole_padded_to_the_longest_with_the_pad_token() -> None:
    rng = np.random.default_rng(0)
    rows = {f"text {n}": rng.integers(1, 99, rng.integers(1, 9)).tolist() for n in range(20)}
    table = TokenTable.of(list(rows), lambda texts: [rows[text] for text in texts], pad_id=55)
    asked = rng.permutation(20)[:7]
    ids, mask = table.padded(asked)
    assert table.lengths(asked).tolist() == mask.sum(1).tolist()
    assert ids.shape == mask.shape == (7, max(table.lengths(asked)))
    for row, at in enumerate(asked):
        tokens = list(rows.values())[at]
        assert ids[row].tolist() == tokens + [55] * (ids.shape[1] - len(tokens))
        assert mask[row].tolist() == [1] * len(tokens) + [0] * (ids.shape[1] - len(tokens))


def test_no_texts_need_no_tokenizer() -> None:
    def tokenize(texts: list[str]) -> list[list[int]]:
        raise AssertionError("nothing to tokenize")

    table = TokenTable.of([], tokenize, pad_id=0)
    assert table.num_distinct == 0
    assert table.row_of.shape == (0,)


def test_texts_that_were_cut_are_counted_by_key_and_the_others_not_tokenized_again() -> None:
    texts = ["", "a", "a a a", "a a a a", "a a a a a", "a a a a"]
    again: list[str] = []

    def whole(some: list[str]) -> list[list[int]]:
        again.extend(some)
        return [[1] * len(text.split()) for text in some]

    table = TokenTable.of(texts, lambda some: [[1] * min(3, len(text.split())) for text in some], pad_id=0)
    assert count_cut(texts, table, 3, whole) == 3
    assert again == ["a a a", "a a a a", "a a a a a"]
    assert count_cut(texts[:2], TokenTable.of(texts[:2], whole, pad_id=0), 3, whole) == 0

"""Words: cosines of rare words against the definition, pairs of words, languages without blanks, bounded tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse

from llmrec_peft.data.batches import Batch
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.errors import InputError
from llmrec_peft.signals.contract import SignalContext
from llmrec_peft.signals.parts.item_links import strongest
from llmrec_peft.signals.parts.word_overlap import shared_words, words_of
from llmrec_peft.signals.words import Words, WordsOptions

TITLES = ["Red pen, fine", "Blue PEN fine", None, "Red ink", "Stapler", ""]


def signal(given: dict[str, list[Any]], **options: Any) -> Words:
    made = Words(WordsOptions(scale=1.0, **options))
    known = Interactions(np.array([1]), np.array([1]), np.ones(1, np.float32), np.zeros(1, np.int64))
    context = SignalContext(2, 7, 4, known, None, None, items=given, task="ranking", history_length=3)
    made.parts = made.build(context)
    made.parts.eval()
    return made


def test_cosines_are_those_of_words_weighted_by_rarity() -> None:
    alike = shared_words({"title": TITLES}, pairs=False, most=10).toarray()
    rare, twice = np.log(6), np.log(3)
    first, second = np.array([twice, twice, twice, 0]), np.array([0, twice, twice, rare])
    assert alike[1, 2] == pytest.approx(first @ second / np.linalg.norm(first) / np.linalg.norm(second), rel=1e-5)
    assert alike[1, 4] == pytest.approx(twice**2 / np.linalg.norm(first) / np.hypot(twice, rare), rel=1e-5)
    assert alike[5, :5].tolist() == [0.0] * 5
    assert alike[1, 1] == pytest.approx(1.0)
    assert not alike[[0, 3, 6]].any(), "no item, no text, an empty one"


def test_adjacent_words_make_items_more_alike() -> None:
    alone, joined = (shared_words({"title": TITLES}, pairs, 10).toarray() for pairs in (False, True))
    assert joined[1, 2] / alone[1, 2] > joined[1, 4] / alone[1, 4]


def test_only_the_most_similar_items_are_kept() -> None:
    alike = shared_words({"title": [f"pen {at % 3}" for at in range(50)]}, False, 5)
    assert np.diff(alike.indptr).max() == 5


def test_several_columns_and_lists_are_joined() -> None:
    alike = shared_words({"title": ["a b", "c d"], "tags": [["x y"], ["x", "y"]]}, False, 9).toarray()
    assert alike[1, 2] == 0.0, "what all items have says nothing"
    alike = shared_words({"title": ["a b", "c d", "e"], "tags": [["x y"], ["x", "y"], None]}, False, 9).toarray()
    assert alike[1, 2] > 0.0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("PLA-175 Filament_1.75mm", ["pla", "175", "filament", "1", "75mm"]),
        ("白色 pen笔", ["白", "色", "pen", "笔"]),
        ("Öl für Motor", ["öl", "für", "motor"]),
        ("  ,,  ", []),
    ],
)
def test_texts_are_split_into_words(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def test_the_newest_entry_counts_most_and_padding_nothing() -> None:
    made = signal({"title": TITLES}, pairs=False, decay=0.5)
    alike = shared_words({"title": TITLES}, False, 200).toarray()
    batch = Batch(torch.tensor([1, 1]), torch.tensor([4, 4]), history=torch.tensor([[0, 2, 1], [0, 0, 0]]))
    offset = made.offset(batch)
    assert offset is not None
    assert offset.tolist() == pytest.approx([alike[1, 4] + 0.5 * alike[2, 4], 0.0], abs=1e-6)


def test_a_column_without_texts_is_refused() -> None:
    with pytest.raises(InputError, match=r"signals\.words\.columns: 'year' holds '1995' where texts belong"):
        signal({"year": [1995, None]}, columns=("year",))
    assert "no column 'title'" in str(Words(WordsOptions()).refusal((), ("name",), False))
    assert "name a column of items" in str(Words(WordsOptions(columns=())).refusal((), ("name",), False))


def test_of_equal_links_the_first_are_kept() -> None:
    links = sparse.csr_matrix(np.array([[0.5, 1.0, 0.5, 0.5], [0.0, 0.0, 0.2, 0.0], [3.0, 2.0, 1.0, 4.0]]))
    assert strongest(links, 2).tolist() == [True, True, False, False, True, True, False, False, True]
    assert strongest(links, 4).all()

"""Texts described: lengths, markup and scripts as they are, tokens of the recipe's own tokenizer."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmrec_peft.overview import texts as module
from llmrec_peft.overview.texts import describe_texts, describe_tokens, drawn
from llmrec_peft.recipe import load_recipe


def test_lengths_duplicates_and_markup_are_counted() -> None:
    report = describe_texts(["abc", "", "abc", "<span class='x'>d", "Q &amp; A", "2 < 3 > 1, AT&T"])
    assert (report["items"], report["without_text"], report["distinct"]) == (6, 1, 4)
    assert report["characters"]["min"] == 3
    assert report["with_markup"] == 2


def test_each_text_is_of_its_commonest_script() -> None:
    texts = ["Heat (1995)", "東京物語 films", "Солярис", "1917", "Ελλάδα é", "ひらがなでかく漢"]
    found = {row["script"]: row["texts"] for row in describe_texts(texts)["scripts"]}
    assert found == {"Latin": 2, "Cyrillic": 1, "none": 1, "Greek": 1, "Hiragana": 1}


def test_no_texts_at_all_are_described() -> None:
    report = describe_texts(["", ""])
    assert (report["without_text"], report["characters"], report["scripts"]) == (2, {}, [])
    assert describe_texts(["12", "34"])["scripts"] == [{"script": "none", "texts": 2, "share": 1.0}]


def test_of_many_texts_a_sample_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SAMPLE", 10)
    many = [f"text {at}" for at in range(50)]
    assert drawn(many) == drawn(many)
    report = describe_texts(many)
    assert (report["distinct"], report["looked_at"]) == (50, 10)


def test_tokens_are_those_of_the_recipe(tiny_backbone: Path) -> None:
    from transformers import AutoTokenizer

    recipe = load_recipe("movies", [f"backbone.name={tiny_backbone}", "views.item.max_length=6"])
    texts = ["one two", "one two three four five six seven", ""]
    lengths = [len(AutoTokenizer.from_pretrained(tiny_backbone)(text)["input_ids"]) for text in texts[:2]]
    report = describe_tokens(recipe, texts)
    assert (report["min"], report["max"], report["kept"], report["cut"]) == (min(lengths), max(lengths), 6, 1)


def test_base_that_is_not_at_hand_is_said_in_place_of_tokens(tmp_path: Path) -> None:
    recipe = load_recipe("movies", [f"backbone.name={tmp_path}/none"])
    assert "is no alias, no folder" in describe_tokens(recipe, ["text"])["unknown"]


def test_tokenizer_without_a_core_is_counted_alike(tiny_backbone: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_backbone)
    texts = ["one", "Café Number 3, The (1953)", "漢字 and more", "x" * 3000]

    def plain(some: list[str]) -> dict[str, list[list[int]]]:
        return {"input_ids": [tokenizer(text)["input_ids"] for text in some]}

    assert module._ids(plain, texts) == module._ids(tokenizer, texts)

"""Words: tokens find their words, and a text without words keeps everything else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from chinese import write_bert

from llmrec_peft.backbone.load import Backbone, load_backbone
from llmrec_peft.errors import InputError
from llmrec_peft.explanation.words import worded
from llmrec_peft.recipe.sections import BackboneSection
from llmrec_peft.testing.adapters.backbones import make_tiny

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def bert(tiny_backbone: Path) -> Backbone:
    """A tiny encoder with MiniLM's tokenizer."""
    return load_backbone(BackboneSection(name=str(tiny_backbone)), CPU)


def decoded(backbone: Backbone, ids: list[int]) -> str:
    return str(backbone.tokenizer.decode(ids, skip_special_tokens=True))


def test_words_are_found_in_order_and_punctuation_belongs_to_none(bert: Backbone) -> None:
    text = worded("Heat (1995). Genres: Action, sci-fi & don't!", bert, 48)
    assert text.words == ("Heat", "1995", "Genres", "Action", "sci-fi", "don't")
    assert text.word_of[0] == text.word_of[-1] == -1
    assert list(text.ids) == bert.tokenize(["Heat (1995). Genres: Action, sci-fi & don't!"], 48)[0]
    assert decoded(bert, text.without({1, 4})).replace(" ", "") == "heat().genres:action,&don't!"
    assert text.without(()) == list(text.ids)


def test_word_of_several_tokens_goes_as_a_whole(bert: Backbone) -> None:
    text = worded("an extraterrestrially odd film", bert, 48)
    assert text.words[1] == "extraterrestrially"
    assert text.word_of.count(1) > 1
    assert decoded(bert, text.without({1})) == "an odd film"


def test_words_that_were_cut_off_are_no_pieces(bert: Backbone) -> None:
    text = worded("one two three four five six seven eight", bert, 6)
    assert text.words == ("one", "two", "three", "four")
    assert len(text.ids) == 6


def test_empty_text_has_no_words(bert: Backbone) -> None:
    assert worded("", bert, 48).words == ()


def test_byte_level_tokens_find_their_words(tmp_path: Path) -> None:
    llama = load_backbone(BackboneSection(name=str(make_tiny("tiny-llama", tmp_path))), CPU)
    text = worded("Il Postino (1994), ein Film über Äpfel", llama, 48)
    assert text.words == ("Il", "Postino", "1994", "ein", "Film", "über", "Äpfel")
    assert decoded(llama, text.without({1, 5})).split() == "Il (1994), ein Film Äpfel".split()


def test_tokenizer_that_knows_no_places_is_refused_in_one_line(bert: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*_: object, **__: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr(bert, "tokenizer", slow)
    with pytest.raises(InputError, match="--words none leaves them out"):
        worded("Heat", bert, 48)


def test_characters_of_a_script_without_spaces_are_words_of_their_own(tmp_path: Path) -> None:
    folder = write_bert(tmp_path / "characters", "流浪地球，")
    text = worded("《流浪地球》，Heat 2", load_backbone(BackboneSection(name=str(folder)), CPU), 48)
    assert text.words == ("流", "浪", "地", "球", "Heat", "2")
    assert len(text.without({0, 4})) == len(text.ids) - 1 - text.word_of.count(4)

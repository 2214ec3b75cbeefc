"""Prompts: history and candidate in one text that fits; what is too long loses the oldest entries, never the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from llmrec_peft.backbone.load import Backbone, load_backbone
from llmrec_peft.data.histories import Histories
from llmrec_peft.data.prompts import PromptWriter, Written
from llmrec_peft.data.views import ViewTemplate
from llmrec_peft.errors import InputError
from llmrec_peft.experiment.prepare import prepare
from llmrec_peft.experiment.texts import Texts
from llmrec_peft.model.prompting import ViewWriter
from llmrec_peft.recipe import load_recipe
from llmrec_peft.recipe.sections import BackboneSection, PromptView
from llmrec_peft.testing.adapters.backbones import make_tiny

TEMPLATE = "{% for x in history %}{{ x.title }} {% endfor %}| {{ user.name }} ? {{ item.title }}"
COLUMNS: list[dict[str, Any]] = [{}, *({"title": f"t{n}"} for n in range(1, 40))]


def words(texts: list[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def writer(max_length: int, template: str = TEMPLATE, wrap: Any = str, middle: float = 0.5) -> PromptWriter:
    return PromptWriter(ViewTemplate(template), max_length, middle, words, wrap)


def entries(*numbers: int) -> list[dict[str, Any]]:
    return [{"title": f"t{n}", "rating": 1.0, "liked": True} for n in numbers]


def written(by: PromptWriter, *histories: list[dict[str, Any]]) -> Written:
    count = len(histories)
    return by.write([{"name": f"u{n}"} for n in range(count)], [{"title": f"own{n}"} for n in range(count)], histories)


def test_what_fits_is_written_whole() -> None:
    found = written(writer(20), entries(3, 1, 2), [])
    assert found.texts == ["t3 t1 t2 | u0 ? own0", "| u1 ? own1"]
    assert (found.shortened, found.dropped) == (0, 0)


@pytest.mark.parametrize("max_length", [4, 5, 7, 12])
def test_what_is_too_long_loses_its_oldest_entries_and_never_user_or_candidate(max_length: int) -> None:
    lengths = [0, 1, 3, 8, 30]
    found = written(writer(max_length), *(entries(*range(1, n + 1)) for n in lengths))
    shortened = dropped = 0
    for at, (text, length) in enumerate(zip(found.texts, lengths, strict=True)):
        told, rest = text.split("|")
        assert rest == f" u{at} ? own{at}"
        kept = told.split()
        assert kept == [f"t{n}" for n in range(length - len(kept) + 1, length + 1)], "the newest, in their order"
        assert len(text.split()) <= max_length
        assert len(kept) == min(length, max_length - 4), "one word an entry: no more is dropped than has to be"
        shortened += len(kept) < length
        dropped += length - len(kept)
    assert (found.shortened, found.dropped) == (shortened, dropped)


def test_entries_of_unequal_length_are_dropped_until_it_fits() -> None:
    rng = np.random.default_rng(0)
    for case in range(200):
        lengths = rng.integers(1, 12, rng.integers(1, 15))
        history = [{"title": " ".join(["w"] * n) + f" e{at}"} for at, n in enumerate(lengths)]
        limit = int(rng.integers(4, 60))
        found = written(writer(limit), history)
        assert words(found.texts)[0] <= limit
        kept = [word for word in found.texts[0].split() if word.startswith("e")]
        assert kept == [f"e{at}" for at in range(len(lengths) - len(kept), len(lengths))], case
        assert found.dropped == len(lengths) - len(kept)


def test_given_histories_stay_as_they_were() -> None:
    told = entries(1, 2, 3, 4, 5, 6)
    written(writer(5), told)
    assert [entry["title"] for entry in told] == ["t1", "t2", "t3", "t4", "t5", "t6"]


@pytest.mark.parametrize("history", [[], entries(1, 2, 3)], ids=["none", "some"])
def test_prompt_that_is_too_long_without_history_is_refused_in_one_line(history: list[dict[str, Any]]) -> None:
    with pytest.raises(InputError) as caught:
        written(writer(3), history)
    said = str(caught.value)
    assert said.startswith("a prompt takes 4 tokens without any history, over the 3 of max_length: raise it in views")
    assert "\n" not in said


def test_long_text_of_the_candidate_loses_its_end_and_the_question_stays() -> None:
    history = "{% for x in history %}{{ x.title }} {% endfor %}"
    by = writer(9, history + "{{ item.title }}: {{ item.told }} Will {{ user.name }} like it?")
    told = " ".join(f"w{n}" for n in range(500))
    items = [
        {"item_id": "a " * 900, "title": "Heat", "told": told, "unread": "x " * 700},
        {"title": "Up", "told": "w0"},
    ]
    found = by.write([{"name": "Ann"}, {"name": "Bob"}], items, [entries(1, 2), entries(3)])
    assert found.texts == ["Heat: w0 w1 w2 w3 Will Ann like it?", "t3 Up: w0 Will Bob like it?"]
    assert (found.shortened, found.dropped, found.cut) == (1, 2, 1)
    assert items[0]["told"] == told, "what was given stays as it was"


def test_long_text_that_the_prompt_does_not_tell_is_not_cut_word_by_word() -> None:
    counted = []

    def count(texts: list[str]) -> list[int]:
        counted.append(len(texts))
        return words(texts)

    by = PromptWriter(ViewTemplate("{{ user.name }}: {{ item.title }} ?"), 12, 0.5, count)
    film = {"title": "a b c d " * 5, "description": "word " * 20_000}
    found = by.write([{"name": "Ann", "note": "more " * 5_000}], [film], [[]])
    assert found.texts == ["Ann: a b c d a b c d a b ?"]
    assert len(counted) < 10


def test_length_is_that_of_the_wrapped_text_and_what_is_wrapped_is_whole() -> None:
    def chat(text: str) -> str:
        return f"<user> {text} <end> <assistant>"

    found = written(writer(9, wrap=chat), entries(1, 2, 3, 4))
    assert found.texts == ["<user> t3 t4 | u0 ? own0 <end> <assistant>"]
    assert found.dropped == 2


def test_entries_carry_columns_label_and_whether_they_were_liked() -> None:
    for middle, liked in ((0.5, [False, True]), (3.0, [False, True]), (4.0, [False, False]), (-1.0, [True, True])):
        by = writer(9, middle=middle)
        labels = np.array([0.0, 1.0]) if middle == 0.5 else np.array([2.0, 4.0])
        told = by.entries(np.array([2, 7]), labels, COLUMNS)
        assert [entry["title"] for entry in told] == ["t2", "t7"]
        assert [entry["rating"] for entry in told] == labels.tolist()
        assert [entry["liked"] for entry in told] == liked, "above the middle, not at it"
    assert by.entries(np.array([0, 7, 0]), np.ones(3), COLUMNS) == [{"title": "t7", "rating": 1.0, "liked": True}]


def test_histories_are_cut_to_the_length_asked_for_before_anything_is_counted() -> None:
    histories = Histories(np.arange(1, 9), np.ones(8, np.float32), np.array([0, 5]), np.array([5, 8]))
    told = writer(99).histories(histories, 2, COLUMNS)
    assert [[entry["title"] for entry in row] for row in told] == [["t4", "t5"], ["t7", "t8"]]


def test_texts_of_users_have_no_item() -> None:
    by = writer(9, "{{ user.name }}: {{ history | map(attribute='title') | join(', ') }}")
    assert by.write([{"name": "u"}], None, [entries(1, 2)]).texts == ["u: t1, t2"]
    with pytest.raises(InputError, match="'item' is undefined"):
        writer(9).write([{"name": "u"}], None, [[]])


def test_lines_of_a_prompt_stay_lines() -> None:
    by = writer(99, "Liked:\n{% for x in history %}\n- {{ x.title }}\n{% endfor %}\n\n  Next:   {{ item.title }}")
    assert written(by, entries(1, 2)).texts == ["Liked:\n- t1\n- t2\n\nNext: own0"]


# ---- with a model's tokenizer and chat format ----


@pytest.fixture(scope="module", params=["tiny-bert", "tiny-llama"])
def backbone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    folder = make_tiny(request.param, tmp_path_factory.mktemp(request.param))
    loaded = load_backbone(BackboneSection(name=str(folder), precision="fp32"), torch.device("cpu"))
    loaded.tokenizer.chat_template = CHAT
    return loaded


CHAT = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def of_examples(by: ViewWriter, count: int) -> Written:
    told = Histories(np.arange(1, count + 1), np.ones(count, np.float32), np.array([0]), np.array([count]))
    columns = [{}, *({"title": f"a film of number {n}"} for n in range(1, 40))]
    return by.of_examples([{"name": "Ann"}], [{"title": "the last one"}], told, columns)


@pytest.mark.parametrize("chat", [True, False])
def test_decoder_is_spoken_to_in_its_chat_format_and_an_encoder_never_is(backbone: Backbone, chat: bool) -> None:
    by = ViewWriter(PromptView(template=TEMPLATE, chat=chat), backbone, 0.5, 50)
    (text,) = of_examples(by, 2).texts
    plain = "a film of number 1 a film of number 2 | Ann ? the last one"
    wraps = chat and backbone.kind == "decoder"
    assert by.chat is wraps
    assert text == (f"<|user|>{plain}\n<|assistant|>" if wraps else plain)


def test_prompt_fits_the_window_in_the_models_own_tokens(backbone: Backbone) -> None:
    by = ViewWriter(PromptView(template=TEMPLATE, max_length=512), backbone, 0.5, 50)
    assert by.max_length == backbone.window == 128
    found = of_examples(by, 38)
    assert found.shortened == 1
    (length,) = (len(row) for row in backbone.tokenize(found.texts, None, special=not by.chat))
    assert 100 < length <= 128
    assert "a film of number 38 | Ann ? the last one" in found.texts[0]
    longer = ViewWriter(PromptView(template="word " * 200 + TEMPLATE, max_length=512), backbone, 0.5, 50)
    with pytest.raises(InputError, match=r"a prompt takes \d{3} tokens without any history, over the 128"):
        of_examples(longer, 1)


def test_row_0_of_the_users_is_nobodys_and_has_no_text(backbone: Backbone) -> None:
    by = ViewWriter(PromptView(template="A person of {{ user.age }}."), backbone, 0.5, 50)
    found = by.of_users([{}, {"age": 30}, {"age": 41}])
    assert found.texts[0] == ""
    assert "A person of 30." in found.texts[1]
    assert "A person of 41." in found.texts[2]


# ---- from a recipe ----


def changes(tiny_data: Path, tiny_backbone: Path, **more: Any) -> dict[str, Any]:
    return {
        "data.path": str(tiny_data),
        "backbone.name": str(tiny_backbone),
        "head": {"name": "click", "feed": "prompt", "threshold": 4.0},
        "views.prompt.template": "{% for x in history %}{{ x.title }} {{ x.liked }}; {% endfor %}{{ item.title }}",
        **more,
    }


def prompts_of(recipe: Any, prepared: Any) -> tuple[list[str], Texts]:
    texts = Texts(load_backbone(recipe.backbone, torch.device("cpu")), prepared, recipe)
    start = texts.plan.prompt
    assert start is not None
    tokens, decode = texts.tokens, texts.backbone.tokenizer.decode
    rows = tokens.row_of[start:]
    return [decode(tokens.ids[tokens.start[row] : tokens.start[row + 1]], True) for row in rows], texts


@pytest.mark.parametrize(("asked", "used"), [(None, 3.0), (3.5, 3.5), (4.5, 4.5)])
def test_liked_is_above_what_the_recipe_says_and_else_above_the_middle_of_the_scale(
    asked: float | None, used: float, tiny_data: Path, tiny_backbone: Path
) -> None:
    prepared = prepare(load_recipe("movies", changes=changes(tiny_data, tiny_backbone)))
    recipe = prepared.recipe
    assert recipe.data.liked_above == 3.0
    if asked is not None:
        recipe = recipe.changed({"data.liked_above": asked})
    found, _ = prompts_of(recipe, prepared)
    part = prepared.interactions
    assert part.history is not None
    told = [set(part.history.of(at)[1].tolist()) for at in range(len(part))]
    row = next(at for at, stars in enumerate(told) if part.history.lengths[at] <= 4 and {4.0, 5.0} < stars)
    liked = [word for word in found[row].replace(";", " ").split() if word in ("true", "false")]
    assert liked == [str(bool(label > used)).lower() for label in part.history.of(row)[1]]


def test_run_says_how_many_prompts_were_shortened_and_by_how_much(tiny_data: Path, tiny_backbone: Path) -> None:
    prepared = prepare(load_recipe("movies", changes=changes(tiny_data, tiny_backbone)))
    recipe = prepared.recipe
    found, texts = prompts_of(recipe, prepared)
    part = prepared.interactions
    assert part.history is not None
    kept = np.array([text.count(";") for text in found])
    whole = part.history.newest(recipe.data.history_length).lengths
    lost = whole - kept
    assert lost.max() > 3, "the tiny model reads 64 tokens"
    assert texts.notes == [
        f"{(lost > 0).sum()} prompts were too long: {lost.sum()} of the oldest history entries were left out"
    ]
    for row in np.flatnonzero(lost > 0)[:20]:
        title = str(prepared.item_rows[part.item[row]]["title"]).lower().replace("é", "e")
        assert found[row].replace(" ", "").endswith(title.replace(" ", ""))


def test_a_text_without_spaces_is_cut_character_by_character() -> None:
    def characters(texts: list[str]) -> list[int]:
        return [len(text.replace(" ", "")) for text in texts]

    by = PromptWriter(ViewTemplate("看过？{{ item.title }}"), 8, 0.5, characters, str)
    found = by.write([{}], [{"title": "流浪地球与故事"}], [[]])
    assert found.texts == ["看过？流浪地球与"]
    assert found.cut == 1

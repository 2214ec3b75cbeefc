"""Augmentations that a recipe must not ask for are refused, and those that would do nothing are reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmrec_peft.errors import InputError
from llmrec_peft.experiment.augmentations import idle_augmentations, require_mixable
from llmrec_peft.experiment.prepare import prepare
from llmrec_peft.recipe import Recipe, load_recipe
from llmrec_peft.workflows.train import train

MIXED = "training.augment.mixup=0.2"


def recipe(name: str, *overrides: str) -> Recipe:
    return load_recipe(name, list(overrides), {"data.path": "demo"})


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("movies", "head={name: click, threshold: 4}"), r"training\.augment\.mixup with head\.threshold=4 of"),
        (("movies", "heads=[rating, {name: click, threshold: 4}]"), r"training\.augment\.mixup with head\.threshold=4"),
        (("amazon-scientific",), r"training\.augment\.mixup: head ranking ranks candidates"),
        (("amazon-scientific", "heads=[ranking, retrieval]"), "head ranking, retrieval ranks candidates"),
    ],
)
def test_mixup_that_would_change_what_labels_mean_or_mix_nothing_is_refused(asked: tuple[str, ...], said: str) -> None:
    name, *overrides = asked
    require_mixable(recipe(name, *overrides))  # without mixup there is nothing to refuse
    with pytest.raises(InputError, match=said) as refused:
        require_mixable(recipe(name, *overrides, MIXED))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "asked",
    [
        ("movies",),
        ("tallrec-movie",),
        ("movies", "heads=[rating, ranking]"),
        ("amazon-scientific", "heads=[ranking, click]"),
    ],
)
def test_mixup_stays_where_any_head_takes_it(asked: tuple[str, ...]) -> None:
    name, *overrides = asked
    require_mixable(recipe(name, *overrides, MIXED))


def test_refusal_comes_before_anything_is_written(tmp_path: Path) -> None:
    asked = recipe("movies", "head={name: click, threshold: 4}", MIXED)
    with pytest.raises(InputError, match=r"set training\.augment\.mixup=0"):
        train(asked, tmp_path / "run", show=False)
    assert list(tmp_path.iterdir()) == []


WORDS = "training.augment.word_dropout=0.1"
WORDINGS = 'views.item.variants=["{{ title }}"]'
HIDDEN = "training.augment.history_mask=0.1"
STALE = "training.augment.history_stale=0.1"
PROMPT = "views.prompt.template={% for film in history %}{{ film.title }}{% endfor %} {{ item.title }}"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            ("movies", "adapter={method: none}", WORDS, WORDINGS),
            "training.augment.word_dropout, views.item.variants will do nothing: with adapter none each text",
        ),
        (
            ("movies", "training.adapter_epochs=0", WORDINGS),
            "views.item.variants will do nothing: with training.adapter_epochs=0 each text is encoded once",
        ),
        (
            ("movies", "signals={collaborative: {}}", WORDS),
            "training.augment.word_dropout will do nothing: no signal reads texts of items",
        ),
        (
            ("movies", HIDDEN, STALE),
            "training.augment.history_mask, training.augment.history_stale will do nothing: no signal and no text",
        ),
        (
            ("movies", "head={name: click, threshold: 4, feed: prompt}", PROMPT, HIDDEN),
            "training.augment.history_mask will do nothing: texts that tell histories are written before training",
        ),
    ],
)
def test_what_would_do_nothing_is_told_in_one_note(asked: tuple[str, ...], said: str) -> None:
    name, *overrides = asked
    (note,) = idle_augmentations(recipe(name, *overrides))
    assert note.startswith(said)
    assert "\n" not in note


@pytest.mark.parametrize(
    "asked",
    [
        ("movies", WORDS, WORDINGS),
        ("movies", "signals.history={}", HIDDEN),
        ("amazon-scientific", "training.adapter_epochs=1", HIDDEN, STALE, WORDS),
        ("tallrec-movie", "head.feed=prompt", "signals.soft_tokens={}", "signals.text={}", WORDS, HIDDEN),
    ],
)
def test_what_does_something_is_not_told(asked: tuple[str, ...]) -> None:
    name, *overrides = asked
    assert idle_augmentations(recipe(name, *overrides)) == []


def test_notes_stand_with_the_data_s_own() -> None:
    quiet = prepare(recipe("movies"))
    told = prepare(recipe("movies", HIDDEN))
    assert [note for note in told.dataset.notes if note not in quiet.dataset.notes] == idle_augmentations(
        recipe("movies", HIDDEN)
    )

"""Reads: what a recipe reads, by its signals, heads and views, asked of its plugins once."""

from __future__ import annotations

from typing import Any

import pytest

from llmrec_peft import registry
from llmrec_peft.recipe import Recipe, load_recipe

PROMPT = "{% for film in history %}{{ film.title }}; {% endfor %}{{ item.title }}"


def recipe(name: str, **changes: Any) -> Recipe:
    return load_recipe(name, changes={field.replace("__", "."): value for field, value in changes.items()})


@pytest.mark.parametrize(
    ("asked", "true"),
    [
        (recipe("movies", signals={"text": {}}), {"item_text", "language_model"}),
        (recipe("movies", signals={"collaborative": {}}), set[str]()),
        (
            recipe("movies", signals={"text": {}, "history": {"entries": "ids"}}),
            {"item_text", "language_model", "history_of_signals", "history", "prepares_history"},
        ),
        (
            recipe("movies", signals={"history": {"entries": "text"}}),
            {"item_text", "history_text", "language_model", "history_of_signals", "history", "prepares_history"},
        ),
        (
            recipe("movies", signals={"text": {}}, views__user__template="{{ user.age }}"),
            {"item_text", "language_model", "user_text"},
        ),
        (
            recipe("movies", signals={"text": {}}, views__user__template="{{ history | length }}"),
            {"item_text", "language_model", "user_text", "user_text_by_example", "history", "prepares_history"},
        ),
        (
            recipe("movies", signals={"collaborative": {}}, head="ranking"),
            {"prepares_history", "listwise"},
        ),
        (
            recipe(
                "tallrec-movie",
                signals={"collaborative": {}, "soft_tokens": {}},
                head={"name": "click", "feed": "prompt"},
                views__prompt__template=PROMPT,
                data__expand_histories=False,
            ),
            {"prompt", "language_model", "inserts_tokens", "history", "prepares_history"},
        ),
    ],
    ids=lambda value: ",".join(sorted(value)) if isinstance(value, set) else "",
)
def test_recipe_reads_what_its_plugins_and_views_ask_for(asked: Recipe, true: set[str]) -> None:
    names = ("item_text", "history_text", "user_text", "user_text_by_example", "prompt", "history_of_signals")
    names += ("inserts_tokens", "language_model", "history", "prepares_history", "listwise")
    assert {name for name in names if getattr(asked.reads, name)} == true
    assert (asked.reads.inserted_tokens > 0) == ("inserts_tokens" in true)


def test_plugins_are_asked_once_and_a_changed_recipe_asks_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = recipe("movies", signals={"text": {}, "collaborative": {}}, heads=["rating", "ranking"])
    made: list[str] = []
    get = registry.get

    def counting(kind: str, name: str) -> Any:
        made.append(f"{kind}/{name}")
        return get(kind, name)

    monkeypatch.setattr(registry, "get", counting)
    assert asked.reads is asked.reads
    assert asked.reads.tasks == {"rating": "rating", "ranking": "ranking"}
    assert asked.reads.primary is asked.reads.heads["rating"]
    assert made == ["heads/rating", "heads/ranking", "signals/text", "signals/collaborative"]
    changed = asked.changed({"signals.text": False})
    assert not changed.reads.item_text
    assert asked.reads.item_text


def test_what_was_asked_is_no_part_of_a_recipe() -> None:
    asked, fresh = recipe("movies"), recipe("movies")
    assert asked.reads.graph_signals == ("graph",)
    assert asked == fresh
    assert asked.plain() == fresh.plain()
    assert asked.changed({}) == fresh

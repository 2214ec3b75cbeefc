"""Licences of a run's parts: what is known is said with its source, what limits it is named, the rest is unknown."""

from __future__ import annotations

from typing import Any

import pytest

from llmrec_peft.artifact.licences import licences_of, limits_of
from llmrec_peft.backbone.aliases.minilm import MINILM
from llmrec_peft.backbone.aliases.smollm2 import SMOLLM2
from llmrec_peft.recipe import Recipe, load_recipe

MOVIELENS = "Research use; no redistribution without permission;\nno commercial use without permission."
RECIPE = load_recipe("movies", changes={"data.path": "ml"})


def metrics(licence: str = MOVIELENS, weights: str = MINILM.weights["model.safetensors"]) -> dict[str, Any]:
    return {"base": {"weights_sha256": weights}, "data": {"licence": licence}}


def own_data() -> Recipe:
    changes = {"data.reader": "frames", "data.path": None, "data.options": None}
    return RECIPE.changed(changes)


def test_known_weights_have_the_licence_of_their_alias() -> None:
    assert SMOLLM2.gguf is not None
    for digest in (MINILM.weights["model.safetensors"], SMOLLM2.gguf.converted_sha256):
        base = licences_of(RECIPE, metrics(weights=digest)).base
        assert (base.terms, base.free) == ("apache-2.0", True)
        assert base.source.startswith("card of ")


def test_unknown_weights_are_said_to_be_unknown() -> None:
    found = licences_of(RECIPE, metrics("CC0 1.0", "0" * 64))
    assert (found.base.terms, found.identifier) == ("unknown", "unknown")
    assert any("base model is not recorded" in line for line in found.notes(items=True))


@pytest.mark.parametrize(
    ("told", "limits"),
    [
        ("mit", ()),
        ("cc-by-nc-4.0", ("no commercial use",)),
        ("llama3.2", ("terms of its own: llama3.2",)),
        ("unknown", ()),
    ],
)
def test_a_licence_that_the_hub_names_is_taken(told: str, limits: tuple[str, ...]) -> None:
    found = licences_of(RECIPE, metrics("CC0 1.0"), base=told)
    assert (found.base.terms, found.base.limits) == (told, limits)
    assert found.identifier == ("apache-2.0" if told == "mit" else "unknown" if told == "unknown" else "other")


@pytest.mark.parametrize(
    ("terms", "limits"),
    [
        (MOVIELENS, ("research use", "no commercial use", "not to be passed on")),
        ("HetRec 2011 Last.fm: non-commercial use.", ("no commercial use",)),
        ("Its terms have not been verified here.", ()),
        ("", ()),
    ],
)
def test_limits_are_read_from_the_owners_words(terms: str, limits: tuple[str, ...]) -> None:
    assert limits_of(terms) == limits


def test_research_data_below_a_free_base_do_not_go_together() -> None:
    found = licences_of(RECIPE, metrics())
    assert found.identifier == "other"
    said = found.notes(items=True)
    assert any("do not go together with commercial use" in line for line in said)
    assert any("this folder holds titles and texts" in line for line in said)
    assert any("this folder holds none of their texts" in line for line in found.notes(items=False))


def test_made_up_data_and_a_free_base_are_free() -> None:
    demo = load_recipe("movies", changes={"data.path": "demo"})
    found = licences_of(demo, metrics("Made up by this package with a fixed seed; nobody's ratings."))
    assert (found.identifier, found.notes(items=True)) == ("apache-2.0", [])


def test_nothing_is_guessed_of_words_that_say_nothing() -> None:
    found = licences_of(RECIPE, metrics("Terms have not been verified here."))
    assert found.identifier == "unknown"
    assert any("cannot be told from their words" in line for line in found.notes(items=True))


def test_a_users_own_data_have_no_terms_that_are_known() -> None:
    found = licences_of(own_data(), metrics("your own data"))
    assert (found.data.terms, found.identifier) == ("unknown", "unknown")
    assert any("ask whoever published this model" in line for line in found.notes(items=True))

"""The section `tune`: what a search space may name, and what is said of a wrong one."""

from __future__ import annotations

import pytest

from llmrec_peft import registry
from llmrec_peft.errors import InputError
from llmrec_peft.recipe import DEMO, Recipe, load_recipe
from llmrec_peft.recipe.checked_space import require_space
from llmrec_peft.recipe.variants import untuned

EPOCHS = "tune={training.epochs: {low: 5, high: 60}}"


def test_own_values_are_found_as_the_space_writes_them() -> None:
    space = (
        "tune={adapter.rank: {choices: [4, 8]}, signals.graph: {choices: [false, {}]}, fusion.dim: {low: 8, high: 64}}"
    )
    assert require_space(load_recipe("movies", [space])) == {"adapter.rank": 8, "signals.graph": {}, "fusion.dim": 32}


def test_a_range_of_the_file_is_changed_by_dotted_fields() -> None:
    recipe = load_recipe("movies", [EPOCHS, "tune.training.epochs.high=50"])
    assert (recipe.tune["training.epochs"].low, recipe.tune["training.epochs"].high) == (5, 50)
    assert load_recipe("movies", ["tune={training: {epochs: {low: 5, high: 50}}}"]).tune == recipe.tune


def test_a_recipe_with_a_space_survives_yaml() -> None:
    recipe = load_recipe("movies")
    assert recipe.tune
    assert Recipe.from_plain(recipe.plain()) == recipe


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ("{training.epoch: {low: 5, high: 60}}", "did you mean 'training.epochs'"),
        ("{training.epochs: {low: 5}}", "tune.training.epochs: a range has low and high"),
        ("{training.epochs: {low: 60, high: 5}}", "tune.training.epochs: low 60 is not below high 5"),
        ("{training.epochs: {low: 5, high: 60, choices: [7]}}", "give either low and high, or choices"),
        ("{training.epochs: {low: 0, high: 60, log: true}}", "log needs a range above 0"),
        ("{training.epochs: {low: 0, high: 60}}", "tune.training.epochs: 0 is refused: training.epochs"),
        ("{training.epochs: {low: 5, high: 9}}", "the recipe's own value 40 is not among '5 to 9'"),
        ("{training.epochs: {low: 5, high: 60, lag: true}}", "unknown field 'tune.training.epochs.lag'"),
        ("{training.epochs: 40}", "tune.training.epochs: expected a block of options"),
        ("{adapter.rank: {choices: [8, 8]}}", "each choice once"),
        ("{adapter.rank: {choices: [4, 16]}}", "the recipe's own value 8 is not among '4, 16'"),
        ("{adapter.rank: {choices: [8, many]}}", "tune.adapter.rank: 'many' is refused"),
        ("{data.split: {choices: [official, random]}}", "tune.data.split: this field is not searched"),
        ("{seed: {low: 1, high: 9}}", "tune.seed: this field is not searched"),
        ("{training.validate_on: {choices: [null, 100]}}", "tune.training.validate_on: this field is not searched"),
        ("[training.epochs]", "tune: expected a mapping of dotted fields"),
    ],
)
def test_a_wrong_space_is_refused(space: str, said: str) -> None:
    with pytest.raises(InputError, match="tune") as refusal:
        require_space(load_recipe("movies", [f"tune={space}"]))
    assert said in str(refusal.value)


def test_without_a_space_an_example_of_one_is_shown() -> None:
    with pytest.raises(InputError, match="no search space: name the fields to vary, such as --set") as refusal:
        require_space(load_recipe("movies", ["tune={}"]))
    shown = str(refusal.value).partition("--set '")[2].rstrip("'")
    assert require_space(load_recipe("movies", [shown])) == {"training.adapter.learning_rate": 0.001}


@pytest.mark.parametrize("name", sorted(registry.plugins("recipes")))
@pytest.mark.parametrize("path", [None, DEMO])
def test_spaces_of_registered_recipes_hold_their_own_values(name: str, path: str | None) -> None:
    recipe = load_recipe(name, changes={"data.path": path})
    if recipe.tune:
        require_space(recipe)


def test_fields_of_an_adapter_or_a_signal_that_is_not_in_use_are_left_out() -> None:
    space = "tune={adapter.rank: {choices: [4, 8]}, signals.graph.dropout: {low: 0.0, high: 0.5},"
    space += " fusion.dim: {choices: [8, 32]}}"
    recipe = load_recipe("movies", [space])
    assert list(require_space(recipe)) == ["adapter.rank", "signals.graph.dropout", "fusion.dim"]
    assert list(require_space(untuned(recipe))) == ["fusion.dim"]
    assert list(require_space(recipe.changed({"signals.graph": False}))) == ["adapter.rank", "fusion.dim"]
    text_alone = Recipe.from_plain({**recipe.plain(), "signals": {"text": {}}})
    assert list(require_space(text_alone)) == ["adapter.rank", "fusion.dim"]
    with pytest.raises(InputError, match="there is nothing to vary"):
        require_space(load_recipe("movies", ["adapter.method=none", "tune={adapter.rank: {choices: [4, 8]}}"]))

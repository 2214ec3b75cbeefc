"""What answers: folds, a blend chosen on validation, or the tuned model, as the data's size and the recipe say."""

from __future__ import annotations

from typing import Any

import pytest

from llmrec_peft.errors import InputError
from llmrec_peft.experiment import what_answers
from llmrec_peft.experiment.prepare import prepare
from llmrec_peft.experiment.what_answers import decider_of
from llmrec_peft.recipe import Recipe, load_recipe

AUTO = {"training.choice": "auto"}


def of_demo(changes: dict[str, Any]) -> Recipe:
    return load_recipe("ecommerce", changes={"data.path": "demo", **changes})


@pytest.fixture
def much_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(what_answers, "ENOUGH_VALIDATION", 1)


def test_folds_decide_on_small_validation_parts_and_validation_itself_on_large_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prepared = prepare(of_demo(AUTO))
    assert decider_of(prepared) == "folds"
    assert decider_of(prepared, processes=2) == "pair blend"
    monkeypatch.setattr(what_answers, "ENOUGH_VALIDATION", len(prepared.valid))
    assert decider_of(prepared) == "pair blend"
    assert decider_of(prepare(of_demo({"training.choice": "folds"}))) == "folds"


@pytest.mark.usefixtures("much_validation")
@pytest.mark.parametrize("changes", [{"training.choice": "validation"}, {**AUTO, "evaluation.blend": False}])
def test_the_tuned_model_answers_alone_where_the_recipe_says_so(changes: dict[str, Any]) -> None:
    assert decider_of(prepare(of_demo(changes))) == "nobody"


@pytest.mark.usefixtures("much_validation")
@pytest.mark.parametrize(
    ("changes", "why", "decider"),
    [
        ({"heads": ["rating", {"name": "click", "threshold": 4}]}, "several heads", "nobody"),
        ({"head": {"name": "ranking"}}, "rankings", "ranking blend"),
        ({"fusion.kind": "late"}, "late fusion", "nobody"),
        ({"data.protocol": "prequential"}, "prequential", "nobody"),
        ({"data.protocol": "prequential", "head": {"name": "ranking"}}, "rankings", "ranking blend"),
    ],
)
def test_folds_that_are_not_possible_are_refused_if_asked_for_and_else_others_decide(
    changes: dict[str, Any], why: str, decider: str
) -> None:
    assert decider_of(prepare(of_demo({**AUTO, **changes}))) == decider
    with pytest.raises(InputError, match=why):
        decider_of(prepare(of_demo({"training.choice": "folds", **changes})))


def test_folds_of_several_processes_are_refused() -> None:
    with pytest.raises(InputError, match="several processes"):
        decider_of(prepare(of_demo({"training.choice": "folds"})), processes=2)

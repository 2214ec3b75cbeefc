"""Integrated gradients: words add up to what the text does, for every way that an adapter can be inside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmrec_peft.explanation.explainer import Explainer
from llmrec_peft.explanation.gradients import word_gradients

Make = Callable[..., Explainer]


@pytest.fixture(scope="module")
def exact(trained: Callable[..., Path], explainer_of: Make) -> Make:
    """Explainers of runs in fp32, with the words by integrated gradients."""

    def make(**adapter: Any) -> Explainer:
        run = trained(
            "movies",
            training__epochs=1,
            evaluation__ablations=[],
            backbone__precision="fp32",
            adapter=adapter,
        )
        return explainer_of(run, words="integrated-gradients")

    return make


@pytest.mark.parametrize(
    "adapter",
    [{"method": "lora"}, {"method": "prompt", "num_virtual_tokens": 3}, {"method": "prefix", "num_virtual_tokens": 3}],
    ids=lambda adapter: adapter["method"],
)
def test_words_add_up_to_the_text_against_one_without_words(adapter: dict[str, Any], exact: Make) -> None:
    explainer = exact(**adapter)
    for pair in explainer.sample(3):
        found = word_gradients(explainer.what_if, pair, steps=64)
        assert len(found.words) == len(explainer.what_if.worded(pair.row).words) > 3
        assert abs(found.whole) > 1e-4
        assert abs(found.gap) < 1e-3 + 0.02 * abs(found.whole)


def test_more_steps_leave_less_of_a_gap(exact: Make) -> None:
    explainer = exact(method="lora")
    (pair,) = explainer.sample(1)
    gaps = [abs(word_gradients(explainer.what_if, pair, steps).gap) for steps in (1, 64)]
    assert gaps[1] < gaps[0]


def test_evidence_says_how_it_was_found_and_how_far_it_adds_up(exact: Make) -> None:
    explainer = exact(method="lora")
    (pair,) = explainer.sample(1)
    recommender = explainer.what_if.recommender
    found = explainer.explain(recommender.vocabulary.users[pair.user - 1], recommender.catalogue.ids[pair.row])
    assert {one.method for one in found.of("word")} == {"integrated gradients"}
    assert any("words add up to" in line for line in found.notes)
    outcomes = explainer.deletions([pair], "word")
    assert outcomes[0].top > min(outcomes[0].random)

"""Evidence against the truth: in made-up films it is known which words decide who likes a film."""

from __future__ import annotations

import pytest
from llmrec_recipes.movies.demo import MOOD, PACE

from llmrec_peft.artifact.seen import read_learned
from llmrec_peft.explanation.explainer import Explainer
from llmrec_peft.recipe import load_recipe
from llmrec_peft.run.recommender import Recommender
from llmrec_peft.workflows.train import train

pytestmark = pytest.mark.trains

DECIDING = {word for words in (*MOOD.values(), *PACE.values()) for word in words}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Explainer:
    """The demo as a person trains it, on the real encoder, without what explanations do not need."""
    run = tmp_path_factory.mktemp("demo") / "run"
    changes = {"data.path": "demo", "evaluation": {"ablations": [], "bootstrap": 0, "collaborative_only": False}}
    train(load_recipe("movies", changes=changes), run, show=False)
    return Explainer(Recommender.from_pretrained(run), read_learned(run / "seen.safetensors"))


@pytest.mark.slow
def test_weightiest_words_are_those_that_decide(demo: Explainer) -> None:
    pairs = demo.sample(60)
    found = told = 0.0
    by_chance = 0.0
    for words in demo.weighed(pairs, "word"):
        first = sorted(words, key=lambda one: -abs(one.contribution))[:2]
        found += sum(one.piece.what.lower() in DECIDING for one in first)
        by_chance += 2 * sum(one.piece.what.lower() in DECIDING for one in words) / len(words)
        told += len(first)
    assert found / told > 0.7  # measured: 0.82 of 200
    assert by_chance / told < 0.2  # measured: 0.12


@pytest.mark.slow
def test_every_kind_of_evidence_passes_the_deletion_test(demo: Explainer) -> None:
    found = demo.faithfulness(demo.sample(60))
    assert set(found) == {"signal", "history", "word", "path"}
    for kind, figures in found.items():
        assert figures.passes, kind
    assert found["word"].difference > 0.5

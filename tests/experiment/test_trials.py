"""Trials: what a changed recipe has prepared again, and that a ranking and its signals can be searched."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from llmrec_peft.errors import InputError
from llmrec_peft.experiment import trials as room
from llmrec_peft.experiment.experiment import open_run
from llmrec_peft.experiment.prepare import read_source
from llmrec_peft.experiment.trials import Trials
from llmrec_peft.progress import SILENT
from llmrec_peft.recipe import load_recipe

pytestmark = pytest.mark.trains


@pytest.fixture
def ranking(tiny_backbone: Path, tmp_path: Path) -> Trials:
    quick = [f"backbone.name={tiny_backbone}", "fusion.dim=32", "training.epochs=1", "backbone.precision=fp32"]
    recipe = load_recipe("amazon-scientific", quick, {"data.path": "demo"})
    dataset = read_source(recipe.data)
    return Trials(open_run(recipe, tmp_path, SILENT, dataset), dataset)


def figure(trials: Trials, changes: Mapping[str, Any]) -> float:
    figures: list[float] = []
    result = trials.run(changes, "trial", figures.append)
    assert len(figures) == result.epochs == 1
    return result.figure


def test_options_of_signals_are_tried_without_preparing_anything_again(
    ranking: Trials, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    prepare, texts = room.prepare, room.Texts
    monkeypatch.setattr(room, "prepare", lambda *given: made.append("prepared") or prepare(*given))
    monkeypatch.setattr(room, "Texts", lambda *given: made.append("texts") or texts(*given))
    own = figure(ranking, {})
    assert ranking.metric == "ndcg@10"
    assert 0.0 < own < 1.0
    assert figure(ranking, {"signals.history.length": 1}) != own
    assert figure(ranking, {}) == own
    assert made == ["texts"]
    figure(ranking, {"signals.popularity": False})
    assert made == ["texts", "prepared"]
    figure(ranking, {"views.item.max_length": 8})
    assert made == ["texts", "prepared", "prepared", "texts"]


def test_a_recipe_that_is_not_valid_is_an_error_and_the_next_one_runs(ranking: Trials) -> None:
    with pytest.raises(InputError, match="history"):
        figure(ranking, {"signals.history.length": 0})
    assert figure(ranking, {}) > 0.0


def test_nothing_is_left_of_a_trial(ranking: Trials, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    figure(ranking, {})
    assert sorted(tmp_path.rglob("*")) == before

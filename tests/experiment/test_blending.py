"""Blending: the baseline's share is the one that validation likes best, and test has no say in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_squared_error, ndcg_score, roc_auc_score

from llmrec_peft.data.histories import Histories
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.evaluation.measures import measure_of
from llmrec_peft.evaluation.outcomes import CHUNK, rank_targets
from llmrec_peft.experiment.blending import WEIGHTS, blend_pairs, blend_rankings, choose_pair_share, choose_share

SEEDS = (0, 1)
METRIC = {"rating": "rmse", "click": "auc"}
CATALOGUE = 31
"""Rows of an item table: thirty items and the unknown one."""
EXAMPLES = CHUNK + 40


def plain(label: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return label


def pairs(task: str, rng: np.random.Generator, count: int = 400) -> Interactions:
    """Labels of pairs: stars or clicks, both classes among them."""
    label = rng.integers(1, 6, count) if task == "rating" else rng.permutation(np.arange(count) % 2)
    names = rng.integers(1, 20, (2, count))
    return Interactions(names[0], names[1], label.astype(np.float32), np.arange(count))


def guess(task: str, label: np.ndarray[Any, Any], noise: float, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """Scores of a model that errs so much: stars, or probabilities."""
    if task == "rating":
        return np.asarray(label + rng.normal(0.0, noise, len(label)), np.float32)
    odds = 2.0 * (label - 0.5) / noise + rng.normal(size=len(label))
    return np.asarray(1.0 / (1.0 + np.exp(-odds)), np.float32)


class Blended(NamedTuple):
    """A blend with what validation chose."""

    share: float
    valid: Any
    test: Any


def blended(
    task: str, valid: Interactions, model: tuple[Any, Any], line: tuple[Any, Any], metric: str | None = None
) -> Blended:
    measure = measure_of(task, plain, np.zeros(1, np.int64))
    share = choose_pair_share(task, model[0], line[0], valid, measure, metric or METRIC[task])
    return Blended(share, *(blend_pairs(task, own, other, share) for own, other in zip(model, line, strict=True)))


def by_hand(task: str, own: Any, line: Any, share: float) -> Any:
    """A blend by its definition: stars as they are, probabilities by their log-odds."""
    own, line = np.asarray(own, np.float64), np.asarray(line, np.float64)
    if task == "rating":
        return own + share * (line - own)
    odds = (own / (1 - own)) ** (1 - share) * (line / (1 - line)) ** share
    return odds / (1 + odds)


def figure(task: str, label: Any, scores: Any) -> float:
    """More is better."""
    return -mean_squared_error(label, scores) if task == "rating" else roc_auc_score(label, scores)


@pytest.mark.parametrize("task", ["rating", "click"])
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("noises", [(0.8, 1.2), (1.5, 0.9), (1.0, 1.0)], ids=str)
def test_share_is_that_of_an_independent_grid_search_on_validation(
    noises: tuple[float, float], seed: int, task: str
) -> None:
    rng = np.random.default_rng(seed)
    valid, test = pairs(task, rng), pairs(task, rng)
    model, line = (tuple(guess(task, part.label, noise, rng) for part in (valid, test)) for noise in noises)
    found = blended(task, valid, model, line)
    figures = [figure(task, valid.label, by_hand(task, model[0], line[0], share)) for share in WEIGHTS]
    assert found.share == WEIGHTS[int(np.argmax(figures))]
    assert 0.0 < found.share < 1.0, "each knows something that the other does not"
    for part, outcome in enumerate((found.valid, found.test)):
        np.testing.assert_allclose(outcome, by_hand(task, model[part], line[part], found.share), atol=2e-6)
    alone = max(figure(task, test.label, one[1]) for one in (model, line))
    assert figure(task, test.label, found.test) > alone


@pytest.mark.parametrize("task", ["rating", "click"])
def test_labels_and_scores_of_test_do_not_choose_the_share(task: str) -> None:
    rng = np.random.default_rng(3)
    valid, test = pairs(task, rng), pairs(task, rng)
    model, line = (tuple(guess(task, part.label, noise, rng) for part in (valid, test)) for noise in (0.9, 1.3))
    turned = 6 - test.label if task == "rating" else 1 - test.label
    worse = guess(task, turned, 0.5, rng)
    assert blended(task, valid, (model[0], worse), line).share == blended(task, valid, model, line).share


@pytest.mark.parametrize("task", ["rating", "click"])
def test_blend_of_the_line_with_itself_is_the_line(task: str) -> None:
    rng = np.random.default_rng(4)
    valid, test = pairs(task, rng), pairs(task, rng)
    line = (guess(task, valid.label, 1.0, rng), guess(task, test.label, 1.0, rng))
    found = blended(task, valid, line, line)
    np.testing.assert_allclose(found.valid, line[0], rtol=1e-5)
    np.testing.assert_allclose(found.test, line[1], rtol=1e-5)


@pytest.mark.parametrize("task", ["rating", "click"])
@pytest.mark.parametrize("seed", SEEDS)
def test_model_that_knows_nothing_leaves_the_line_nearly_alone(seed: int, task: str) -> None:
    rng = np.random.default_rng(seed)
    valid, test = pairs(task, rng, 2000), pairs(task, rng, 2000)
    line = (guess(task, valid.label, 0.6, rng), guess(task, test.label, 0.6, rng))
    noise = tuple(guess(task, rng.permutation(part.label), 0.6, rng) for part in (valid, test))
    assert blended(task, valid, noise, line).share >= 0.9
    assert blended(task, valid, line, noise).share <= 0.1, "and a useless line is left out"


@pytest.mark.parametrize("task", ["rating", "click"])
def test_model_that_says_the_opposite_never_has_the_greater_part(task: str) -> None:
    rng = np.random.default_rng(6)
    valid, test = pairs(task, rng), pairs(task, rng)
    line = (guess(task, valid.label, 0.8, rng), guess(task, test.label, 0.8, rng))
    against = tuple(6 - one if task == "rating" else 1 - one for one in line)
    found = blended(task, valid, against, line)
    assert found.share > 0.5
    assert figure(task, valid.label, found.valid) >= figure(task, valid.label, line[0]) - 1e-9


def test_certain_probabilities_do_not_drown_the_other_side() -> None:
    rng = np.random.default_rng(7)
    valid = pairs("click", rng)
    certain = np.where(rng.random(len(valid)) < 0.7, valid.label, 1 - valid.label).astype(np.float32)
    line = guess("click", valid.label, 1.0, rng)
    found = blended("click", valid, (certain, certain), (line, line))
    assert np.isfinite(found.test).all()
    best = max(roc_auc_score(valid.label, one) for one in (certain, line))
    assert roc_auc_score(valid.label, found.valid) > best


def test_metric_chooses_which_way_is_better() -> None:
    rng = np.random.default_rng(8)
    valid = pairs("click", rng)
    model, line = guess("click", valid.label, 0.8, rng), guess("click", valid.label, 0.8, rng)
    measure = measure_of("click", plain, np.zeros(1, np.int64))
    for metric in ("auc", "log_loss"):
        found = blended("click", valid, (model, model), (line, line), metric)
        figures = [measure.report(by_hand("click", model, line, share), valid)[metric] for share in WEIGHTS]
        assert found.share == WEIGHTS[int(np.argmax(figures) if metric == "auc" else np.argmin(figures))]


class Ranking:
    """Examples, and scores of the whole catalogue that know their items more or less."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        item = self._rng.integers(1, CATALOGUE, EXAMPLES)
        at = np.arange(EXAMPLES)
        other = 1 + item % (CATALOGUE - 1)
        history = Histories(other.astype(np.int64), np.ones(EXAMPLES, np.float32), at, at + 1)
        self.part = Interactions(at + 1, item, np.ones(EXAMPLES, np.float32), at, history)

    def scores(self, knowing: float, spread: float = 1.0) -> torch.Tensor:
        """Noise, with the examples' items raised by so many deviations."""
        scores = self._rng.normal(size=(EXAMPLES, CATALOGUE - 1))
        scores[np.arange(EXAMPLES), self.part.item - 1] += knowing
        return torch.from_numpy(spread * scores)

    def share(self, model: torch.Tensor, line: torch.Tensor, own_items: bool = True, sample: int = 4000) -> float:
        measure = measure_of("ranking", plain, np.ones(CATALOGUE, np.int64))
        sides = (rows_of(model), rows_of(line))
        return choose_share(self.part, *sides, CATALOGUE, own_items, measure, "ndcg@10", sample)


def rows_of(scores: torch.Tensor) -> Callable[[Any], torch.Tensor]:
    return lambda rows: scores[torch.from_numpy(rows)]


def mixed_by_hand(model: torch.Tensor, line: torch.Tensor, share: float) -> np.ndarray[Any, Any]:
    sides = [side.numpy() / side.numpy().std(axis=1, ddof=1, keepdims=True) for side in (model, line)]
    return np.asarray((1.0 - share) * sides[0] + share * sides[1])


def ndcg(scores: np.ndarray[Any, Any], item: np.ndarray[Any, Any]) -> float:
    truth = np.zeros_like(scores)
    truth[np.arange(len(scores)), item - 1] = 1.0
    return float(ndcg_score(truth, scores, k=10))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("spread", [0.01, 1.0, 100.0])
def test_share_in_a_ranking_is_that_of_a_grid_search_whatever_the_scores_are_counted_in(
    spread: float, seed: int
) -> None:
    ranking = Ranking(seed)
    model, line = ranking.scores(1.5, spread), ranking.scores(1.0)
    figures = [ndcg(mixed_by_hand(model, line, share), ranking.part.item) for share in WEIGHTS]
    share = ranking.share(model, line)
    assert share == WEIGHTS[int(np.argmax(figures))]
    assert 0.0 < share < 1.0
    mixed = blend_rankings(rows_of(model), rows_of(line), share)
    ranks = rank_targets(ranking.part, mixed, CATALOGUE)
    by_hand_scores = mixed_by_hand(model, line, share)
    own = np.take_along_axis(by_hand_scores, ranking.part.item[:, None] - 1, axis=1)
    assert np.array_equal(ranks.rank, 1 + (by_hand_scores > own).sum(axis=1))


def test_ranking_blended_with_itself_is_itself_and_noise_gets_nothing() -> None:
    ranking = Ranking(5)
    line, noise = ranking.scores(1.5), ranking.scores(0.0)
    expected = rank_targets(ranking.part, rows_of(line), CATALOGUE)
    for share in (0.0, 0.3, 1.0):
        found = rank_targets(ranking.part, blend_rankings(rows_of(line), rows_of(line), share), CATALOGUE)
        assert np.array_equal(found.rank, expected.rank)
    assert ranking.share(line, line) == 0.0
    assert ranking.share(noise, line) >= 0.9
    assert ranking.share(line, noise) <= 0.1
    assert ranking.share(torch.full_like(line, 3.0), line) == 1.0, "a model that likes all items alike says nothing"


def test_share_is_chosen_by_the_protocol_under_which_test_is_ranked() -> None:
    """The model raises what stands in the history, which only then is in the way when it is ranked too."""
    ranking = Ranking(6)
    history = ranking.part.history
    assert history is not None
    model, line = ranking.scores(2.5), ranking.scores(1.0)
    model[torch.arange(EXAMPLES), torch.from_numpy(history.item) - 1] += 1000.0
    model[torch.arange(EXAMPLES), torch.from_numpy(ranking.part.item) - 1] += 10.0
    hidden = [mixed_by_hand(model, line, share) for share in WEIGHTS]
    for scores in hidden:
        scores[np.arange(EXAMPLES), history.item - 1] = -np.inf
    finite = [np.where(np.isinf(scores), -1e9, scores) for scores in hidden]
    figures = [ndcg(scores, ranking.part.item) for scores in finite]
    assert ranking.share(model, line, own_items=False) == WEIGHTS[int(np.argmax(figures))]
    mixed = rank_targets(ranking.part, blend_rankings(rows_of(model), rows_of(line), 0.0), CATALOGUE, own_items=True)
    assert mixed.rank.min() > 1.0


def test_share_in_a_ranking_is_chosen_on_a_sample_of_many_examples() -> None:
    ranking = Ranking(7)
    model, line = ranking.scores(1.2), ranking.scores(1.2)
    asked: list[int] = []

    def counted(rows: Any) -> torch.Tensor:
        asked.extend(rows.tolist())
        return model[torch.from_numpy(rows)]

    measure = measure_of("ranking", plain, np.ones(CATALOGUE, np.int64))
    share = choose_share(ranking.part, counted, rows_of(line), CATALOGUE, True, measure, "ndcg@10", sample=50)
    assert len(asked) == len(set(asked)) == 50
    figures = [ndcg(mixed_by_hand(model, line, one)[asked], ranking.part.item[asked]) for one in WEIGHTS]
    assert share == WEIGHTS[int(np.argmax(figures))]

"""Deletion test: it passes on what the model reads, and fails on evidence that is shuffled or turned around."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from llmrec_peft.explanation.deletion import delete, summarized
from llmrec_peft.explanation.evidence import Weighed
from llmrec_peft.explanation.explainer import Explainer, plain_faithfulness
from llmrec_peft.explanation.pieces import Kind, Pair, Piece, Variant

PAIRS = 40


def weighed_of(values: Sequence[float], kind: Kind = "history") -> list[Weighed]:
    return [Weighed(Piece(kind, at + 1), value) for at, value in enumerate(values)]


def additive(values: Sequence[float]):  # type: ignore[no-untyped-def]
    """Scores of a model that is a sum over pieces."""

    def score(variants: Sequence[Variant]) -> np.ndarray:
        gone = [sum(values[int(piece.key) - 1] for piece in variant.without) for variant in variants]
        return 10.0 - np.array(gone)

    return score


@pytest.mark.trains
@pytest.mark.parametrize(("run", "kind"), [("films", "history"), ("films", "word"), ("purchases", "history")])
def test_evidence_passes_and_shuffled_or_inverted_evidence_does_not(
    run: str, kind: Kind, request: pytest.FixtureRequest
) -> None:
    explainer: Explainer = request.getfixturevalue(run)
    pairs = explainer.sample(PAIRS)
    weighed = explainer.weighed(pairs, kind)
    rng = np.random.default_rng(0)

    def found(evidence: list[list[Weighed]]):  # type: ignore[no-untyped-def]
        outcomes = delete(pairs, evidence, lambda some: explainer.what_if.scores(some, kind == "word"), 3, 10, 0)
        return summarized(kind, outcomes, 10, len(pairs))

    def with_values(own: list[Weighed], values: Sequence[float]) -> list[Weighed]:
        return [Weighed(one.piece, float(value)) for one, value in zip(own, values, strict=True)]

    honest = found(weighed)
    assert honest is not None
    assert honest.passes
    assert honest.low <= honest.difference <= honest.high
    assert honest.top > honest.random
    turned = found([with_values(own, [-one.contribution for one in own]) for own in weighed])
    assert turned is not None
    assert not turned.passes
    assert turned.high < 0.0
    shuffled = found([with_values(own, rng.permutation([one.contribution for one in own])) for own in weighed])
    assert shuffled is not None
    assert not shuffled.passes
    assert shuffled.difference < honest.difference / 2


def test_first_pieces_go_at_once_and_others_are_drawn_among_the_rest() -> None:
    values = [0.1, 0.5, -0.2, 0.4, 0.3, -0.1, 0.2, 0.05]
    asked: list[Variant] = []

    def score(variants: Sequence[Variant]) -> np.ndarray:
        asked.extend(variants)
        return additive(values)(variants)

    pair = Pair(1, 0)
    (found,) = delete([pair], [weighed_of(values)], score, 3, 25, 1)
    assert asked[0] == Variant(pair)
    assert asked[1].keys("history") == {2, 4, 5}
    assert found.top == pytest.approx(0.5 + 0.4 + 0.3)
    assert len(found.random) == 25
    for variant in asked[2:]:
        assert len(variant.without) == 3
        assert not variant.keys("history") & {2, 4, 5}
    assert len({variant.keys("history") for variant in asked[2:]}) > 5
    again = delete([pair], [weighed_of(values)], additive(values), 3, 25, 1)
    assert again == [found]


def test_joint_removal_is_scored_and_not_added_up() -> None:
    """Two pieces that each can stand in for the other lose nothing alone and everything together."""

    def score(variants: Sequence[Variant]) -> np.ndarray:
        return np.array([0.0 if {1, 2} <= variant.keys("history") else 1.0 for variant in variants])

    pieces = weighed_of([0.3, 0.2, 0.01, 0.005])
    (found,) = delete([Pair(1, 0)], [pieces], score, 2, 4, 0)
    assert found.top == 1.0
    assert found.random == (0.0,) * 4


@pytest.mark.parametrize(
    ("values", "why"),
    [([0.4], "one piece"), ([-0.1, -0.2, -0.3], "none above zero"), ([0.5, 0.0, 0.0, 0.0], "one that is read")],
)
def test_pairs_without_enough_pieces_are_left_out(values: list[float], why: str) -> None:
    good = [0.2, 0.1, 0.05, -0.1]
    outcomes = delete([Pair(1, 0), Pair(2, 0)], [weighed_of(values), weighed_of(good)], additive(good), 3, 5, 0)
    assert [outcome.pair.user for outcome in outcomes] == [2], why
    found = summarized("history", outcomes, 5, 2)
    assert found is not None
    assert (found.pairs, found.left_out, found.k) == (1, 1, 2)
    assert summarized("history", [], 5, 2) is None


def test_interval_widens_with_disagreement_and_decides() -> None:
    rng = np.random.default_rng(0)
    pairs = [Pair(user, 0) for user in range(1, 61)]
    evidence = [weighed_of([0.4, 0.1, 0.05, -0.1]) for _ in pairs]
    noise = {pair.user: rng.normal(0.0, 5.0) for pair in pairs}

    def score(variants: Sequence[Variant]) -> np.ndarray:
        return np.array([-noise[variant.pair.user] * (1 in variant.keys("history")) for variant in variants])

    clear = summarized("history", delete(pairs, evidence, additive([0.4, 0.1, 0.05, -0.1]), 1, 5, 0), 5, 60)
    blurred = summarized("history", delete(pairs, evidence, score, 1, 5, 0), 5, 60)
    assert clear is not None
    assert blurred is not None
    assert clear.passes
    assert not blurred.passes
    assert blurred.high - blurred.low > 10 * (clear.high - clear.low)


def test_all_kinds_are_tested_and_reported(films: Explainer) -> None:
    done: list[int] = []
    found = films.faithfulness(films.sample(30), k=3, draws=4, done=done.append)
    plain = plain_faithfulness(found)
    assert set(plain) == {"signal", "history", "word", "path", "passes"}
    assert sum(done) == 30 * 4
    for kind in ("signal", "history", "word", "path"):
        figures = plain[kind]
        assert set(figures) == {
            *("k", "draws", "pairs", "left_out", "top_drop", "random_drop", "difference", "low", "high", "passes")
        }
        assert figures["difference"] == pytest.approx(figures["top_drop"] - figures["random_drop"], abs=1e-5)
        assert figures["pairs"] + figures["left_out"] == 30
    assert plain["passes"] == all(plain[kind]["passes"] for kind in ("signal", "history", "word", "path"))
    assert plain_faithfulness({}) == {"passes": None}

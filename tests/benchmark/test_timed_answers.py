"""Answers: what a run is asked for in each kind of call, and which kinds are left out since they take too long."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest

from llmrec_peft.benchmark import answers
from llmrec_peft.benchmark.answers import Answers
from llmrec_peft.benchmark.sections import Timing

TEXTS = [f"text {number}" for number in range(8)]
KINDS = ("score_1", "score_32", "new_item_1", "new_item_32", "recommend_1", "recommend_32")


class StandIn:
    """Stands in for a recommender: it notes its calls, and each moves a clock by so many seconds a pair or text."""

    def __init__(self, users: int, items: int, reads_prompts: bool = False, pair_seconds: float = 0.0) -> None:
        self.vocabulary = SimpleNamespace(
            users=[f"user {number}" for number in range(users)], items=[f"item {number}" for number in range(items)]
        )
        self.tenant = SimpleNamespace(recipe=SimpleNamespace(reads=SimpleNamespace(prompt=reads_prompts)))
        self.catalogue = SimpleNamespace(vectors=object())
        self.now, self.calls = 0.0, list[tuple[str, Any]]()
        self._pair_seconds = pair_seconds

    def score(self, users: list[str], items: list[str]) -> None:
        assert len(users) == len(items)
        self.calls.append(("score", list(zip(users, items, strict=True))))
        self.now += self._pair_seconds * len(users)

    def encode(self, texts: list[str]) -> None:
        self.calls.append(("encode", texts))

    def recommend(self, users: list[str], k: int) -> None:
        self.calls.append(("recommend", users))


def asked(stand_in: StandIn, timing: Timing, monkeypatch: pytest.MonkeyPatch) -> Answers:
    monkeypatch.setattr(answers, "time", SimpleNamespace(perf_counter=lambda: stand_in.now))
    recommender: Any = stand_in
    made = Answers(recommender, TEXTS, timing)
    made.once()
    return made


def test_each_kind_asks_one_or_32_and_never_the_same_twice_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = StandIn(users=100, items=50)
    made = asked(stand_in, Timing(candidates=20, calls=6), monkeypatch)
    stand_in.calls.clear()
    latency = made.latency_ms()
    assert set(latency) == {"candidates", *KINDS}
    assert latency["candidates"] == 20
    assert {latency[kind]["n"] for kind in KINDS} == {6}
    sizes = [(kind, len(some)) for kind, some in stand_in.calls]
    wanted = [("score", 20), ("score", 640), ("encode", 1), ("encode", 32), ("recommend", 1), ("recommend", 32)]
    assert list(dict.fromkeys(sizes)) == wanted
    pairs = [some for kind, some in stand_in.calls if kind == "score" and len(some) == 20]
    assert all(before != after for before, after in itertools.pairwise(pairs))
    assert {item for _, item in pairs[0]} == {item for _, item in pairs[1]}, "the same candidates for every user"
    assert len({user for user, _ in pairs[0]}) == 1


def test_fewer_users_and_items_than_asked_for_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = StandIn(users=3, items=4)
    latency = asked(stand_in, Timing(calls=2), monkeypatch).latency_ms()
    assert latency["candidates"] == 4
    assert all(latency[kind]["n"] == 2 for kind in KINDS)
    (largest,) = {len(some) for kind, some in stand_in.calls if kind == "recommend"} - {1}
    assert largest == 32, "users come several times"


def test_kinds_whose_call_would_take_too_long_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = {"users": 40, "items": 1000, "pair_seconds": 0.01}  # a second for 100 candidates, ten for the catalogue
    timing = Timing(candidates=100, calls=2, seconds=0.5)
    prompts = StandIn(**slow, reads_prompts=True)
    latency = asked(prompts, timing, monkeypatch).latency_ms()
    assert [kind for kind in KINDS if latency[kind] is None] == ["score_32", "recommend_1", "recommend_32"]
    assert not [some for kind, some in prompts.calls if kind == "recommend"], "it was never asked"
    vectors = StandIn(**slow)
    latency = asked(vectors, timing, monkeypatch).latency_ms()
    assert [kind for kind in KINDS if latency[kind] is None] == ["score_32"], "known items are no texts to read"


def test_a_run_without_vectors_of_texts_encodes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = StandIn(users=5, items=5)
    stand_in.catalogue.vectors = None
    latency = asked(stand_in, Timing(calls=2), monkeypatch).latency_ms()
    assert [kind for kind in KINDS if latency[kind] is None] == ["new_item_1", "new_item_32"]

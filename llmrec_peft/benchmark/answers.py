"""Answers: what a trained run is asked for again and again, one user or item a call and 32 of them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from llmrec_peft.benchmark.latency import finish_queue, percentiles, repeated

if TYPE_CHECKING:
    from llmrec_peft.benchmark.sections import Timing
    from llmrec_peft.run.recommender import Recommender

BATCHES = (1, 32)
"""Users or items a call."""
_BEST = 10
"""Items that are recommended to each user."""
_TURNS = 64
"""Different calls of a kind; they come one after the other, so that no two that follow each other ask the same."""
_PATIENCE = 10.0
"""A kind whose one call would take this many times `Timing.seconds` is left out."""


class Answers:
    """Calls of a loaded run by kind: ``score_1``, ``score_32``, ``new_item_1``, …, ``recommend_32``.

    ``score`` is one user, or 32 of them, against the same number of candidates each. ``new_item`` encodes texts that
    the run has not stored. ``recommend`` ranks the whole catalogue for each user.
    """

    def __init__(self, recommender: Recommender, texts: Sequence[str], timing: Timing) -> None:
        """Prepare the calls; nothing is called yet.

        Args:
            recommender: Trained run.
            texts: Texts that stand for those of new items, in turn.
            timing: Candidates of each user, calls and seconds.
        """
        self._timing = timing
        vocabulary = recommender.vocabulary
        self.candidates = min(timing.candidates, len(vocabulary.items))
        drawn = np.random.default_rng(0)
        users = _drawn(vocabulary.users, _TURNS, drawn)
        items = _drawn(vocabulary.items, self.candidates, drawn)
        self._of_catalogue = len(vocabulary.items) / self.candidates
        self._reads_prompts = recommender.tenant.recipe.reads.prompt
        self._calls: dict[str, Callable[[], object]] = {}
        self._expected: dict[str, float] = {}
        for size in BATCHES:
            self._calls[f"score_{size}"] = _in_turn(
                lambda some: recommender.score(*some),
                [
                    ([user for user in some for _ in items], items * len(some))
                    for some in itertools.islice(_groups(users, size), _TURNS)
                ],
            )
        if recommender.catalogue.vectors is not None:
            for size in BATCHES:
                groups = list(itertools.islice(_groups(texts, size), _TURNS))
                self._calls[f"new_item_{size}"] = _in_turn(recommender.encode, groups)
        for size in BATCHES:
            groups = list(itertools.islice(_groups(users, size), _TURNS))
            self._calls[f"recommend_{size}"] = _in_turn(lambda some: recommender.recommend(some, _BEST), groups)

    def once(self) -> None:
        """Ask for each kind, so that what is loaded and cached for answers is there; leave out what takes too long."""
        patience = _PATIENCE * self._timing.seconds
        for name, call in list(self._calls.items()):
            if self._foreseen(name) > patience:
                del self._calls[name]
                continue
            call()  # the first call of a kind also loads what it needs
            began = time.perf_counter()
            call()
            self._expected[name] = time.perf_counter() - began

    def latency_ms(self) -> dict[str, Any]:
        """Time each kind in a loop of its own, after a warm-up.

        Returns:
            `percentiles` by kind, None for a kind that was left out or that the run does not have; and how many
            ``candidates`` were scored for each user.
        """
        timed: dict[str, Any] = {"candidates": self.candidates}
        for kind, size in itertools.product(("score", "new_item", "recommend"), BATCHES):
            call = self._calls.get(f"{kind}_{size}")
            taken = None if call is None else repeated(call, self._timing.calls, self._timing.seconds)
            timed[f"{kind}_{size}"] = None if taken is None else percentiles(taken)
        return timed

    def _foreseen(self, name: str) -> float:
        """Return how many seconds a call might take, from calls before it; 0 where nothing is known."""
        kind, _, size = name.rpartition("_")
        if int(size) > 1:
            return int(size) * self._expected.get(f"{kind}_1", 0.0 if f"{kind}_1" in self._calls else float("inf"))
        if kind == "recommend" and self._reads_prompts:  # each item of the catalogue is a text
            return self._expected.get("score_1", 0.0) * self._of_catalogue
        return 0.0


def throughput(latency_ms: dict[str, Any]) -> dict[str, float | None]:
    """Return users ranked a second (``users_per_s``) and new items encoded a second (``items_per_s``), 32 a call.

    >>> throughput({"recommend_32": {"p50": 64.0}, "new_item_32": None})
    {'users_per_s': 500.0, 'items_per_s': None}
    """
    size = BATCHES[-1]

    def a_second(kind: str) -> float | None:
        timed = latency_ms[f"{kind}_{size}"]
        return None if timed is None else round(1000.0 * size / timed["p50"], 1)

    return {"users_per_s": a_second("recommend"), "items_per_s": a_second("new_item")}


def _groups(values: Sequence[str], size: int) -> Iterator[list[str]]:
    """Yield groups of some values, round and round."""
    rounds = itertools.cycle(values)
    while True:
        yield list(itertools.islice(rounds, size))


def _in_turn(call: Callable[[Any], object], asked: Sequence[Any]) -> Callable[[], None]:
    """Return a function that calls with the next of several arguments, round and round, and waits for the result."""
    rounds = itertools.cycle(asked)

    def next_call() -> None:
        call(next(rounds))
        finish_queue()

    return next_call


def _drawn(ids: Sequence[str], most: int, draw: np.random.Generator) -> list[str]:
    """Return some ids, or all of them if they are few, in random order."""
    return [ids[at] for at in draw.permutation(len(ids))[:most].tolist()]

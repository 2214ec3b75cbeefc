"""Measuring a peer: settings chosen on validation, then test once for each seed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from llmrec_peft.evaluation.measures import best_of
from llmrec_peft.evaluation.outcomes import Outcome
from peers.contract import Peer, Settings
from peers.tasks import Arena

OWN = "lists what was met"
"""Setting of all peers where the recipe ranks a user's own items, too: whether the peer does; libraries call it
`filter_already_liked_items` or the like."""


@dataclass(frozen=True)
class Chosen:
    """The settings that are best on validation.

    Attributes:
        settings: The peer's own.
        own_items: Whether it lists what a user has met; None where the recipe leaves that out.
        figure: The primary metric on validation.
        tried: How many settings there were.
        seconds: Seconds that all took.
    """

    settings: Settings
    own_items: bool | None
    figure: float
    tried: int
    seconds: float

    def plain(self) -> dict[str, Any]:
        """Return what was chosen as plain values."""
        return {
            "settings": {**self.settings, **({} if self.own_items is None else {OWN: self.own_items})},
            "validation": self.figure,
            "settings_tried": self.tried,
            "seconds_choosing": round(self.seconds, 1),
        }


def chosen(peer: Peer, arena: Arena, seed: int) -> Chosen:
    """Fit every setting on training and choose by the primary metric on validation, with one seed."""
    began, figures = time.perf_counter(), dict[int, float]()
    listed = (True, False) if arena.ranks_own_items else (None,)
    ways = [(settings, own) for settings in peer.grid(arena.before) for own in listed]
    fitted: tuple[Settings, Any] | None = None
    for at, (settings, own) in enumerate(ways):
        if fitted is None or fitted[0] is not settings:
            fitted = settings, peer.fitted(arena.before, settings, seed)
        outcome = arena.outcome(fitted[1], arena.choosing, own)
        figures[at] = arena.figures(outcome, arena.choosing)[arena.metric]
    best = best_of(figures, arena.metric)
    return Chosen(*ways[best], figures[best], len(ways), time.perf_counter() - began)


def tested(peer: Peer, arena: Arena, choice: Chosen, seed: int) -> tuple[dict[str, float], Outcome, float]:
    """Fit a peer on all that may be learned from, and answer test once.

    Returns:
        Every metric on test, the outcome itself, and the seconds of fitting.
    """
    began = time.perf_counter()
    scores = peer.fitted(arena.final, choice.settings, seed)
    seconds = time.perf_counter() - began
    outcome = arena.outcome(scores, arena.prepared.test, choice.own_items)
    return arena.figures(outcome, arena.prepared.test), outcome, seconds


def measured(peer: Peer, arena: Arena, seeds: Sequence[int]) -> tuple[dict[str, Any], list[Outcome]]:
    """Choose, then test with every seed; a peer without randomness has one.

    Returns:
        The peer's row as plain values, and its outcomes on test.
    """
    named = {"model": peer.name, "package": peer.package}
    why = peer.refusal(arena.final)
    if why is not None:
        return {**named, "status": "left out", "reason": why}, []
    named["version"] = version(peer.package)
    used = list(seeds) if peer.seeded else list(seeds)[:1]
    choice = chosen(peer, arena, used[0])
    found = [tested(peer, arena, choice, seed) for seed in used]
    row = {
        **named,
        "status": "ok",
        **choice.plain(),
        "seeds": used,
        "test": {metric: [figures[metric] for figures, _, _ in found] for metric in arena.measure.metrics},
        "seconds_fitting": [round(seconds, 1) for _, _, seconds in found],
    }
    return row, [outcome for _, outcome, _ in found]

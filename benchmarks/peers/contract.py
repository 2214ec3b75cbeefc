"""Contract of a peer: its settings, what it cannot do, and how it is fitted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from llmrec_peft.data.interactions import Interactions
from peers.learned import Learned

Settings = Mapping[str, Any]
"""Plain values by the name of the library's own parameter."""
Scores = Callable[[Interactions], Any]
"""Scores of examples: a tensor [n, num_items - 1] over the catalogue for rankings, or an array [n] for ratings."""


class Peer(ABC):
    """A model of another package."""

    name: ClassVar[str]
    """Name in the tables."""
    package: ClassVar[str]
    """Distribution that it comes from."""
    task: ClassVar[str]
    """Task of the heads that it is measured with: ``ranking`` or ``rating``."""
    seeded: ClassVar[bool]
    """Whether initial values or sampling are random."""

    @abstractmethod
    def grid(self, learned: Learned) -> Sequence[Settings]:
        """Return the settings that validation chooses from."""

    def refusal(self, learned: Learned) -> str | None:
        """Return why it cannot be used on these data; None if it can."""
        return None

    @abstractmethod
    def fitted(self, learned: Learned, settings: Settings, seed: int) -> Scores:
        """Fit it and return how it scores."""

"""Trail: what becomes known of one request while it is answered, for its line in the log, its span and the metrics."""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import NamedTuple

from llmrec_peft.serving.versions import Identity


class Step(NamedTuple):
    """A part of the time that a request took.

    Attributes:
        name: ``queue`` or ``engine``.
        lane: In which lane.
        began: Nanoseconds since 1970.
        ended: Nanoseconds since 1970.
    """

    name: str
    lane: str
    began: int
    ended: int


@dataclass
class Trail:
    """What is known of a request; it holds no ids of users and no texts.

    Attributes:
        tenant: The tenant that was asked, once it is known to be registered.
        key_id: Public part of the caller's key.
        identity: What answered; of several versions the first.
        steps: Where the time went.
    """

    tenant: str | None = None
    key_id: str | None = None
    identity: Identity | None = None
    steps: list[Step] = field(default_factory=list)

    def answered(self, identities: Iterable[Identity]) -> None:
        """Note what answered."""
        self.identity = next(iter(identities), self.identity)

    def seconds(self, name: str) -> float:
        """Return the seconds of all steps of a name."""
        return sum(step.ended - step.began for step in self.steps if step.name == name) / 1e9


_TRAIL: ContextVar[Trail | None] = ContextVar("llmrec_trail", default=None)


def begin() -> Trail:
    """Begin the trail of the request that this context answers."""
    trail = Trail()
    _TRAIL.set(trail)
    return trail


def current() -> Trail:
    """Return the trail of the request that this context answers; outside one, a trail that nobody reads."""
    return _TRAIL.get() or Trail()

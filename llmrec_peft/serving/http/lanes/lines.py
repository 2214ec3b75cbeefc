"""Lines: what waits of one tenant in a fair queue, and what the tenant may still cost in this round."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from llmrec_peft.serving.http.lanes.pace import Pace


@dataclass(eq=False)
class Entry:
    """Something that waits for its turn.

    Attributes:
        tenant: Whose it is.
        deadline: When it leaves the queue if it still waits, by the queue's clock.
        tokens: Tokens of text that it has, by an estimate; they count against the queue's bounds.
        cost: What it costs, where that is known before; it is charged when it is taken. None for what `done` says.
        put_at: When it began to wait.
    """

    tenant: str
    deadline: float
    tokens: int = 0
    cost: float | None = None
    put_at: float = 0.0

    def late(self) -> None:
        """Take note that the deadline has passed; called under the queue's lock."""


@dataclass(frozen=True)
class Bounds:
    """What may be in a queue.

    Attributes:
        entries: Entries of one tenant, those that are being computed or wait for a version included.
        tokens: Tokens of all tenants; None for no bound. Where it is reached, a tenant may still bring its part of it,
            so that others cannot shut it out, and the queue never holds twice as many.
        tenant_tokens: Tokens of one tenant; None for no bound.
    """

    entries: int
    tokens: int | None = None
    tenant_tokens: int | None = None


@dataclass(frozen=True)
class QueueFigures:
    """What is in a queue.

    Attributes:
        waiting: Entries that wait for their turn.
        parked: Entries that wait for something else, such as a version.
        running: Entries that were taken and are not done.
        tokens: Tokens of all of them.
        oldest_s: Seconds that the entry has waited which is next of its tenant and waits longest.
    """

    waiting: int
    parked: int
    running: int
    tokens: int
    oldest_s: float


E = TypeVar("E", bound=Entry)


@dataclass(eq=False)
class Line(Generic[E]):
    """Entries of one tenant, and what it may cost before others have their turn.

    Attributes:
        tenant: The tenant.
        weight: Its part of each round beside others' 1.
        quantum: Cost that weight 1 gets in a round.
        balance: Cost that it may still have, counted up to `round`; below 0 it owes.
        round: Round up to which it got its part.
        waiting: Entries that wait for their turn, the next one first.
        parked: Entries that wait for something else.
        running: Entries that are being computed.
        tokens: Tokens of all of them.
        ordered: Whether the queue's order has it.
        owing: Whether the queue will look whether it can be forgotten.
        pace: How fast its entries leave.
    """

    tenant: str
    weight: float
    quantum: float
    balance: float
    round: int
    waiting: OrderedDict[E, None] = field(default_factory=OrderedDict)
    parked: set[E] = field(default_factory=set)
    running: set[E] = field(default_factory=set)
    tokens: int = 0
    ordered: bool = False
    owing: bool = False
    pace: Pace = field(default_factory=Pace)

    @property
    def entries(self) -> int:
        """Entries that are here."""
        return len(self.waiting) + len(self.parked) + len(self.running)

    @property
    def part(self) -> float:
        """Cost that it gets in a round."""
        return self.weight * self.quantum

    @property
    def turn(self) -> int:
        """Round in which its balance is above 0."""
        return self.round + (0 if self.balance > 0 else math.floor(-self.balance / self.part) + 1)

    @property
    def whole(self) -> int:
        """Round in which its balance is that of a new line."""
        return self.round + max(0, math.ceil((self.part - self.balance) / self.part))

    def pay(self, round_: int) -> None:
        """Give it its part of the rounds that have passed; more than that of one round is not saved up."""
        passed = max(0, round_ - self.round)
        self.balance = min(self.balance + passed * self.part, max(self.part, self.balance))
        self.round += passed

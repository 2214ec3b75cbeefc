"""Answers: what was asked, what came out, and of which version in which state."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.run.catalogue import ScoredItem
from llmrec_peft.serving.tiers.memory import Condition
from llmrec_peft.serving.versions import Identity

Basis = Literal["personal", "popularity"]


@dataclass(frozen=True)
class Answer:
    """The best items of one user.

    Attributes:
        tenant: Who was asked.
        user_id: The user.
        identity: The version that answered, and its state.
        basis: ``personal``, or ``popularity`` for a user unknown in training, see `Recommendations`.
        items: Best first.
        k: How many items were asked for.
        seen: Whether items of the user's history were allowed.
        together: Users whose lists were computed in the same pass, the user included. They do not change his items, but
            the last bits from which his scores are rounded, so that `Engine.audit` computes all of them again.
    """

    tenant: str
    user_id: str
    identity: Identity
    basis: Basis
    items: tuple[ScoredItem, ...]
    k: int
    seen: bool
    together: tuple[str, ...] = field(repr=False)

    @property
    def version(self) -> str:
        """Digest of the version's manifest."""
        return self.identity.version

    @property
    def state(self) -> int:
        """Number of the version's state."""
        return self.identity.state

    @property
    def state_digest(self) -> str:
        """Digest of the version's state."""
        return self.identity.state_digest

    def plain(self) -> dict[str, Any]:
        """Return the fields as plain values, the identity's by their own names; without the users of the same pass."""
        values = asdict(self)
        del values["identity"], values["together"]
        return values | self.identity._asdict()


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of pairs of users and items.

    Attributes:
        tenant: Who was asked.
        users: User ids, [n].
        items: Item ids, [n].
        values: Scores, float32 [n], as `Recommender.score` returns them.
        identities: The version that scored each pair, and its state, [n]. Pairs of one user have the same.
        basis: Whether each pair's user is known in training, [n]: ``popularity`` for one who is not, and is scored as
            the average user.
        histories: Histories that were given with the pairs; None for the run's own.
    """

    tenant: str
    users: tuple[str, ...]
    items: tuple[str, ...]
    values: NDArray[np.float32]
    identities: tuple[Identity, ...]
    basis: tuple[Basis, ...]
    histories: tuple[tuple[tuple[str, float], ...], ...] | None = field(default=None, repr=False)

    @classmethod
    def joined(cls, parts: Sequence[Scores]) -> Scores:
        """Return scores of pairs that were computed one part after the other, without given histories.

        Args:
            parts: At least one, of the same tenant.
        """
        return cls(
            parts[0].tenant,
            tuple(user for part in parts for user in part.users),
            tuple(item for part in parts for item in part.items),
            np.concatenate([part.values for part in parts]),
            tuple(identity for part in parts for identity in part.identities),
            tuple(basis for part in parts for basis in part.basis),
        )


@dataclass(frozen=True)
class Standing:
    """What answers a tenant's users.

    Attributes:
        tenant: The tenant.
        main: The version that answers.
        trial: The version that answers a share of the users; None if there is none.
        share: That share.
        former: The version that `rollback` would bring back; None if there is none.
        notes: What whoever reads the answers should know, such as that histories did not come with the run.
        pinned: Whether the versions that answer stay in memory.
        conditions: Where the version that answers is, the one on trial, and the one to go back to, if there are such.
            They change without anybody's asking, and are left out where two of these are compared.
    """

    tenant: str
    main: Identity
    trial: Identity | None
    share: float
    former: Identity | None
    notes: tuple[str, ...]
    pinned: bool = False
    conditions: tuple[Condition, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class Audit:
    """What came out when an answer was computed again from the sealed version.

    Attributes:
        same: Whether it is the same answer.
        difference: Largest difference of two scores; 0 where the answer is the same to the last bit, and infinite where
            there is nothing to compare.
        reason: What differs; empty for the same answer.
    """

    same: bool
    difference: float
    reason: str = ""


def compared(given: Sequence[ScoredItem], again: Sequence[ScoredItem], tolerance: float) -> Audit:
    """Hold a list against the one that was computed again.

    Args:
        given: Items of the answer.
        again: Items that were computed.
        tolerance: How far two scores may be from each other. With 0, items and their order have to be the same as well;
            above it, items whose scores are as close as that may have changed places.

    Returns:
        The outcome, with the first difference.
    """
    if len(given) != len(again):
        return Audit(False, float("inf"), f"it has {len(given)} items, and {len(again)} were computed")
    scores = {item.item_id: item.score for item in again}
    titles = {item.item_id: item.title for item in again}
    largest, reason = 0.0, ""
    for at, (one, other) in enumerate(zip(given, again, strict=True)):
        off = abs(one.score - other.score)
        largest = max(largest, float("inf") if math.isnan(off) else off)
        if one.item_id != other.item_id:
            moved = abs(scores.get(one.item_id, float("inf")) - one.score)
            at_the_edge = abs(one.score - again[-1].score) <= tolerance
            if not tolerance or (moved > tolerance and not at_the_edge):
                reason = reason or f"item {at + 1} is {one.item_id!r:.60}, and {other.item_id!r:.60} was computed"
        elif one.title != titles[one.item_id]:
            reason = reason or f"item {at + 1} has another title"
        if not off <= tolerance:
            reason = reason or f"item {at + 1} has the score {one.score}, and {other.score} was computed"
    return Audit(not reason, largest, reason)

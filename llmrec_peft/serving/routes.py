"""Routes: which versions answer a tenant's users, and which one whom."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from llmrec_peft.serving.versions import Placed

_BITS = 64


@dataclass(frozen=True, eq=False)
class Route:
    """Versions of one tenant at one moment, each in a state; a change makes another route.

    A route keeps no version in memory: that is a matter of `HostTier`.

    Attributes:
        main: The version that answers.
        trial: A version that answers some users; None if there is none.
        share: Share of the users whom it answers, 0 to 1.
        former: The version that answered before `main`, to which a tenant can be rolled back.
    """

    main: Placed
    trial: Placed | None = None
    share: float = 0.0
    former: Placed | None = None

    @property
    def places(self) -> tuple[Placed, ...]:
        """All versions of the route in their states, the one that answers first."""
        return tuple(one for one in (self.main, self.trial, self.former) if one is not None)

    @property
    def answering(self) -> tuple[Placed, ...]:
        """The versions that answer users."""
        return (self.main,) if self.trial is None else (self.main, self.trial)

    def of(self, user: str) -> Placed:
        """Return what answers a user: the same version as long as the share does not change."""
        if self.trial is None or place_of(self.trial.sealed.digest, user) >= self.share:
            return self.main
        return self.trial

    def answering_of(self, users: Sequence[str] | None) -> tuple[Placed, ...]:
        """Return the versions that answer some users, each once; of all users for None."""
        if users is None or self.trial is None:
            return self.answering
        return tuple(placed for placed, _ in self.by_version(users))

    def by_version(self, users: Sequence[str]) -> list[tuple[Placed, list[int]]]:
        """Divide users among the versions that answer them.

        Returns:
            Each version in its state with the places of its users in `users`, which are in their order.
        """
        found: dict[int, tuple[Placed, list[int]]] = {}
        for at, user in enumerate(users):
            placed = self.of(user)
            found.setdefault(id(placed), (placed, []))[1].append(at)
        return list(found.values())

    def followed_by(self, main: Placed) -> Route:
        """Return the route on which another version answers and this one's is kept."""
        return Route(main=main, former=self.main)

    def trying(self, trial: Placed, share: float) -> Route:
        """Return the route on which another version answers a share of the users."""
        return replace(self, trial=trial, share=share)

    def alone(self) -> Route:
        """Return the route without a trial."""
        return replace(self, trial=None, share=0.0)


def place_of(version: str, user: str) -> float:
    """Return a user's place between 0 and 1 among those to whom a version is given first.

    It depends on nothing but the version's digest and the user's id, so that any process finds the same users, a larger
    share has those of a smaller one, and another version begins with other users.

    >>> place_of("a", "1") == place_of("a", "1"), 0 <= place_of("a", "1") < 1
    (True, True)
    """
    text = f"{version}\0{user}".encode("utf-8", "surrogatepass")
    number = int.from_bytes(hashlib.sha256(text).digest()[: _BITS // 8], "big")
    return (number >> 11) / (1 << _BITS - 11)  # as many bits as a float has: 1 is never reached

"""Versions and states: what answers, as objects that never change, each with a digest as its identity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from llmrec_peft.identity import values_digest
from llmrec_peft.run.adding import Addition
from llmrec_peft.run.tenant import LoadedTenant
from llmrec_peft.serving.sealed_store import SealedRun


class Identity(NamedTuple):
    """What an answer came from.

    Attributes:
        version: Digest of the run's manifest.
        state: How many events the version has taken note of.
        state_digest: Digest over the version and these events.
    """

    version: str
    state: int
    state_digest: str


@dataclass(frozen=True)
class Event:
    """Something that changed a version's answers after its training.

    Attributes:
        kind: ``items``: new items were added together.
        values: What there is to know of it, as plain values; for ``items``, the columns of each item as the run reads
            them.
    """

    kind: str
    values: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, eq=False)
class State:
    """A version's events so far; two engines that gave a version the same events have states of one digest.

    Attributes:
        number: How many events there were.
        digest: SHA-256 over the version, what came with it, and every event in its order.
        event: The last event; None in the beginning.
        before: The state before it; None in the beginning.
    """

    number: int
    digest: str
    event: Event | None = None
    before: State | None = field(default=None, repr=False)

    @classmethod
    def first(cls, version: str, withheld: Sequence[str]) -> Self:
        """Return a version's state without events.

        Args:
            version: Digest of the manifest, which is the same whether or not the users' histories came with the run.
            withheld: Files that can change an answer and did not come with it.
        """
        return cls(0, values_digest(["state", version, list(withheld)]))

    def after(self, event: Event) -> State:
        """Return the state that follows when one more event has happened."""
        digest = values_digest([self.digest, event.kind, list(event.values)])
        return State(self.number + 1, digest, event, self)

    def events(self) -> list[Event]:
        """Return the events, oldest first."""
        return [state.event for state in reversed(list(self._back())) if state.event is not None]

    def _back(self) -> Iterator[State]:
        state: State | None = self
        while state is not None:
            yield state
            state = state.before


@dataclass(frozen=True, eq=False)
class Added:
    """Items that were added to a version, with the vectors of their texts, so that no text has to be encoded again.

    Attributes:
        addition: The items that were added last.
        before: Those that were added before them.
    """

    addition: Addition
    before: Added | None = field(default=None, repr=False)

    def oldest_first(self) -> list[Addition]:
        """Return all additions in their order."""
        found, one = list[Addition](), self
        while True:
            found.append(one.addition)
            if one.before is None:
                return found[::-1]
            one = one.before


@dataclass(frozen=True, eq=False)
class Placed:
    """A version in one of its states, whether or not it is in memory: all that it takes to bring it back.

    Attributes:
        sealed: The version in the store.
        state: The state.
        added: What the state's events added; None if there were none.
    """

    sealed: SealedRun
    state: State
    added: Added | None = field(default=None, repr=False)

    @classmethod
    def first(cls, sealed: SealedRun) -> Self:
        """Return a version before any event."""
        return cls(sealed, State.first(sealed.digest, sealed.withheld))

    @property
    def identity(self) -> Identity:
        """What its answers carry."""
        return Identity(self.sealed.digest, self.state.number, self.state.digest)

    def after(self, event: Event, addition: Addition) -> Placed:
        """Return the version in the state after items were added."""
        return Placed(self.sealed, self.state.after(event), Added(addition.on_host(), self.added))

    def additions(self) -> list[Addition]:
        """Return what was added, oldest first."""
        return [] if self.added is None else self.added.oldest_first()

    def rows(self) -> list[Mapping[str, Any]]:
        """Return the columns of all items that were added, oldest first."""
        return [row for addition in self.additions() for row in addition.columns]


@dataclass(frozen=True, eq=False)
class Version:
    """A run that was loaded from its sealed folder and checked; it never changes, and no path leads to another one.

    Attributes:
        sealed: Where it lies in the store, and what did not come with it.
        tenant: The run in memory, as it was trained.
    """

    sealed: SealedRun
    tenant: LoadedTenant

    @property
    def digest(self) -> str:
        """Digest of the run's manifest."""
        return self.sealed.digest

    def first(self) -> Snapshot:
        """Return the version before any event."""
        return Snapshot(self, Placed.first(self.sealed), self.tenant)

    def at(self, placed: Placed) -> Snapshot:
        """Return the version in a state in which it was before, from the vectors that were kept.

        Raises:
            InputError: If the run does not take the items.
        """
        additions = placed.additions()
        return Snapshot(self, placed, Addition.joined(additions).onto(self.tenant) if additions else self.tenant)


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A version in memory in one of its states: what computes an answer, whatever happens meanwhile.

    Attributes:
        version: The version.
        placed: The version and its state, without what is in memory.
        tenant: The run with what the state's events added; it shares the version's memory.
    """

    version: Version
    placed: Placed
    tenant: LoadedTenant

    @property
    def identity(self) -> Identity:
        """What its answers carry."""
        return self.placed.identity

    def after(self, event: Event, addition: Addition) -> Snapshot:
        """Return the version in the state after items were added."""
        return Snapshot(self.version, self.placed.after(event, addition), addition.onto(self.tenant))

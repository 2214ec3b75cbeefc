"""Auditing: an answer is computed again from the sealed version and the events that led to its state."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from llmrec_peft.errors import InputError
from llmrec_peft.serving import computing
from llmrec_peft.serving.answers import Answer, Audit, Scores, compared
from llmrec_peft.serving.encoding import ItemEncoder
from llmrec_peft.serving.loading import Loading
from llmrec_peft.serving.tenants import Past
from llmrec_peft.serving.versions import Identity, Snapshot

_NOTHING = float("inf")


class _NotTheirsError(Exception):
    """An identity that the tenant never had."""


class KnownStates(Protocol):
    """Knows in which states versions of a tenant were."""

    def past(self, tenant: str, state_digest: str) -> Past | None:
        """Return a state in which one of the tenant's versions was; None if none of them was.

        Raises:
            UnknownTenantError: If no tenant has the name.
        """


class Auditor:
    """Says whether an answer is what its identity gives."""

    def __init__(self, known: KnownStates, loading: Loading, encoder: ItemEncoder) -> None:
        """Set where states are looked up and how versions are loaded."""
        self._known, self._loading, self._encoder = known, loading, encoder

    def audit(self, answer: Answer | Scores, tolerance: float | None) -> Audit:
        """Compute an answer again and compare; nothing that is in memory for asks is used.

        Args:
            answer: The answer.
            tolerance: How far two scores may be from each other; by default 0, and the encoder's `rounding` where items
                were added.

        Raises:
            InputError: If the version cannot be loaded, or the tenant is not registered.
        """
        if isinstance(answer, Answer):
            return self.audit_lists([answer], tolerance)[0]
        try:
            return self._scores(answer, tolerance)
        except _NotTheirsError as error:
            return Audit(False, _NOTHING, str(error))

    def audit_lists(self, answers: Sequence[Answer], tolerance: float | None) -> list[Audit]:
        """Compute several lists again and compare; a version is loaded once for all answers of one state.

        Args:
            answers: The answers.
            tolerance: See `audit`.

        Raises:
            InputError: As `audit`.
        """
        audits = dict[int, Audit]()
        for tenant, identity in dict.fromkeys((answer.tenant, answer.identity) for answer in answers):
            places = [at for at, one in enumerate(answers) if (one.tenant, one.identity) == (tenant, identity)]
            try:
                with self._again(tenant, identity) as snapshot:
                    audits |= {at: self._list(snapshot, answers[at], tolerance) for at in places}
            except _NotTheirsError as error:
                audits |= {at: Audit(False, _NOTHING, str(error)) for at in places}
        return [audits[at] for at in range(len(answers))]

    def _list(self, snapshot: Snapshot, answer: Answer, tolerance: float | None) -> Audit:
        if answer.user_id not in answer.together:
            return Audit(False, _NOTHING, "its user is not among those of its pass")
        users = list(answer.together)
        found = computing.lists(snapshot, users, answer.k, answer.seen)[users.index(answer.user_id)]
        if found.basis != answer.basis:
            return Audit(False, _NOTHING, f"its basis is {answer.basis}, and {found.basis} was computed")
        return compared(answer.items, found.items, self._allowed(answer.identity, tolerance))

    def _scores(self, answer: Scores, tolerance: float | None) -> Audit:
        parts = (answer.users, answer.items, answer.values, answer.identities, answer.basis)
        if len({len(part) for part in parts}) > 1:
            return Audit(False, _NOTHING, "it has not one item, score and identity for each user")
        largest = 0.0
        for identity in dict.fromkeys(answer.identities):
            places = [at for at, one in enumerate(answer.identities) if one == identity]
            users, items = [answer.users[at] for at in places], [answer.items[at] for at in places]
            told = None if answer.histories is None else [answer.histories[at] for at in places]
            with self._again(answer.tenant, identity) as snapshot:
                again = computing.scores(snapshot, users, items, told)
                basis = computing.bases(snapshot, users)
            off = np.abs(answer.values[places].astype(np.float64) - again.astype(np.float64))
            off[np.isnan(off)] = _NOTHING
            largest = max(largest, float(off.max()))
            if largest > self._allowed(identity, tolerance):
                at = int(off.argmax())
                said = f"score {places[at] + 1} is {answer.values[places[at]]}, and {again[at]} was computed"
                return Audit(False, largest, said)
            if [answer.basis[at] for at in places] != basis:
                return Audit(False, largest, "the basis of a pair is another one")
        return Audit(True, largest)

    def _allowed(self, identity: Identity, tolerance: float | None) -> float:
        """Return how far a score may be from the one that is computed again."""
        if tolerance is not None:
            return tolerance
        return self._encoder.rounding if identity.state else 0.0

    @contextlib.contextmanager
    def _again(self, tenant: str, identity: Identity) -> Iterator[Snapshot]:
        """Load a version from the store and bring it into its state, for the block.

        Raises:
            _NotTheirsError: If the tenant had no version in such a state.
            InputError: If the version cannot be loaded.
        """
        past = self._known.past(tenant, identity.state_digest)
        if past is None:
            raise _NotTheirsError(f"no version of this tenant was in a state {identity.state_digest[:12]}")
        if (past.sealed.digest, past.state.number) != (identity.version, identity.state):
            raise _NotTheirsError(
                f"state {identity.state_digest[:12]} is number {past.state.number} of version"
                f" {past.sealed.digest[:12]}, and not number {identity.state} of {identity.version[:12]}"
            )
        version = self._loading.load(past.sealed, answers=False)
        try:
            snapshot = computing.replayed(version, past.state, self._encoder)
            if snapshot.identity != identity:
                raise InputError(f"the events of state {identity.state_digest[:12]} lead to another state now")
            yield snapshot
        finally:
            version.tenant.base.retire(version.tenant.adapter)
            self._encoder.drop(version)

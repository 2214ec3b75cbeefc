"""Seats: which versions have their adapters in slots; those that were used last stay."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from llmrec_peft.serving.mixing.room import NoRoomError

if TYPE_CHECKING:
    from llmrec_peft.serving.mixing.mixed_encoder import Admitted, MixedEncoder
    from llmrec_peft.serving.versions import Version


class Seats:
    """Adapters of versions in the memory for adapters, which stays below its budget.

    One thread admits and drops; any thread may ask `because`.
    """

    def __init__(self, mixed: MixedEncoder) -> None:
        """Begin without versions."""
        self._mixed = mixed
        self._held: dict[Version, Admitted] = {}
        """Those that were used last come last."""
        self._because: dict[Version, str] = {}

    def admit(self, version: Version, busy: Collection[Version], waiting: Callable[[Version], bool]) -> Admitted | None:
        """Return a version's adapter, ready to encode; None if it has to wait until others have been encoded.

        Where memory is short, the adapter that was not used for longest leaves it: one without waiting texts if there
        is one, and none of those that are encoded now.

        Args:
            version: The version.
            busy: Versions whose texts are encoded now.
            waiting: Whether texts of a version wait.

        Raises:
            InputError: If its files do not fit the base.
        """
        found = self._held.pop(version, None)
        if found is None:
            try:
                found = self._mixed.admit(version.tenant.adapter, lambda: self._freed(busy, waiting))
            except NoRoomError:
                if not busy:
                    raise
                return None
        self._held[version] = found
        if found.because is not None:
            self._because[version] = found.because
        return found

    def drop(self, version: Version) -> None:
        """Free what a version takes; nothing is done if it takes nothing."""
        found = self._held.pop(version, None)
        self._because.pop(version, None)
        if found is not None and found.seat is not None:
            self._mixed.dismiss(found)

    def because(self, version: Version) -> str | None:
        """Return why a version's texts are encoded in passes of their own; None if they are not, or none came yet."""
        return self._because.get(version)

    def _freed(self, busy: Collection[Version], waiting: Callable[[Version], bool]) -> bool:
        """Let one adapter leave memory; False if all others are in use."""
        idle = [one for one, adapter in self._held.items() if adapter.seat is not None and one not in busy]
        gone = next((one for one in idle if not waiting(one)), idle[0] if idle else None)
        if gone is not None:
            self._mixed.dismiss(self._held.pop(gone))
        return gone is not None

"""Encoding: who turns texts of new items into vectors for an engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from torch import Tensor

from llmrec_peft.serving.versions import Version


class AdapterMemory(NamedTuple):
    """Bytes that adapters of an encoder take, of which budgets speak.

    Attributes:
        budget: Bytes for adapters in slots.
        used: How many of them are in use.
        host_budget: Bytes of host memory for adapters that come back into slots from there.
        host_used: How many of them are in use.
    """

    budget: int = 0
    used: int = 0
    host_budget: int = 0
    host_used: int = 0


class ItemEncoder(Protocol):
    """Encodes texts of new items, each by the adapter of the version that it is asked for.

    Attributes:
        rounding: How far scores of an item may be apart when its text is encoded twice: 0 where the vectors are the
            same to the last bit.
    """

    rounding: float

    def items(self, version: Version, texts: Sequence[str]) -> tuple[Tensor, int]:
        """Return vectors of texts, float32 [n, width], and how many texts were too long and cut."""

    def drop(self, version: Version) -> None:
        """Free what a version takes, which is not asked for any more; waits for nobody."""

    def notes(self, version: Version) -> tuple[str, ...]:
        """Return what is to be said of how a version's texts are encoded, a line each."""

    def adapter_memory(self) -> AdapterMemory:
        """Return the bytes for adapters; 0 if there are none of its own."""

    def close(self) -> None:
        """End; later calls get an error."""


class OwnPasses:
    """Encodes one version's texts after the other's: its adapter is put into the shared base, and others wait."""

    rounding: float = 0.0

    def items(self, version: Version, texts: Sequence[str]) -> tuple[Tensor, int]:
        """Return vectors of texts, float32 [n, width], and how many texts were too long and cut.

        Raises:
            InputError: If the adapter does not fit the base, or a vector is not finite.
        """
        return version.tenant.tuned.read_items(texts)

    def drop(self, version: Version) -> None:
        """Free nothing: the base forgets what was retired."""

    def notes(self, version: Version) -> tuple[str, ...]:
        """Return nothing: all texts are encoded alike."""
        return ()

    def adapter_memory(self) -> AdapterMemory:
        """Return zeros: adapters are in the base while they encode."""
        return AdapterMemory()

    def close(self) -> None:
        """End nothing: callers' own threads encode."""

"""Encoding: who turns texts of new items into vectors for an engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from llmrec_peft.serving.versions import Version


class ItemEncoder(Protocol):
    """Encodes texts of new items, each by the adapter of the version that it is asked for."""

    def items(self, version: Version, texts: Sequence[str]) -> tuple[Tensor, int]:
        """Return vectors of texts, float32 [n, width], and how many texts were too long and cut."""


class OwnPasses:
    """Encodes one version's texts after the other's: its adapter is put into the shared base, and others wait."""

    def items(self, version: Version, texts: Sequence[str]) -> tuple[Tensor, int]:
        """Return vectors of texts, float32 [n, width], and how many texts were too long and cut.

        Raises:
            InputError: If the adapter does not fit the base, or a vector is not finite.
        """
        return version.tenant.tuned.read_items(texts)

"""Unchanged: rows of the base as it is, without a site."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmrec_peft.plugins import BatchedForm, SavedTensors, Slot

if TYPE_CHECKING:
    from llmrec_peft.plugins import Backbone


class Unchanged(BatchedForm):
    """f(x) at every module."""

    @property
    def key(self) -> tuple[object, ...]:
        """All such rows are computed together."""
        return ("unchanged",)

    def slots(self, saved: SavedTensors, backbone: Backbone) -> dict[str, Slot]:
        """Return no slot."""
        return {}

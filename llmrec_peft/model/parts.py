"""Parts: each signal's vectors and offsets for some users, items and pairs, before the fusion joins them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from llmrec_peft.data.batches import Batch
    from llmrec_peft.signals.contract import Signal

Signals = Mapping[str, "Signal[Any]"]
Values = Mapping[str, "Tensor | None"]


@dataclass(frozen=True)
class Parts:
    """The signals' vectors and offsets for some pairs.

    Attributes:
        users: User vector of each signal, [B, dim], or None.
        items: Item vector of each signal, [B, dim], or None.
        offsets: What each signal itself adds to the score, [B], or None.
        rows: Number of pairs B.
    """

    users: Values
    items: Values
    offsets: Values
    rows: int

    @classmethod
    def of(cls, signals: Signals, batch: Batch) -> Parts:
        """Compute every signal's part for the pairs of a batch that contains everything they read."""
        batch = batch.pairs()
        users: dict[str, Tensor | None] = {}
        items: dict[str, Tensor | None] = {}
        offsets: dict[str, Tensor | None] = {}
        for name, signal in signals.items():  # items first: signals draw what they hide in `item`
            items[name] = signal.item(batch)
            users[name] = signal.user(batch)
            offsets[name] = signal.offset(batch)
        return cls(users, items, offsets, len(batch))

    def kept(self, masks: Mapping[str, Tensor]) -> Parts:
        """Return the parts without whole signals in some rows; masks are 1 where a signal stays, [B], by its name."""

        def shown(values: Values) -> dict[str, Tensor | None]:
            return {
                name: value if value is None or name not in masks else value * _like(masks[name], value)
                for name, value in values.items()
            }

        return Parts(shown(self.users), shown(self.items), shown(self.offsets), self.rows)

    def with_item(self, name: str, vector: Tensor | None, offset: Tensor | None) -> Parts:
        """Return the parts with another item vector and offset of one signal; None leaves the present one."""
        return replace(
            self,
            items={**self.items, name: self.items[name] if vector is None else vector},
            offsets={**self.offsets, name: self.offsets[name] if offset is None else offset},
        )


def _like(mask: Tensor, value: Tensor) -> Tensor:
    return mask.reshape(-1, *[1] * (value.ndim - 1)).to(value.dtype)

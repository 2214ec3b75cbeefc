"""Parts: what each signal says of some users, items and pairs, before a fusion joins it."""

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
    """What the signals say of some pairs.

    Attributes:
        users: User vector of each signal, [B, dim], or None.
        items: Item vector of each signal, [B, dim], or None.
        offsets: What each signal adds to the score by itself, [B], or None.
        rows: Number of pairs B.
    """

    users: Values
    items: Values
    offsets: Values
    rows: int

    @classmethod
    def of(cls, signals: Signals, batch: Batch) -> Parts:
        """Ask every signal about the pairs of a batch that holds everything they read."""
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
        """The same without whole signals in some rows; masks are 1 where a signal stays, [B], by its name."""

        def shown(values: Values) -> dict[str, Tensor | None]:
            return {
                name: value if value is None or name not in masks else value * _like(masks[name], value)
                for name, value in values.items()
            }

        return Parts(shown(self.users), shown(self.items), shown(self.offsets), self.rows)

    def with_item(self, name: str, vector: Tensor | None, offset: Tensor | None) -> Parts:
        """The same with another item vector and offset of one signal; None leaves what is there."""
        return replace(
            self,
            items={**self.items, name: self.items[name] if vector is None else vector},
            offsets={**self.offsets, name: self.offsets[name] if offset is None else offset},
        )


def _like(mask: Tensor, value: Tensor) -> Tensor:
    return mask.reshape(-1, *[1] * (value.ndim - 1)).to(value.dtype)

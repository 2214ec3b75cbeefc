"""Recency: how long ago an item appeared first, as learnt weights by age."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from llmrec_peft.errors import InputError
from llmrec_peft.options import Options
from llmrec_peft.signals.contract import Signal, SignalContext

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from llmrec_peft.data.batches import Batch
    from llmrec_peft.data.interactions import Interactions

HOUR = 3600.0
"""Seconds of an hour."""
NEVER = 1 << 62
"""Stands for the first appearance of an item that has none."""


class RecencyOptions(Options):
    """Options of the recency signal."""

    column: str | None = None
    """Column of items with the time of the first appearance, in the unit of the interactions' times, such as
    `first_seen`; null for the time of the first training interaction."""
    steps: int = Field(default=16, ge=2, le=40)
    """Age classes: new, then under 1, 3, 7, 15, ... hours (one less than a power of two), and all above."""


class Recency(Signal[RecencyOptions]):
    """cross = w[class of the age], where the age of item i in an example at time t is t less its first appearance.

    An item that has not appeared before t, or of which no appearance is known, is new. Without a time, as when a run
    answers, an example is as late as the latest interaction that the run has learnt from. A run folder keeps each
    item's first appearance and that latest time.
    """

    summary: ClassVar[str] = "how long ago an item appeared first, as learnt weights by age"
    Config: ClassVar[type[Options]] = RecencyOptions
    user_tables: ClassVar[tuple[str, ...]] = ()
    tried_with: ClassVar[Mapping[str, Any]] = {"column": "released"}

    def refusal(self, users: Collection[str], items: Collection[str], reads_prompt: bool) -> str | None:
        """Refuse a column that the data lacks."""
        from llmrec_peft.signals.parts.columns import require_columns

        try:
            require_columns(items, [] if self.config.column is None else [self.config.column], "signals.recency.column")
        except InputError as error:
            return str(error)
        return None

    def build(self, context: SignalContext) -> nn.ModuleDict:
        """Make the class weights, and the frozen first appearances and latest time.

        Raises:
            InputError: If the column holds something else than whole numbers.
        """
        import torch
        from torch import nn

        if context.saved is not None:
            first = torch.zeros(len(context.saved["known.first"]), dtype=torch.int64)
            latest = 0
        else:
            learned = context.learned
            column = self.config.column
            named = None if column is None else (context.items or {})[column]
            first = torch.from_numpy(_first_of(learned, context.num_items) if named is None else _given(named, column))
            latest = int(learned.timestamp.max(initial=0))
        weights = nn.Embedding(self.config.steps, 1)
        nn.init.zeros_(weights.weight)
        known = {"first": first, "latest": torch.tensor([latest])}
        frozen = {name: nn.Parameter(value, requires_grad=False) for name, value in known.items()}
        return nn.ModuleDict({"steps": weights, "known": nn.ParameterDict(frozen)})

    def cross(self, batch: Batch, candidates: Tensor) -> Tensor:
        """Return the weight of each candidate's age at the example's time, [B, C]."""
        import torch

        known = self.parts["known"]
        now = known["latest"].expand(len(batch)) if batch.time is None else batch.time
        age = now[:, None] - known["first"][candidates]
        hours = age.clamp(min=0).double() / HOUR
        step = (hours + 1.0).log2().floor().long() + 1
        index = torch.where(age > 0, step.clamp(max=self.config.steps - 1), torch.zeros_like(step))
        weight: Tensor = self.parts["steps"](index).squeeze(-1)
        return weight

    def remember(self, train: Interactions) -> None:
        """Take the latest time, and without a column the first appearances, from other interactions."""
        import torch

        known = self.parts["known"]
        with torch.no_grad():
            known["latest"].fill_(int(train.timestamp.max(initial=0)))
            if self.config.column is None:
                known["first"].copy_(torch.from_numpy(_first_of(train, len(known["first"]))))

    def follow(self, batch: Batch) -> None:
        """Take note of the batch's times too."""
        import torch

        if batch.time is None or not len(batch):
            return
        known = self.parts["known"]
        with torch.no_grad():
            known["latest"].copy_(torch.maximum(known["latest"], batch.time.max()))
            if self.config.column is None:
                known["first"].scatter_reduce_(0, batch.item, batch.time, "amin")

    def report(self) -> dict[str, Any]:
        """Return the weights by age."""
        weights = self.parts["steps"].weight.detach().squeeze(-1).tolist()
        bounds = [(1 << step) - 1 for step in range(self.config.steps)]
        names = ["new", *(f"under {high} h" for high in bounds[1:-1]), f"from {bounds[-2]} h"]
        return {name: round(weight, 4) for name, weight in zip(names, weights, strict=True)}


def _first_of(train: Interactions, num_items: int) -> NDArray[np.int64]:
    """Return the time of each item's first interaction, int64 [num_items]."""
    import numpy as np

    first = np.full(num_items, NEVER)
    np.minimum.at(first, train.item, train.timestamp)
    first[0] = NEVER
    return first


def _given(values: Sequence[Any], column: str | None) -> NDArray[np.int64]:
    """Return a column's times by item index, int64 [num_items]."""
    import numpy as np

    wrong = next((value for value in values if value is not None and not isinstance(value, int)), None)
    if wrong is not None:
        raise InputError(f"signals.recency.column: {column!r} holds {str(wrong)[:40]!a} where whole numbers belong")
    times = [NEVER, *(NEVER if value is None else max(-NEVER, min(NEVER, value)) for value in values)]
    return np.array(times, np.int64)

"""Early stopping: keep the best validation figure and decide when to stop."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass
class EarlyStopping:
    """Watches a validation figure.

    Attributes:
        patience: Epochs without improvement before `stop`; None never stops.
        lower_is_better: Direction of the figure.
        best: Best figure so far.
        best_epoch: Number of epochs trained when it was reached, 0 before any.
        history: All figures in order.
    """

    patience: int | None
    lower_is_better: bool
    best: float | None = None
    best_epoch: int = 0
    history: list[float] = field(default_factory=list)

    def update(self, figure: float) -> bool:
        """Record one epoch's figure; return whether it is the best so far. One that is not finite never is."""
        self.history.append(figure)
        if not math.isfinite(figure):
            return False
        better = self.best is None or (figure < self.best if self.lower_is_better else figure > self.best)
        if better:
            self.best, self.best_epoch = figure, len(self.history)
        return better

    @property
    def stop(self) -> bool:
        """Whether patience is used up."""
        return self.patience is not None and len(self.history) - self.best_epoch >= self.patience

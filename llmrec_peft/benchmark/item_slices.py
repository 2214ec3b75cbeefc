"""Item slices: figures on some of the test items, beside the baseline that is best on these."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from llmrec_peft.benchmark.grouping import Group, collaborative_only
from llmrec_peft.benchmark.markdown import LOSES, NOTHING, spread
from llmrec_peft.evaluation.measures import better

SLICES = {
    "items_with_0_ratings": "items never seen in training",
    "items_with_1_to_5_ratings": "items with 1 to 5 training examples",
    "items_with_over_5_ratings": "items with over 5 training examples",
}
"""Slices that every run has, in words; further ones are named by the owners of data."""
COLLABORATIVE = "collaborative only"
"""Key of the figures of the model that reads no text, whatever its name in rows is."""
_MODELS = ("after", "blend")


@dataclass(frozen=True)
class OnSlice:
    """Figures of a group on some test items.

    Attributes:
        items: Which items, in words.
        n: Test examples of the first run.
        best: Name of the baseline with the best mean figure on them, the strictest choice; None if there is none.
        figures: Figures of each run by model: ``after``, ``blend``, the best baseline, and `COLLABORATIVE`.
        metric: The metric.
    """

    items: str
    n: int
    best: str | None
    figures: Mapping[str, Sequence[float]]
    metric: str

    def written(self, model: str) -> str:
        """Return a model's figures for people, with a mark where they are no better than those of the best baseline."""
        own, best = (self.figures.get(name or "", ()) for name in (model, self.best))
        loses = own and best and not better(self.metric, statistics.mean(own), statistics.mean(best))
        return spread(own) + (f" {LOSES}" if loses and model not in (COLLABORATIVE, self.best) else "")

    @property
    def best_written(self) -> str:
        """The best baseline's figures with its name, for people."""
        return NOTHING if self.best is None else f"{self.written(self.best)} ({self.best.replace('_', ' ')})"


def on_slice(group: Group, name: str, metric: str) -> OnSlice:
    """Return a group's figures on a slice, by its name in rows."""
    best = group.strongest_on(name, metric)
    models = [*_MODELS, *([best] if best else [])]
    figures = {model: group.values("test", model, metric, name) for model in models}
    without_texts = collaborative_only([group], metric)
    figures[COLLABORATIVE] = group.values("test", without_texts, metric, name) if without_texts else []
    n = group.accuracy["slices"].get(name, {}).get("n", 0)
    return OnSlice(SLICES.get(name, name.replace("_", " ")), n, best, figures, metric)


def all_slices(group: Group, metric: str) -> Iterator[OnSlice]:
    """Yield a group's figures on each slice that has them, unless it is the whole test part."""
    accuracy = group.accuracy
    for name, part in accuracy.get("slices", {}).items():
        if 0 < part["n"] < accuracy["n"]:
            found = on_slice(group, name, metric)
            if found.figures["after"]:
                yield found

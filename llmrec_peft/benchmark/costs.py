"""Costs: what the cells of a report took, as figures that can be set against accuracy."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llmrec_peft.benchmark.grouping import Group
from llmrec_peft.benchmark.rows import Row

_MOST = 1e15
"""Bytes, milliseconds or parameters that no cell has."""


@dataclass(frozen=True)
class Cost:
    """A cost of a cell.

    Attributes:
        key: Name in tables for programs.
        label: Name for people, with the unit.
        form: How a figure is written.
        of: Reads it from a row; None where it was not measured.
    """

    key: str
    label: str
    form: str
    of: Callable[[Row], float | None]

    def mean(self, group: Group) -> float | None:
        """Return the mean over the runs of a group that have it."""
        values = self.values(group)
        return statistics.mean(values) if values else None

    def values(self, group: Group) -> list[float]:
        """Return the figure of each run of a group that has it."""
        return [value for row in group.rows if (value := self.of(row)) is not None]

    def written(self, group: Group) -> str:
        """Return the mean for people; a dash for none."""
        mean = self.mean(group)
        return "–" if mean is None else format(mean, self.form)


def at(row: Row, *path: str) -> float | None:
    """Return the number at a path of names in a row; None where there is none, or one that nothing can measure."""
    found: Any = row
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    number = isinstance(found, int | float) and not isinstance(found, bool)
    return found if number and 0 <= found < _MOST else None


def latency(row: Row, asked: str, quantile: str) -> float | None:
    """Return a latency in milliseconds.

    Args:
        row: A cell's row.
        asked: What was timed: ``score_1``, ``new_item_1``, ``recommend_1``, or the same for 32 at a time.
        quantile: ``p50``, ``p95`` or ``p99``.
    """
    return at(row, "latency_ms", asked, quantile)


def earlier_latency(row: Row, asked: str, quantile: str) -> float | None:
    """Return a latency of a report from before `latency`; None of a row that has those.

    Args:
        row: A cell's row.
        asked: ``known_pairs`` or ``new_text``.
        quantile: ``p50`` or ``p95``.
    """
    return None if row.get("latency_ms") else at(row, "answers", asked, f"{quantile}_ms")


def training_peak(row: Row, kind: str) -> float | None:
    """Return the peak memory of training in MiB.

    Answers and models that are only timed come after it and may take more. Earlier reports have the peak of training
    alone.

    Args:
        row: A cell's row.
        kind: ``rss`` (resident) or ``cuda`` (allocated on the accelerator).
    """
    found = at(row, "peak_memory_mb", "phases", "train", kind)
    return at(row, "peak_memory_mb", kind) if found is None else found


def _new_item(row: Row) -> float | None:
    found = latency(row, "new_item_1", "p95")
    return earlier_latency(row, "new_text", "p95") if found is None else found


TRAINABLE = Cost("trainable", "trained parameters", ",.0f", lambda row: at(row, "parameters", "trainable"))
TOTAL = Cost("total", "parameters", ",.0f", lambda row: at(row, "parameters", "total"))
ADAPTER = Cost("adapter", "adapter parameters", ",.0f", lambda row: at(row, "parameters", "adapter"))
ADAPTER_KIB = Cost(
    "adapter_kib",
    "adapter file, KiB",
    ",.1f",
    lambda row: None if (size := at(row, "adapter_bytes")) is None else size / 1024,
)
RSS = Cost("rss", "peak memory, MiB", ",.0f", lambda row: training_peak(row, "rss"))
CUDA = Cost("cuda", "peak GPU memory, MiB", ",.0f", lambda row: training_peak(row, "cuda"))
SCORE = Cost("score_1_p95", "score one user, ms p95", ",.2f", lambda row: latency(row, "score_1", "p95"))
PAIRS = Cost(
    "known_pairs_p95", "score known pairs, ms p95", ",.2f", lambda row: earlier_latency(row, "known_pairs", "p95")
)
NEW_ITEM = Cost("new_item_1_p95", "encode one new item, ms p95", ",.2f", _new_item)
RECOMMEND = Cost(
    "recommend_1_p95", "recommend to one user, ms p95", ",.2f", lambda row: latency(row, "recommend_1", "p95")
)
TRAINING = Cost("train_seconds", "training, s", ",.1f", lambda row: at(row, "seconds", "train"))

PLOTTED = (TRAINABLE, CUDA, RSS, SCORE, PAIRS, NEW_ITEM, RECOMMEND)
"""Costs that accuracy is plotted against, where cells have them."""
LISTED = (TRAINABLE, ADAPTER, CUDA, RSS, SCORE, PAIRS, NEW_ITEM, RECOMMEND, TRAINING, ADAPTER_KIB, TOTAL)
"""Costs in the table."""


def cheapness(group: Group) -> tuple[float, float, float]:
    """Return a group's costs in the order in which they decide which is cheaper.

    The frozen part of the model comes first, since two models cannot be set against each other by what is trained in
    them; it is rounded, since some methods keep a few numbers of their own that are not trained. Then what is trained,
    then memory. What was not measured counts as more than anything.
    """
    total, trained = TOTAL.mean(group), TRAINABLE.mean(group)
    memory = CUDA.mean(group) or RSS.mean(group)
    frozen = None if total is None or trained is None else float(f"{total - trained:.2g}")
    return tuple(float("inf") if one is None else one for one in (frozen, trained, memory))  # type: ignore[return-value]

"""Spots: a task's figures as plots set them against costs, on pages and in pictures."""

from __future__ import annotations

import statistics

from llmrec_peft.benchmark.costs import Cost
from llmrec_peft.benchmark.sections import BEST_BASELINE
from llmrec_peft.benchmark.tasks import FROZEN, FULL, Task
from llmrec_peft.page.scatter import Spot

_KINDS = {FROZEN: "before", FULL: "baseline"}
"""Marks of reference groups."""


def spots_of(task: Task, cost: Cost) -> list[Spot]:
    """Return the tuned model's mean test figure of each group that has a cost; nothing where all have the same one."""
    spots = [
        Spot(task.name(group), mean, statistics.mean(values), _KINDS.get(task.role(group) or "", "other"))
        for group in task.groups
        if (values := group.values("test", "after", task.metric)) and (mean := cost.mean(group)) is not None
    ]
    return spots if len({spot.cost for spot in spots}) > 1 else []


def best_baseline(task: Task) -> float | None:
    """Return the mean test figure of the best baselines, which are chosen on validation; None without any."""
    best = [value for group in task.groups for value in group.values("test", BEST_BASELINE, task.metric)]
    return statistics.mean(best) if best else None

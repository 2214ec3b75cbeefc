"""Advice: which of a task's methods to use, in sentences computed from the figures of a report."""

from __future__ import annotations

import statistics

from llmrec_peft.benchmark.against import Records, against_best_baseline, against_group
from llmrec_peft.benchmark.costs import CUDA, NEW_ITEM, RSS, TRAINABLE, cheapness
from llmrec_peft.benchmark.grouping import Group
from llmrec_peft.benchmark.markdown import LOSES, metric_name, spread
from llmrec_peft.benchmark.noise import over_runs
from llmrec_peft.benchmark.sections import BEST_BASELINE
from llmrec_peft.benchmark.tasks import FROZEN, FULL, Task, best_on_validation
from llmrec_peft.evaluation.measures import better

HOW = (
    "The advice is chosen on validation: of the methods that beat the best baseline there, the cheapest one that is not"
    " worse than the best of them beyond the noise. Cheapest: the smaller language model, then the fewer trained"
    " parameters, then less memory. A group with one run has no known noise; it counts as not worse only if its figure"
    " is not worse. Test figures choose nothing; they say how good the choice is."
)


def advice(task: Task, records: Records) -> list[str]:
    """Return sentences that say which method of a task to use, and why.

    Args:
        task: Task of a report.
        records: Comparisons of the report.
    """
    metric = task.metric
    groups = [group for group in task.groups if group.values("test", "after", metric)]
    if not groups:
        return ["No method was measured."]
    known = [group for group in groups if group.values("valid", "after", metric)]
    winners = [group for group in known if not group.loses("after", metric, "valid")]
    best = best_on_validation(winners or known, metric)
    if best is None:
        return ["There are no figures on validation, and test figures are not to choose by: nothing is advised."]
    if not winners:
        return _use_the_baseline(task, best)
    alike = [group for group in winners if group is best or not _worse(group, best, metric)]
    chosen = min(alike, key=lambda group: (*cheapness(group), -_gain(group, metric)))
    role = {FROZEN: " (the language model stays frozen)", FULL: " (full tuning)"}.get(task.role(chosen) or "", "")
    lines = [f"Use {task.name(chosen)}{role}: {metric_name(metric)} {_on_test(chosen, metric)}{_costs(chosen)}."]
    if chosen is not best:
        apart = against_group(chosen, best, metric, records).written
        lines.append(
            f"{task.name(best)} is best on validation and has {_on_test(best, metric)} on test; {task.name(chosen)}"
            f" minus it is {apart}. On validation it is not worse beyond the noise."
        )
    elif len(groups) > 1:
        lines.append(
            "It is best on validation, where every cheaper one is worse beyond the noise or beats no baseline."
        )
    return [*lines, *_beside_the_baseline(chosen, metric, records), *_without_texts(task, chosen)]


def _use_the_baseline(task: Task, nearest: Group) -> list[str]:
    return [
        f"Nothing measured here beats the best baseline on validation: use {_baselines(nearest)},"
        f" {metric_name(task.metric)} {spread(nearest.values('test', BEST_BASELINE, task.metric))} on test.",
        f"The nearest on validation is {task.name(nearest)}, with {_on_test(nearest, task.metric)} on test.",
        *_without_texts(task, nearest),
    ]


def _beside_the_baseline(chosen: Group, metric: str, records: Records) -> list[str]:
    apart = against_best_baseline(chosen, metric, records)
    if apart is None:
        return ["There is no baseline to compare with."]
    of_baseline = f"The best baseline, {_baselines(chosen)}, has {spread(chosen.values('test', BEST_BASELINE, metric))}"
    if apart.low is None:
        return [f"{of_baseline}; the difference is {apart.value:+.4f}, without an interval."]
    if chosen.loses("after", metric):
        return [f"{of_baseline}: on test the choice does not beat it {LOSES}, by {apart.written}."]
    proven = "" if apart.separated else ", which contains zero: the gain is not proven, and the baseline is cheaper"
    return [f"{of_baseline}; the difference is {apart.written}{proven}."]


def _without_texts(task: Task, chosen: Group) -> list[str]:
    """Say so where the model without texts is no worse on the mean."""
    model = task.collaborative_only
    if model is None:
        return []
    figures = [statistics.mean(chosen.values("test", name, task.metric)) for name in (model, "after")]
    if better(task.metric, figures[1], figures[0]):
        return []
    without = spread(chosen.values("test", model, task.metric))
    return [f"Collaborative only, without texts, is no worse on the mean: {without}."]


def _worse(group: Group, best: Group, metric: str) -> bool:
    """Return whether a group is worse on validation beyond the noise, or at all where the noise is not known."""
    sides = [one.by_run("valid", "after", metric) for one in (group, best)]
    apart = over_runs(sides[0], sides[1], group.same_data and best.same_data)
    return better(metric, 0.0, apart.value) and (apart.separated or apart.low is None)


def _gain(group: Group, metric: str) -> float:
    mean = statistics.mean(group.values("valid", "after", metric))
    return -mean if better(metric, 0.0, 1.0) else mean


def _on_test(group: Group, metric: str) -> str:
    return spread(group.values("test", "after", metric))


def _baselines(group: Group) -> str:
    return " or ".join(name.replace("_", " ") for name in group.best_baselines)


def _costs(group: Group) -> str:
    """Return what a group takes, as far as it was measured."""
    memory = CUDA if CUDA.mean(group) else RSS
    parts = [
        f"{cost.written(group)} {words}"
        for cost, words in (
            (TRAINABLE, "trained parameters"),
            (memory, "MiB at the peak"),
            (NEW_ITEM, "ms (p95) to encode a new item"),
        )
        if cost.mean(group) is not None
    ]
    return f" ({'; '.join(parts)})" if parts else ""

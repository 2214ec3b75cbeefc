"""Accuracy tables: a summary with one line per row of the matrix, every model of each, and the comparisons."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmrec_peft.benchmark.against import Records, against_best_baseline
from llmrec_peft.benchmark.cells import titled
from llmrec_peft.benchmark.grouping import Group, collaborative_only
from llmrec_peft.benchmark.item_slices import COLLABORATIVE, SLICES, on_slice
from llmrec_peft.benchmark.markdown import (
    LOSES,
    NOTHING,
    difference,
    metric_name,
    paragraph,
    short,
    spread,
    table,
)
from llmrec_peft.benchmark.sections import BEST_BASELINE, PRIMARY, Published, RecipeChoice
from llmrec_peft.evaluation.measures import better
from llmrec_peft.printable import for_markdown

LEGEND = (
    "Figures of the test part: mean ± standard deviation over seeds. Best baseline: of those that count or average, the"
    " one that is best on validation, chosen in each run. Blend: ours with the best baseline, the share chosen on"
    f" validation. {LOSES}: no better than the best baseline. Intervals: paired bootstrap, 95 %."
)
_SUMMARY = (
    "benchmark",
    "metric",
    "best baseline",
    "collaborative only",
    "published",
    "ours",
    "ours minus best baseline",
    "blend",
)
_NAMES = {"before": "before: frozen text", "after": "after: tuned", "blend": "blend with the best baseline"}


def summary(groups: Sequence[Group], choices: Mapping[str, RecipeChoice], records: Records) -> list[str]:
    """Make one line per group: best baseline, collaborative part alone, published, ours, their difference, blend.

    Args:
        groups: Measured rows over seeds.
        choices: The matrix's tasks by label.
        records: Comparisons.
    """
    body = []
    for group in groups:
        choice = choices[group.axes["recipe"]]
        metrics = shown_metrics(group, choice)
        against = [_against(group, metric, records) for metric in metrics]
        body.append(
            [
                for_markdown(group.title),
                " / ".join(metric_name(metric) for metric in metrics),
                _figures(group, BEST_BASELINE, metrics),
                _figures(group, collaborative_only([group], metrics[0]), metrics),
                _published(group, choice, metrics),
                _figures(group, "after", metrics),
                " / ".join(against) if any(against) else NOTHING,
                _figures(group, "blend", metrics),
            ]
        )
        body += [_slice_line(group, name, metrics[0]) for name in choice.slices]
    kept = [at for at in range(len(_SUMMARY)) if any(row[at] != NOTHING for row in body)]
    return table([_SUMMARY[at] for at in kept], [[row[at] for at in kept] for row in body], left=2)


def every_model(group: Group, choice: RecipeChoice) -> list[str]:
    """Make one table per metric: every model of a group on validation and on test."""
    lines: list[str] = []
    accuracy = group.accuracy
    for metric in shown_metrics(group, choice):
        others = [name for name in accuracy["test"] if name not in accuracy["baselines"] and name not in _NAMES]
        body = []
        for name in [*accuracy["baselines"], "before", *others, "after", "blend"]:
            valid, test = (group.values(part, name, metric) for part in ("valid", "test"))
            if not test:
                continue
            mark = f" {LOSES}" if name not in accuracy["baselines"] and group.loses(name, metric) else ""
            body.append([_model(group, name), spread(valid), spread(test) + mark])
        body += [
            [f"*published: {for_markdown(name + (f' ({one.source})' if one.source else ''))}*", NOTHING, short(figure)]
            for name, one in choice.published.items()
            if (figure := _published_figure(group, one, metric)) is not None
        ]
        body += _aims(group, choice, metric)
        sizes = {row["accuracy"]["n"] for row in group.rows}
        n = f", n {accuracy['n']:,}" if len(sizes) == 1 else ""
        of = f", {SLICES[accuracy['slice']]}" if accuracy["slice"] else ""
        lines += [
            *table(["model", f"validation {metric_name(metric)}", f"test {metric_name(metric)}{of}{n}"], body),
            "",
        ]
    return lines


@dataclass(frozen=True)
class ComparedLine:
    """An interval of a comparison.

    Attributes:
        named: What is compared.
        metric: The metric.
        unit: What was resampled.
        difference: The difference with its interval.
        excludes_zero: Whether the interval leaves out zero.
    """

    named: str
    metric: str
    unit: str
    difference: str
    excludes_zero: bool


def compared_lines(records: Records) -> list[ComparedLine]:
    """Return a line for each interval of the comparisons, by user and by item."""
    return [
        ComparedLine(
            _named(record),
            metric_name(record["metric"]),
            unit.removeprefix("by_"),
            difference(interval),
            interval["excludes_zero"],
        )
        for record in records
        if "left_out" not in record
        for unit, interval in record["intervals"].items()
    ]


def compared(records: Records) -> list[str]:
    """Make a table of all comparisons, and say which were left out and why."""
    body = [
        [
            for_markdown(one.named),
            one.metric,
            one.unit,
            f"**{one.difference}**" if one.excludes_zero else one.difference,
        ]
        for one in compared_lines(records)
    ]
    notes, left_out = dict[str, None](), dict[str, list[str]]()
    for record in records:
        if "left_out" in record:
            named = f"{for_markdown(_named(record))}, {metric_name(record['metric'])}"
            left_out.setdefault(record["left_out"], []).append(named)
        else:
            notes |= dict.fromkeys(record.get("notes", ()))
    lines = table(["first − second", "metric", "by", "difference, 95 %"], body, left=3) if body else []
    reasons = [f"Left out ({for_markdown(reason)}): {'; '.join(names)}." for reason, names in left_out.items()]
    told = [paragraph(one, bullet=True) for one in (*reasons, *map(for_markdown, notes))]
    return [*lines, *([""] if lines and told else []), *told]


def _named(record: Mapping[str, Any]) -> str:
    return f"{titled(record['first'])}, {record['model']} − {_other(record)}"


def _other(record: Mapping[str, Any]) -> str:
    """Return what a record compares against: the axes in which the other row differs, or a model of the same runs."""
    against = record["against"]
    if isinstance(against, str):
        return against.replace("_", " ")
    return titled({axis: value for axis, value in against.items() if record["first"].get(axis) != value})


def shown_metrics(group: Group, choice: RecipeChoice) -> list[str]:
    """Return the metrics that the tables show."""
    primary = group.accuracy["metric"]
    return [primary if metric == PRIMARY else metric for metric in choice.metrics] or [primary]


def _figures(group: Group, model: str | None, metrics: Sequence[str]) -> str:
    """Return a model's figures on test, with a mark if they are no better than the best baseline's."""
    if model is None:
        return NOTHING
    shown = []
    for metric in metrics:
        values = group.values("test", model, metric)
        mark = f" {LOSES}" if model in ("after", "blend") and values and group.loses(model, metric) else ""
        shown.append(spread(values) + mark)
    return NOTHING if set(shown) == {NOTHING} else " / ".join(shown)


def _slice_line(group: Group, slice_name: str, metric: str) -> list[str]:
    """Return the line of some items, with the baseline that is best on them."""
    found = on_slice(group, slice_name, metric)
    return [
        f"{for_markdown(group.title)}, {found.items} (n {found.n:,})",
        metric_name(metric),
        found.best_written,
        found.written(COLLABORATIVE),
        NOTHING,
        found.written("after"),
        NOTHING,
        found.written("blend"),
    ]


def _against(group: Group, metric: str, records: Records) -> str:
    """Return the tuned model less the best baseline, with the wider of its intervals if it was compared."""
    apart = against_best_baseline(group, metric, records)
    return "" if apart is None else apart.written


def _published_figure(group: Group, published: Published, metric: str) -> float | None:
    figures = published.figures
    return figures.get(metric, figures.get(PRIMARY) if metric == group.accuracy["metric"] else None)


def _published(group: Group, choice: RecipeChoice, metrics: Sequence[str]) -> str:
    named = []
    for name, published in choice.published.items():
        figures = [_published_figure(group, published, metric) for metric in metrics]
        if any(figure is not None for figure in figures):
            spelled = " / ".join(NOTHING if figure is None else short(figure) for figure in figures)
            named.append(for_markdown(f"{name} {spelled}" + (f" ({published.source})" if published.source else "")))
    return ", ".join(named) or NOTHING


def _aims(group: Group, choice: RecipeChoice, metric: str) -> list[list[str]]:
    """Return the figures that were aimed at, and whether the tuned model reached them."""
    aims = choice.aims.get(metric, choice.aims.get(PRIMARY) if metric == group.accuracy["metric"] else None)
    if aims is None:
        return []
    aims = aims if isinstance(aims, tuple) else (aims,)
    mean = statistics.mean(group.values("test", "after", metric))
    names = ("aimed at",) if len(aims) == 1 else ("wanted", "hoped for")
    body = []
    for at, aim in enumerate(aims):
        reached = "missed" if better(metric, aim, mean) else "reached"
        body.append([f"*{names[min(at, len(names) - 1)]}, {reached}*", NOTHING, short(aim)])
    return body


def _model(group: Group, name: str) -> str:
    """Return a model's name for people, with a remark at the best baseline."""
    plain = _NAMES.get(name, for_markdown(name.replace("_", " ")))
    if name == collaborative_only([group], group.accuracy["metric"]) and plain != COLLABORATIVE:
        plain += f" ({COLLABORATIVE})"
    if name not in group.best_baselines:
        return f"*{plain}*" if name in group.accuracy["baselines"] else plain
    times = sum(row["accuracy"]["best_baseline"] == name for row in group.rows)
    some = "" if times == len(group.rows) else f" in {times} of {len(group.rows)}"
    return f"*{plain}* (best baseline{some})"

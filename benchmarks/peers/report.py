"""The tables of `benchmarks/classical_peers.py` as Markdown, from its result alone."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from peers.ours import ahead

AHEAD = "▲"
"""Behind a peer whose mean figure is better than ours."""
NONE = "="
"""Behind a difference of which an interval contains zero."""


def as_markdown(report: Mapping[str, Any]) -> str:
    """Return the whole report."""
    lines = ["# Collaborative peers", "", *report["how"], "", f"{AHEAD}: the peer's mean figure is better than ours."]
    lines += [f"{NONE}: an interval contains zero, whatever is resampled: no difference.", ""]
    for task in report["tasks"]:
        missing = _not_measured(task, report["tasks"])
        lines += [f"## {task['task']}", "", _facts(task), "", *table(task), ""]
        lines += [f"- {one['model']} ({one['package']}): {_settings(one)}." for one in task["peers"]]
        lines += [f"- Not measured on this task: {', '.join(missing)}."] if missing else []
        lines.append("")
    told = ", ".join(f"{name} {number}" for name, number in report["versions"].items() if number is not None)
    hardware = report["hardware"]
    lines += [f"{report['date']}; {hardware['processor']}, {hardware['threads']} thread. {told}."]
    return "\n".join(lines) + "\n"


def table(task: Mapping[str, Any]) -> list[str]:
    """Return one task's table: a row a peer, best first on validation, and ours."""
    metric, ours = task["metric"], task["ours"]
    shown = [metric] if metric == "rmse" else ["hr@10", "ndcg@10"]
    columns = ["model", f"validation {metric}", *(f"test {one}" for one in shown), f"ours minus it, {metric}"]
    lines = [f"| {' | '.join(columns)} |", f"| --- |{' ---: |' * (len(columns) - 1)}"]
    done = [one for one in task["peers"] if one["status"] == "ok"]
    for one in sorted(done, key=lambda row: row["validation"], reverse=metric != "rmse"):
        mark = f" {AHEAD}" if ours and ahead(metric, ours["test"][metric], one["test"][metric]) else ""
        figures = [_spread(one["test"][name]) + (mark if name == metric else "") for name in shown]
        lines.append(_row(_named(one), f"{one['validation']:.4f}", *figures, _minus(one, metric)))
    for one in task["peers"]:
        if one["status"] != "ok":
            lines.append(_row(_named(one), f"left out: {one['reason']}", *[""] * (len(shown) + 1)))
    if ours:
        figures = [_spread(ours["test"][name]) if name in ours["test"] else "–" for name in shown]
        lines.append(_row("**this package**", "–", *(f"**{figure}**" for figure in figures), ""))
    return lines


def _facts(task: Mapping[str, Any]) -> str:
    sizes = task["sizes"]
    said = (
        f"Recipe `{task['recipe']}` on `{task['data']}`: {sizes['users']:,} users, {sizes['items']:,} items;"
        f" {sizes['learned']:,} interactions to learn from, {sizes['test']:,} test examples."
    )
    return said + (f" Published {task['published']}." if task["published"] else "")


def _not_measured(task: Mapping[str, Any], tasks: Sequence[Mapping[str, Any]]) -> list[str]:
    """Name the peers that were measured on other tasks of the same kind alone."""
    alike = [one for one in tasks if (one["metric"] == "rmse") == (task["metric"] == "rmse")]
    named = dict.fromkeys(_named(row) for one in alike for row in one["peers"])
    return [name for name in named if name not in {_named(row) for row in task["peers"]}]


def _named(row: Mapping[str, Any]) -> str:
    return f"{row['model']} ({row['package']})"


def _minus(row: Mapping[str, Any], metric: str) -> str:
    found = row.get("ours_minus")
    if not found:
        return "–"
    one = found[metric]
    text = f"{one['difference']:+.4f} [{one['low']:+.4f}, {one['high']:+.4f}] by {one['unit']}"
    return text if one["differs"] else f"{text} {NONE}"


def _settings(row: Mapping[str, Any]) -> str:
    if row["status"] != "ok":
        return str(row["reason"])
    chosen = ", ".join(f"{name} {value}" for name, value in _told(row["settings"]))
    return f"{chosen}; of {row['settings_tried']} settings"


def _told(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in settings.items():
        yield name, str(value).lower() if isinstance(value, bool) else str(value)


def _spread(values: Sequence[float]) -> str:
    """Mean ± standard deviation over seeds."""
    return f"{statistics.mean(values):.4f}" + (f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else "")


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"

"""Diff: what is worse in one benchmark's results than in another's, beyond noise?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from llmrec_peft.benchmark.cells import row_of, titled
from llmrec_peft.benchmark.grouping import Group, groups_of
from llmrec_peft.benchmark.kept_predictions import KeptPredictions
from llmrec_peft.benchmark.noise import Difference, over_runs, to_quote
from llmrec_peft.benchmark.pooled import pooled_comparison
from llmrec_peft.benchmark.provenance import at_a_time
from llmrec_peft.benchmark.ratios import Ratio, ratios
from llmrec_peft.benchmark.report import file_of, read_report
from llmrec_peft.errors import InputError
from llmrec_peft.evaluation.measures import better
from llmrec_peft.workflows.compare import compare

REGRESSION, IMPROVEMENT, NOISE, UNKNOWN = "regression", "improvement", "noise", "unknown"
"""Verdicts; of a difference whose noise is not known nothing is said."""
_MACHINE = ("processor", "cores", "threads", "cuda")


@dataclass(frozen=True)
class Change:
    """A figure of a row in both results.

    Attributes:
        row: The row.
        what: The figure.
        first: Its mean over runs in the first result.
        second: The same in the second.
        change: The difference (of accuracy) or the ratio (of costs) with its noise, in words.
        verdict: One of the verdicts.
    """

    row: str
    what: str
    first: float
    second: float
    change: str
    verdict: str


@dataclass(frozen=True)
class Compared:
    """What differs between two results.

    Attributes:
        changes: Every figure that both have.
        notes: Rows that are missing on one side, or cannot be compared.
        failed: Rows that were measured in the first result and failed in the second.
    """

    changes: tuple[Change, ...]
    notes: tuple[str, ...]
    failed: tuple[str, ...]

    @property
    def regressions(self) -> list[Change]:
        """Return what is worse beyond noise."""
        return [one for one in self.changes if one.verdict == REGRESSION]

    def plain(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "regressions": len(self.regressions) + len(self.failed)}


@dataclass(frozen=True)
class _Side:
    """One of the results."""

    report: Mapping[str, Any]
    groups: Mapping[str, Group]
    kept: KeptPredictions

    @classmethod
    def read(cls, path: Path) -> _Side:
        report = read_report(path)
        groups = {group.title: group for group in groups_of(report["rows"])}
        return cls(report, groups, KeptPredictions(file_of(path).parent))

    def machines(self, group: Group) -> set[str]:
        """Return what of the machines of a group's rows decides on latencies."""
        listed, places = self.report["hardware"], [row.get("hardware") for row in group.rows]
        machines = [listed[place] for place in places if isinstance(place, int)]
        return {", ".join(f"{name} {machine.get(name)}" for name in _MACHINE) for machine in machines}

    def predictions(self, group: Group) -> list[Path] | None:
        """Return the kept predictions of all rows of a group; None unless all are there."""
        found = [folder for row in group.rows if (folder := self.kept.of(row)) is not None]
        return found if len(found) == len(group.rows) else None


def diff(first: Path, second: Path, resamples: int = 2000) -> Compared:
    """Compare two results row by row, matched by their axes.

    Accuracy is compared by a paired bootstrap where both sides have kept predictions, else by Welch's interval over
    seeds; latencies and memory by their ratio, where the machines and the number of cells at a time are the same.

    Args:
        first: The earlier ``results.json``, or its folder.
        second: The later one.
        resamples: Resamples of the bootstrap.

    Raises:
        InputError: If one of them is no result, or they have no row in common.
    """
    sides = (_Side.read(first), _Side.read(second))
    shared = [title for title in sides[0].groups if title in sides[1].groups]
    failed = _failed(sides)
    if not shared and not failed:
        raise InputError(f"{first} and {second} have no measured row in common")
    changes, notes = [], _missing(sides)
    for title in shared:
        groups = (sides[0].groups[title], sides[1].groups[title])
        why = _unlike(groups)
        if why is not None:
            notes.append(f"{title}: not compared: {why}")
            continue
        accuracy, note = _accuracy(title, sides, groups, resamples)
        changes.append(accuracy)
        notes += [note] if note else []
        why = _costs_unlike(sides, groups)
        if why is None:
            changes += [_cost(title, one) for one in ratios(*groups)]
        else:
            notes.append(f"{title}: latencies and memory are not compared: {why}")
    return Compared(tuple(changes), tuple(notes), tuple(failed))


def _accuracy(
    title: str, sides: tuple[_Side, _Side], groups: tuple[Group, Group], resamples: int
) -> tuple[Change, str]:
    """Compare the tuned model's primary metric; with a note where kept predictions could not be used."""
    metric, note = groups[0].accuracy["metric"], ""
    figures = [group.by_run("test", "after", metric) for group in groups]
    means = [sum(side.values()) / len(side) for side in figures]
    if figures[0] == figures[1]:
        return Change(title, metric, means[0], means[1], "the same in every run", NOISE), note
    apart, how = None, ""
    folders = [side.predictions(group) for side, group in zip(sides, groups, strict=True)]
    if folders[0] is not None and folders[1] is not None:
        try:
            apart, how = _bootstrap(folders[1], folders[0], groups, metric, resamples), ", paired bootstrap"
        except InputError as error:
            note = f"{title}: its predictions are not compared: {error}"
    if apart is None:
        apart = over_runs(figures[1], figures[0], all(group.same_data for group in groups))
    verdict = UNKNOWN if apart.low is None else NOISE
    if apart.separated:
        verdict = IMPROVEMENT if better(metric, apart.value, 0.0) else REGRESSION
    return Change(title, metric, means[0], means[1], f"{apart.written}{how}", verdict), note


def _bootstrap(
    later: list[Path], earlier: list[Path], groups: tuple[Group, Group], metric: str, resamples: int
) -> Difference:
    """Return the later less the earlier figure with the wider interval, or one that contains zero."""
    if all(group.same_data for group in groups):
        report = compare(later, [str(folder) for folder in earlier], metric, resamples=resamples)
    else:
        pairs = [[(folder, "after") for folder in side] for side in (later, earlier)]
        report = pooled_comparison(pairs[0], pairs[1], metric, resamples)
    return to_quote(report["intervals"])


def _cost(title: str, ratio: Ratio) -> Change:
    change = f"× {ratio.value:.3f} (noise up to {ratio.bound:.1%}: {ratio.how})"
    return Change(title, ratio.what, ratio.first, ratio.second, change, ratio.verdict)


def _unlike(groups: Sequence[Group]) -> str | None:
    """Return why the accuracy of two groups cannot be compared; None if it can."""
    for name in ("metric", "slice", "n"):
        values = [sorted({str(row["accuracy"][name]) for row in group.rows}) for group in groups]
        if values[0] != values[1]:
            return f"{name} is {' or '.join(values[0])} there, {' or '.join(values[1])} here"
    metric = groups[0].accuracy["metric"]
    if not all(group.values("test", "after", metric) for group in groups):
        return f"{metric} is not defined in every run"
    for name in ("fingerprint", "digest"):
        told = [{str((row.get("data") or {}).get(name)) for row in group.rows} for group in groups]
        if "None" not in told[0] | told[1]:
            return None if told[0] == told[1] else "they were measured on other data"
    return None


def _costs_unlike(sides: tuple[_Side, _Side], groups: tuple[Group, Group]) -> str | None:
    """Return why latencies and memory of two groups cannot be compared; None if they can."""
    if sides[0].machines(groups[0]) != sides[1].machines(groups[1]):
        return "other machines"
    beside = [{at_a_time(row) for row in group.rows} for group in groups]
    return None if beside[0] == beside[1] else "another number of cells ran at a time (--jobs)"


def _missing(sides: tuple[_Side, _Side]) -> list[str]:
    """Name the rows that only one side has at all."""
    titles = [{titled(row_of(row["axes"])): None for row in side.report["rows"]} for side in sides]
    names = ("first", "second")
    return [
        f"{title}: only in the {names[at]} result"
        for at in (0, 1)
        for title in titles[at]
        if title not in titles[1 - at]
    ]


def _failed(sides: tuple[_Side, _Side]) -> list[str]:
    """Name the rows that are measured on the first side, and failed or refused on the second, with the reason."""
    reasons = {titled(row["axes"]): row for row in sides[1].report["rows"] if row["status"] != "ok"}
    measured = [titled(row["axes"]) for row in sides[0].report["rows"] if row["status"] == "ok"]
    return [
        f"{title}: {reasons[title]['status']}: {reasons[title]['reason']}" for title in measured if title in reasons
    ]

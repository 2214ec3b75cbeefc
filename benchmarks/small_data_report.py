"""The tables of `benchmarks/small_data.py` as Markdown, from its result alone.

python benchmarks/small_data_report.py       # benchmarks/results/small_data.json -> .md
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from llmrec_peft.artifact.folder import whole_file

RESULTS = Path(__file__).parent / "results" / "small_data.json"
LOWER = ("rmse",)
"""Metrics of which lower values are better."""
LEVEL = 0.05
"""Two-sided level of an interval of 95 %, and of all comparisons together after Holm's correction."""
WIDTH = 3.92
"""Width of a 95 % interval, in standard errors."""
VERDICTS = ("worse", "no difference", "better")


def report(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Write the rows of a result as Markdown."""
    differences = [row["against_best_on_test"] for row in rows.values()]
    adjusted = holm([p_value(one) for one in differences])
    lines = ["# Small data", "", *_INTRODUCTION, ""]
    lines += [f"| {' | '.join(_COLUMNS)} |", f"| {' | '.join(_COLUMNS.values())} |"]
    counts = {how: dict.fromkeys(VERDICTS, 0) for how in ("each by itself", "after Holm's correction")}
    for row, one, p in zip(rows.values(), differences, adjusted, strict=True):
        alone = verdict(one, row["metric"], significant=one["excludes_zero"])
        together = verdict(one, row["metric"], significant=p <= LEVEL)
        for how, said in zip(counts.values(), (alone, together), strict=True):
            how[said] += 1
        compared = f"{_interval(one)} {alone}", f"{p:.3f} {together}", f"{row['seconds']:.0f}"
        lines.append(f"| {' | '.join([*_cells(row), *compared])} |")
    told = (f"{how}, " + ", ".join(f"{word} in {n}" for word, n in of.items()) for how, of in counts.items())
    lines += ["", f"Of {len(rows)} comparisons: {'; '.join(told)}.", "", *_MANY, "", *_over_seeds(rows.values())]
    return "\n".join(lines) + "\n"


def _cells(row: Mapping[str, Any]) -> list[str]:
    test, said, best = row["test"], row["recommended"], row["best_on_test"]
    return [
        f"{row['source']} {row['size'] or 'all'}",
        str(row["seed"]),
        str(row["parts"]["test"]),
        row["metric"],
        f"{test['recommended']:.4f} ({said['model']})",
        f"{said['share_of_baseline']:.2f}",
        f"{test['before']:.4f}" if "before" in test else "–",
        f"{test['after']:.4f}",
        f"{best.replace('_', ' ')} {test[best]:.4f}",
    ]


def _interval(one: Mapping[str, Any]) -> str:
    return f"{one['difference']:+.4f} [{one['low']:+.4f}, {one['high']:+.4f}] {one['unit'].replace('_', ' ')}:"


def verdict(one: Mapping[str, float], metric: str, significant: bool) -> str:
    """Say whether what is recommended is worse or better than the baseline, where the difference is significant."""
    if not significant:
        return "no difference"
    return "worse" if (one["difference"] > 0.0) == (metric in LOWER) else "better"


def p_value(interval: Mapping[str, float]) -> float:
    """Return the two-sided p-value of a difference by the normal approximation.

    The standard error is the width of the bootstrap's 95 % interval divided by 3.92.

    >>> round(p_value({"difference": 1.96, "low": 0.0, "high": 3.92}), 3)
    0.05
    """
    error = (interval["high"] - interval["low"]) / WIDTH
    if error == 0.0:
        return 1.0 if interval["difference"] == 0.0 else 0.0
    return math.erfc(abs(interval["difference"]) / error / math.sqrt(2.0))


def holm(values: Sequence[float]) -> list[float]:
    """Return p-values adjusted by Holm's step-down procedure, in the order given.

    References:
        Holm, A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian Journal of Statistics 6(2), 1979.

    >>> [round(p, 2) for p in holm([0.01, 0.04, 0.03, 0.005])]
    [0.03, 0.06, 0.06, 0.02]
    """
    order = np.argsort(values, kind="stable")
    factors = len(values) - np.arange(len(values))
    stepped = np.minimum(1.0, np.maximum.accumulate(factors * np.asarray(values, np.float64)[order]))
    adjusted = np.empty(len(values))
    adjusted[order] = stepped
    return [float(p) for p in adjusted]


def _over_seeds(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Write the table of mean differences over the seeds of each set and size."""
    lines = ["## Over the seeds", "", *_OVER_SEEDS, ""]
    lines += ["| data | seeds | mean difference, as if independent | as if one draw | verdict |"]
    lines += ["| --- | ---: | --- | --- | --- |"]
    groups: dict[tuple[str, int | None], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["source"], row["size"]), []).append(row)
    for (source, size), members in groups.items():
        intervals = [row["against_best_on_test"] for row in members]
        mean, low, high = mean_difference(intervals, independent=False)
        joined = "–"
        if size is not None:
            _, *ends = mean_difference(intervals, independent=True)
            joined = f"{mean:+.4f} [{ends[0]:+.4f}, {ends[1]:+.4f}]"
        said = verdict({"difference": mean}, members[0]["metric"], significant=low > 0.0 or high < 0.0)
        cells = (f"{source} {size or 'all'}", str(len(members)), joined, f"{mean:+.4f} [{low:+.4f}, {high:+.4f}]", said)
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def mean_difference(intervals: Sequence[Mapping[str, float]], independent: bool) -> tuple[float, float, float]:
    """Return the mean of differences with its 95 % interval.

    Args:
        intervals: Differences with their intervals.
        independent: Whether their standard errors are joined as those of independent differences; else the half width
            is the mean of theirs, which is never too small.

    >>> [round(value, 3) for value in mean_difference([{"difference": 0.1, "low": -0.1, "high": 0.3}] * 4, True)]
    [0.1, 0.0, 0.2]
    """
    mean = float(np.mean([one["difference"] for one in intervals]))
    halves = np.array([(one["high"] - one["low"]) / 2.0 for one in intervals])
    half = float(np.sqrt(np.square(halves).sum()) / len(halves) if independent else halves.mean())
    return mean, mean - half, mean + half


_INTRODUCTION = (
    "What a run recommends on test, beside the frozen and the tuned model, and the simple baseline that is best **on",
    "test**, which nobody could have known: the hardest bar there is. The difference is that of what is recommended",
    "less that baseline, with a 95 % interval of the paired bootstrap; of the two, over users and over items, the",
    "wider one is given and named. Seconds are of a machine that many programs shared: they cannot be compared.",
    "`python benchmarks/small_data.py --data DIR` trains it all again, and `python benchmarks/small_data_report.py`",
    "writes these tables from small_data.json.",
)
_MANY = (
    "With many intervals of 95 %, one in twenty excludes zero by chance alone: one or two of thirty. So the column",
    "*p after Holm* adjusts for all comparisons together by Holm's procedure, at a level of 5 %. The p-values that go",
    "into it are those of a normal approximation: the standard error is the width of the interval divided by 3.92.",
)
_OVER_SEEDS = (
    "Each seed draws interactions of the same set anew, so draws share ratings (two draws of 8,000 of FilmTrust's",
    "35,497 share 23 % of theirs, on average) and their differences are not independent. The first interval takes",
    "them as independent and is too narrow; the second is the mean of theirs, as if all were one draw, and is never",
    "too narrow for that reason. The verdict is by the second. Of Amazon Magazines nothing is drawn: the seeds have",
    "one test part.",
)
_COLUMNS = {
    "data": "---",
    "seed": "---:",
    "test": "---:",
    "metric": "---",
    "recommended": "---:",
    "share of baseline": "---:",
    "frozen": "---:",
    "tuned": "---:",
    "best baseline on test": "---",
    "difference": "---",
    "p after Holm": "---",
    "seconds": "---:",
}
"""Columns of the table and how each is aligned."""


def write_report(result: Path) -> None:
    """Write the tables of a result file beside it."""
    rows = json.loads(result.read_text(encoding="utf-8"))["cells"]
    with whole_file(result.with_suffix(".md")) as partial:
        partial.write_text(report(rows), encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the tables of a result file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("result", type=Path, nargs="?", default=RESULTS, help="result of benchmarks/small_data.py")
    write_report(parser.parse_args(arguments).result)


if __name__ == "__main__":
    main()

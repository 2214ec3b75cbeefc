"""Provenance: on which machines, by which code and on which data the rows of a report were measured."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmrec_peft.benchmark.cells import titled
from llmrec_peft.benchmark.matrix import is_repeat
from llmrec_peft.benchmark.rows import Row

_PACKAGES = ("llmrec-peft", "torch", "transformers", "peft")
_PACKAGE = Path(__file__).parents[1]
_SECONDS = 10
_DIGITS = 16
"""Digits of a digest that are shown; the rows have all."""
_SIZES = ("users", "items", "train", "valid", "test")
OTHER_CODE = "‡"
"""Mark of a figure that other code measured than that of the newest row."""


@dataclass(frozen=True)
class Provenance:
    """Where the rows of a report come from.

    Attributes:
        machines: Each machine in words, with the tasks that were measured on it, where there are several.
        side_by_side: How many cells ran at a time, where there were several, with their tasks if others ran alone.
        versions: Versions of the packages, one line for each set.
        commit: Commit of the checkout that wrote the report; None where that is no checkout, or is not known.
        codes: Digests of the code that measured rows, with the numbers of their rows; the newest row's first.
        seeds: The seeds in words.
        data: Data sets in words, with their fingerprints.
    """

    machines: tuple[str, ...]
    side_by_side: tuple[str, ...]
    versions: tuple[str, ...]
    commit: str | None
    codes: tuple[tuple[str, int], ...]
    seeds: tuple[str, ...]
    data: tuple[str, ...]


def provenance_of(report: Mapping[str, Any]) -> Provenance:
    """Collect from a report where its rows come from."""
    rows = [row for row in report["rows"] if row["status"] == "ok"]
    counts = Counter(str(row["code"]) for row in rows if row.get("code"))
    newest = current_code(rows)
    codes = sorted(counts.items(), key=lambda one: (one[0] != newest, one[0]))
    commit = report.get("commit")
    return Provenance(
        machines=tuple(_machines(report)),
        side_by_side=tuple(_side_by_side(rows)),
        versions=tuple(packages(one) for one in report.get("versions", ())),
        commit=commit if isinstance(commit, str) else None,
        codes=tuple(codes),
        seeds=tuple(_seeds(rows)),
        data=tuple(_data(rows)),
    )


def current_code(rows: Sequence[Row]) -> str | None:
    """Return the digest of the code that measured the newest row; None if no row says it.

    Rows that the runner marked as stale count only if there are no others.
    """
    fresh = [row for row in rows if not row.get("stale")]
    dated = [(str(row.get("date", "")), str(row["code"])) for row in fresh or rows if row.get("code")]
    newest = max((date for date, _ in dated), default="")
    same_day = Counter(code for date, code in dated if date == newest)
    return same_day.most_common(1)[0][0] if same_day else None


def by_other_code(row: Row, current: str | None) -> bool:
    """Return whether a row was measured by other code than the newest one; rows that do not say count as other."""
    return current is not None and row.get("code") != current


def at_a_time(row: Row) -> int:
    """Return how many cells could run while a row was measured; 1 for rows of earlier versions, which do not say."""
    return int(row.get("at_a_time") or 1)


def packages(versions: Mapping[str, str]) -> str:
    """Return the versions that matter most, in words."""
    return ", ".join(f"{name} {versions[name]}" for name in _PACKAGES if name in versions)


def commit_here() -> str | None:
    """Return the commit of the checkout that this package runs from, ``+changes`` if its files differ; None elsewhere.

    A package that lies in somebody else's repository, such as an environment inside it, has no commit of its own.
    """
    if _git("ls-files", "--error-unmatch", Path(__file__).name, at=Path(__file__).parent) is None:
        return None
    commit = _git("rev-parse", "HEAD", at=_PACKAGE)
    if commit is None:
        return None
    return f"{commit}{'+changes' if _git('status', '--porcelain', '--', '.', at=_PACKAGE) else ''}"


def _git(*arguments: str, at: Path) -> str | None:
    """Return what git says, or None if it fails or is not there."""
    try:
        done = subprocess.run(  # noqa: S603 - our own arguments, no shell
            ["git", *arguments],  # noqa: S607 - the git of the user's path
            cwd=at,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _machines(report: Mapping[str, Any]) -> list[str]:
    """Return each machine in words; with several, the tasks that were measured on it."""
    machines, lines = report.get("hardware", ()), []
    for at, one in enumerate(machines):
        threads = f"{one['threads']} thread{'' if one['threads'] == 1 else 's'}"
        machine = f"{one['cuda'] or one['processor']}, {one['cores']} cores ({threads}), {one['memory_gb']} GB"
        tasks = dict.fromkeys(str(row["axes"]["recipe"]) for row in report["rows"] if row.get("hardware") == at)
        lines.append(machine + (f": {', '.join(tasks)}" if tasks and len(machines) > 1 else ""))
    return lines


def _side_by_side(rows: Sequence[Row]) -> list[str]:
    """Say which rows were measured several at a time."""
    lines = []
    for count in sorted({at_a_time(row) for row in rows} - {1}):
        own = [row for row in rows if at_a_time(row) == count]
        tasks = ", ".join(dict.fromkeys(str(row["axes"]["recipe"]) for row in own))
        where = "" if len(own) == len(rows) else f": {tasks}"
        lines.append(f"{count} cells at a time, which disturb each other's times{where}")
    return lines


def _seeds(rows: Sequence[Row]) -> list[str]:
    """Return the seeds in words, tasks with the same ones together."""
    by_task: dict[str, dict[str, None]] = {}
    for row in rows:
        seeds = titled({axis: value for axis, value in row["axes"].items() if is_repeat(axis)})
        by_task.setdefault(str(row["axes"]["recipe"]), {})[seeds] = None
    tasks: dict[str, list[str]] = {}
    for task, runs in by_task.items():
        tasks.setdefault(", ".join(runs), []).append(task)
    return [seeds if len(tasks) == 1 else f"{', '.join(own)}: {seeds}" for seeds, own in tasks.items()]


def _data(rows: Sequence[Row]) -> list[str]:
    """Return the data sets in words: name and sizes, and the digests of all that have these."""
    digests: dict[str, dict[str, None]] = {}
    for row in rows:
        data = row.get("data")
        if isinstance(data, Mapping):
            sizes = [f"{data[part]:,} {part}" for part in _SIZES if data.get(part)]
            told = [f"{name} {data[name][:_DIGITS]}" for name in ("fingerprint", "digest") if data.get(name)]
            digests.setdefault(f"{data.get('name', 'data')}: {', '.join(sizes)}", {}).update(dict.fromkeys(told))
    return [f"{named}; {', '.join(own)}" if own else named for named, own in digests.items()]

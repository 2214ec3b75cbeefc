"""The long fuzz: thousands of seeded hostile inputs through every door; `make soak` runs it and keeps the counts.

cd tests && python -m fuzz [--out FILE] [--seed N] [--only SUBJECT] [--share 0.1]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from fuzz.harness import Tally, fuzz_subject, subjects

COUNTS: Mapping[str, int] = {"readers": 5000}
"""Inputs of a subject, where it is not `USUAL`."""
USUAL = 1500
SHOWN = 5
"""Defects of a subject that are printed and kept."""


def main() -> None:
    """Run every subject in a process of its own; the exit status is 1 if one input found a defect."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file for the counts")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", action="append", choices=subjects(), help="a subject; may be given several times")
    parser.add_argument("--share", type=float, default=1.0, help="share of the usual number of inputs")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        sys.stdout.write(json.dumps(_tried(asked.child, asked.seed, asked.share)) + "\n")
        return
    rows = [_in_a_process(subject, asked.seed, asked.share) for subject in asked.only or subjects()]
    total = {name: sum(row[name] for row in rows) for name in ("inputs", "accepted", "refused")}
    total |= {name: sum(len(row[name]) for row in rows) for name in ("tracebacks", "hangs", "broken")}
    print("total:", _line(total))
    if asked.out is not None:
        report = {"name": "soak", "date": date.today().isoformat(), "seed": asked.seed, "total": total, "rows": rows}
        asked.out.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    sys.exit(any(total[name] for name in ("tracebacks", "hangs", "broken")))


def _in_a_process(subject: str, seed: int, share: float) -> dict[str, Any]:
    """Run one subject in a process of its own, so that a crash of the interpreter is counted, too."""
    command = [sys.executable, "-m", "fuzz", "--child", subject, "--seed", str(seed), "--share", str(share)]
    quiet = {**os.environ, "PYTHONWARNINGS": "ignore"}  # libraries warn of what is damaged on purpose
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, env=quiet)
    try:
        row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        tally = Tally(broken=[f"the process ended with {done.returncode}"])
        row = {"subject": subject, **asdict(tally), "seconds": None}
    print(f"{subject}: {_line({**row, **{name: len(row[name]) for name in ('tracebacks', 'hangs', 'broken')}})}")
    for name in ("tracebacks", "hangs", "broken"):
        for defect in row[name][:SHOWN]:
            print(f"  {defect}")
    sys.stdout.flush()
    return row


def _tried(subject: str, seed: int, share: float) -> dict[str, Any]:
    count, began = max(1, round(COUNTS.get(subject, USUAL) * share)), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        tally = fuzz_subject(subject, count, seed, Path(folder))
    row = {"subject": subject, **asdict(tally), "seconds": round(time.perf_counter() - began, 1)}
    row["peak_mib"] = round(tally.peak_mib, 1)
    return row


def _line(row: Mapping[str, Any]) -> str:
    names: Sequence[str] = ("inputs", "accepted", "refused", "tracebacks", "hangs", "broken")
    return ", ".join(f"{row[name]:,} {name}" for name in names)


if __name__ == "__main__":
    main()

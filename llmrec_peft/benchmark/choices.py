"""Choices: what the person who starts a benchmark decides."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

COMMAND = (sys.executable, "-m", "llmrec_peft.benchmark.cell")
"""Command that measures a cell, called with the paths of its spec, of the JSON file to write, and of a run folder."""


@dataclass(frozen=True)
class Choices:
    """Settings of a benchmark run.

    Attributes:
        overwrite: Whether finished cells are measured again.
        keep_failed: Whether failed cells are not measured again.
        keep_stale: Whether cells that other code measured are not measured again.
        keep_runs: Whether the cells' run folders are kept.
        keep_predictions: Whether the files that comparisons read are kept.
        jobs: Cells at a time; several disturb each other's latencies, so each row says how many there were.
        show: Whether to show a progress bar and notes.
        command: Command that measures a cell.
    """

    overwrite: bool = False
    keep_failed: bool = False
    keep_stale: bool = False
    keep_runs: bool = False
    keep_predictions: bool = False
    jobs: int = 1
    show: bool = True
    command: Sequence[str] = field(default=COMMAND)

"""Job: a pool does the parts that are missing, with a progress bar; an interruption says what goes on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from llmrec_peft.cluster.parts import Parts
from llmrec_peft.cluster.pool import Pool
from llmrec_peft.cluster.worker import Worker
from llmrec_peft.errors import InterruptedTrainingError
from llmrec_peft.printable import shown
from llmrec_peft.progress import SILENT, Progress


def work_through(
    parts: Parts,
    rows: Mapping[str, int],
    pool: Pool,
    worker: type[Worker],
    arguments: Mapping[str, Any],
    title: str,
    progress: Progress = SILENT,
) -> tuple[dict[str, dict[str, Any]], int]:
    """Do the parts of a job whose results are not there.

    Args:
        parts: The parts, begun.
        rows: Rows of each part, in order.
        pool: Who works.
        worker: Class of the workers; beside `arguments` they are given `folder` and `job`.
        arguments: What else one is made of.
        title: What the progress bar says.
        progress: Where it is shown.

    Returns:
        The reports of all parts, in order, and how many of them an earlier process had done.

    Raises:
        InputError: Of a worker.
    """
    reports = parts.reports(list(rows))
    before = len(reports)
    given = {"folder": str(parts.folder.absolute()), "job": parts.job, **arguments}
    with progress.bar(title, sum(rows.values()), sum(rows[name] for name in reports)) as moving:
        for name, report in pool.each(worker, given, [name for name in rows if name not in reports]):
            reports[name] = dict(report)
            moving.advance(rows[name])
    return {name: reports[name] for name in rows}, before


@contextlib.contextmanager
def going_on(target: Path) -> Iterator[None]:
    """Say after Ctrl-C that the same command goes on.

    Raises:
        InterruptedTrainingError: In place of the interruption.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise InterruptedTrainingError(f"the same command goes on with what {shown(target)} lacks") from None

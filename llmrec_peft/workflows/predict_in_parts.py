"""Predict in parts: a file of pairs scored by several workers, with the scores that one process gives."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from llmrec_peft import __version__
from llmrec_peft.cluster.parts import INPUTS, Parts, read_part
from llmrec_peft.cluster.pool import Pool
from llmrec_peft.cluster.worker import Worker
from llmrec_peft.errors import InputError, InterruptedTrainingError, reason_of
from llmrec_peft.printable import shown
from llmrec_peft.progress import Progress
from llmrec_peft.run.recommender import Recommender
from llmrec_peft.run.tenant import Tenant
from llmrec_peft.workflows.pair_files import Source
from llmrec_peft.workflows.predict_worker import NewItemWorker, ScoreWorker
from llmrec_peft.workflows.scored_files import sink_of, source_of
from llmrec_peft.workflows.sifting import Predicted, Sifted, Sifting
from llmrec_peft.workflows.streams import STREAM, Unknown, format_of, opened, whole


def predict_in_parts(
    run: Path, source: Path, target: Path, overwrite: bool, unknown: Unknown, pool: Pool, show: bool = False
) -> Predicted:
    """Score every pair of a file by the workers of a pool; see `llmrec_peft.workflows.predict.predict`.

    The file is read twice. First its rows are sifted: each chunk becomes a part, and the new items of a chunk another
    one. Workers encode the new items, then score the chunks; each part is what one process encodes or scores at once,
    so that scores have the same bits. At last the rows are written with their scores. What workers did before an
    interruption is kept.

    Raises:
        InputError: As `predict`; for stdin or stdout; and if the file changes meanwhile.
        InterruptedTrainingError: When it was interrupted; what is done stays.
    """
    if STREAM in (source, target):
        raise InputError("--ray reads a file twice and writes beside the target: name files, not -")
    read_as, write_as = format_of(source, "csv"), format_of(target, "csv")
    recommender = Recommender.from_pretrained(run)
    digest = recommender.loaded.manifest.digest
    known = {"run": str(run.absolute()), "digest": digest}
    asked = {"what": "predict", "run": digest, "version": __version__}
    progress, tenant = Progress(show), recommender.tenant
    with contextlib.ExitStack() as stack:
        stack.enter_context(_taken_up(target))
        partial = stack.enter_context(whole(target, write_as, overwrite))
        new_items = stack.enter_context(Parts.of(target, "new-items"))
        scored = stack.enter_context(Parts.of(target, "scoring"))
        with opened(source) as file:
            before, pairs = _state(file), source_of(file, read_as, str(source))
            sink_of(partial, write_as, pairs, str(source)).close()  # what cannot be written is said before the work
            sifting = Sifting(tenant, pairs.names, str(source), unknown)
            new: list[Sequence[Mapping[str, Any]]] = []
            names = scored.begin(asked, _sifted(pairs, sifting, tenant, new))
        predicted = sifting.predicted
        if not predicted.rows:
            raise InputError(f"{source}: there are no rows")
        brought = new_items.begin(asked, (_columns(rows, str(source)) for rows in new))
        encoded = ""
        if brought and tenant.catalogue.vectors is not None:
            reports = _work(pool, NewItemWorker, new_items, brought, known, "encoding new items", progress)
            predicted.cut_items, encoded = sum(report["cut"] for report in reports), new_items.job
        more = {"new": str(new_items.folder.absolute()), "parts": brought, "encoded": encoded}
        _work(pool, ScoreWorker, scored, names, {**known, **more}, "scoring, rows", progress)
        with opened(source) as file:
            pairs = source_of(file, read_as, str(source))
            with contextlib.closing(sink_of(partial, write_as, pairs, str(source))) as sink:
                for name, chunk in zip(names, pairs, strict=False):
                    scores = scored.result(name).column("score").to_numpy()
                    basis = read_part(scored.folder / INPUTS / name).column("basis").to_pylist()
                    if len(chunk) != len(scores):
                        break
                    sink.write(chunk, scores, basis)
            if _state(file) != before:
                raise InputError(f"{source} was changed while it was read: nothing was written")
    return predicted


def _work(
    pool: Pool,
    worker: type[Worker],
    parts: Parts,
    names: list[str],
    arguments: Mapping[str, Any],
    title: str,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Let workers do the parts that are not done, and return the reports of all."""
    reports = parts.reports(names)
    rows = {name: read_part(parts.folder / INPUTS / name).num_rows for name in names}
    given = {"folder": str(parts.folder.absolute()), "job": parts.job, **arguments}
    with progress.bar(title, sum(rows.values()), sum(rows[name] for name in reports)) as moving:
        for name, report in pool.each(worker, given, [name for name in names if name not in reports]):
            reports[name] = dict(report)
            moving.advance(rows[name])
    return list(reports.values())


def _sifted(
    pairs: Source, sifting: Sifting, tenant: Tenant, new: list[Sequence[Mapping[str, Any]]]
) -> Iterator[pa.Table]:
    """Sift a file, and yield what is scored of each chunk; new items are appended, a list for each chunk with some."""
    for chunk in pairs:
        sifted = sifting.sifted(chunk, tenant)
        if sifted.new:
            new.append(sifted.new)
        yield _part(sifted)


def _part(sifted: Sifted) -> pa.Table:
    wanted = np.zeros(len(sifted.users), bool)
    wanted[sifted.wanted] = True
    return pa.table(
        {
            "user": pa.array(sifted.users, pa.string()),
            "item": pa.array(sifted.items, pa.string()),
            "wanted": pa.array(wanted),
            "basis": pa.array(sifted.basis, pa.string()).dictionary_encode(),
        }
    )


def _columns(rows: Sequence[Mapping[str, Any]], where: str) -> pa.Table:
    """Return columns of new items as a table.

    Raises:
        InputError: If Arrow has no type for a column, which a run read from Python can have.
    """
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {}
    for name in names:
        try:
            columns[name] = pa.array([row.get(name) for row in rows])
        except (pa.ArrowException, OverflowError, TypeError) as error:
            raise InputError(
                f"{where}, column {name:.60}: no table holds its values ({reason_of(error)}): predict without --ray"
            ) from None
    return pa.table(columns)


def _state(file: BinaryIO) -> tuple[int, int, int]:
    found = os.fstat(file.fileno())
    return found.st_ino, found.st_size, found.st_mtime_ns


@contextlib.contextmanager
def _taken_up(target: Path) -> Iterator[None]:
    """Say after Ctrl-C that the same command goes on."""
    try:
        yield
    except KeyboardInterrupt:
        raise InterruptedTrainingError(f"the same command goes on with what {shown(target)} lacks") from None

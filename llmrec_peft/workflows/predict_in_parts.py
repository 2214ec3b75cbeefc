"""Predict in parts: a file of pairs scored by several workers, with the scores that one process gives."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from llmrec_peft import __version__
from llmrec_peft.cluster.job import going_on, work_through
from llmrec_peft.cluster.parts import INPUTS, Parts, read_part
from llmrec_peft.cluster.pool import Pool
from llmrec_peft.errors import InputError, reason_of
from llmrec_peft.progress import Progress
from llmrec_peft.run.recommender import Recommender
from llmrec_peft.run.tenant import Tenant
from llmrec_peft.workflows.pair_files import Source
from llmrec_peft.workflows.predict_worker import NewItemWorker, ScoreWorker
from llmrec_peft.workflows.scored_files import CsvSink, ParquetSink, sink_of, source_of
from llmrec_peft.workflows.sifting import Predicted, Sifted, Sifting
from llmrec_peft.workflows.streams import STREAM, Unknown, format_of, opened, whole

_NEW = b"llmrec.new"
"""Metadata of a part: the digest of the new items that it may name."""


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
    withheld = recommender.loaded.sealed.withheld()
    asked = {"what": "predict", "run": digest, "withheld": withheld, "version": __version__}
    progress, tenant = Progress(show), recommender.tenant
    with contextlib.ExitStack() as stack:
        stack.enter_context(going_on(target))
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
            done, _ = work_through(new_items, brought, pool, NewItemWorker, known, "encoding new items", progress)
            predicted.cut_items, encoded = sum(report["cut"] for report in done.values()), new_items.job
        more = {"new": str(new_items.folder.absolute()), "parts": list(brought), "encoded": encoded}
        arguments = {**known, **more, "withheld": withheld}
        work_through(scored, names, pool, ScoreWorker, arguments, "scoring, rows", progress)
        with opened(source) as file:
            pairs = source_of(file, read_as, str(source))
            with contextlib.closing(sink_of(partial, write_as, pairs, str(source))) as sink:
                _write(sink, pairs, scored, names)
            if _state(file) != before:
                raise InputError(f"{source} was changed while it was read: nothing was written")
    return predicted


def _write(sink: CsvSink | ParquetSink, pairs: Source, scored: Parts, names: Mapping[str, int]) -> None:
    """Write the rows with the scores of the parts; rows of a file that has changed are not written to the end."""
    for (name, rows), chunk in zip(names.items(), pairs, strict=False):
        if len(chunk) != rows:
            return
        basis = read_part(scored.folder / INPUTS / name).column("basis").to_pylist()
        sink.write(chunk, scored.result(name).column("score").to_numpy(), basis)


def _sifted(
    pairs: Source, sifting: Sifting, tenant: Tenant, new: list[Sequence[Mapping[str, Any]]]
) -> Iterator[pa.Table]:
    """Sift a file, and yield what is scored of each chunk; new items are appended, a list for each chunk with some.

    A part says the digest of all new items so far, so that its scores are another job's if one of their texts changes.
    """
    known = hashlib.sha256()
    for chunk in pairs:
        sifted = sifting.sifted(chunk, tenant)
        if sifted.new:
            new.append(sifted.new)
            known.update(json.dumps(sifted.new, default=str).encode())
        yield _part(sifted).replace_schema_metadata({_NEW: known.hexdigest().encode()})


def _part(sifted: Sifted) -> pa.Table:
    """Return the rows of a chunk as a table."""
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

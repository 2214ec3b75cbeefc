"""Predict: scores for a file of pairs, streamed through memory a chunk at a time."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.cluster.pool import Pool
from llmrec_peft.errors import InputError
from llmrec_peft.progress import bar
from llmrec_peft.run.recommender import Recommender
from llmrec_peft.run.tenant import Tenant
from llmrec_peft.workflows.pair_files import CHUNK_ROWS, Chunk, CsvSource, ParquetSource, Source
from llmrec_peft.workflows.scored_files import CsvSink, ParquetSink
from llmrec_peft.workflows.sifting import KEYS, Predicted, Sifting
from llmrec_peft.workflows.streams import Unknown, format_of, name_of, opened, whole

_ADDED = ("score", "basis")


def predict(
    run: Path | Recommender,
    source: Path,
    target: Path,
    overwrite: bool = False,
    unknown: Unknown = "skip",
    form: str = "csv",
    show: bool = False,
    pool: Pool | None = None,
) -> Predicted:
    """Score every pair of a file.

    The output has the input's rows and columns as they were given, and `score` and `basis`.

    Args:
        run: Run folder, or a run in memory, which keeps the new items of the file.
        source: CSV (with a header) or Parquet with `user_id` and `item_id`, or ``-`` for stdin. Columns that the item
            template names are the text of items that the run does not know.
        target: CSV or Parquet to write, or ``-`` for stdout.
        overwrite: Whether to replace a target that exists.
        unknown: What becomes of a row of an unknown user, or of an unknown item without text: ``refuse`` ends with an
            error; ``skip`` leaves the row without a score; ``popular`` scores it for the average user, which no unknown
            item can have.
        form: Format of stdin and stdout.
        show: Whether to show a progress bar.
        pool: Workers of Ray that share the work, if there are such; `run` is a folder then, and source and target are
            files.

    Raises:
        InputError: When a file cannot be read or written, or one of its rows cannot be what it should be.
    """
    if pool is not None and pool.ray:
        from llmrec_peft.workflows.predict_in_parts import predict_in_parts

        if isinstance(run, Recommender):
            raise InputError("workers of Ray load a run from its folder: name that, not a run in memory")
        return predict_in_parts(run, source, target, overwrite, unknown, pool, show)
    read_as, write_as, name = format_of(source, form), format_of(target, form), name_of(source)
    with whole(target, write_as, overwrite) as partial, opened(source, seekable=read_as == "parquet") as file:
        pairs = source_of(file, read_as, name)
        recommender = run if isinstance(run, Recommender) else Recommender.from_pretrained(run)
        scoring = _Scoring(recommender, pairs.names, name, unknown)
        sink = sink_of(partial, write_as, pairs, name)
        sized = show and pairs.total is not None
        with contextlib.closing(sink), bar(f"scoring, {pairs.unit}", pairs.total or 1, show=sized) as moving:
            for chunk in pairs:
                sink.write(chunk, *scoring.scored(chunk))
                moving.advance(chunk.size)
        if not scoring.predicted.rows:
            raise InputError(f"{name}: there are no rows")
    return scoring.predicted


def source_of(file: BinaryIO, read_as: str, name: str) -> Source:
    """Read the header of a file of pairs.

    Args:
        file: The file, open for reading.
        read_as: ``csv`` or ``parquet``.
        name: What errors call it.

    Raises:
        InputError: If it is no such file, lacks a column, or has one that the output adds.
    """
    pairs: Source = (CsvSource if read_as == "csv" else ParquetSource)(file, name, KEYS)
    for added in _ADDED:
        if added in pairs.names:
            raise InputError(f"{name}: it has a column {added!r}, which the output adds: rename that of the input")
    return pairs


def sink_of(path: Path, write_as: str, pairs: Source, name: str) -> CsvSink | ParquetSink:
    """Begin a file of scores.

    Args:
        path: File to write.
        write_as: ``csv`` or ``parquet``.
        pairs: Whose rows will come.
        name: What errors call the source.

    Raises:
        InputError: If a column cannot be written.
    """
    return (CsvSink if write_as == "csv" else ParquetSink)(path, pairs, name)


class _Scoring:
    """Scores chunks of one file; new items are added to the run first."""

    def __init__(self, recommender: Recommender, names: list[str], where: str, unknown: Unknown) -> None:
        self._recommender = recommender
        self._tenant = recommender.tenant
        self._sifting = Sifting(self._tenant, names, where, unknown)
        self.predicted = self._sifting.predicted

    def scored(self, chunk: Chunk) -> tuple[NDArray[np.float32], list[str]]:
        """Return scores [n], NaN where there is none, and on what each rests."""
        recommender = self._recommender
        tenant = recommender.latest(self._tenant)  # whatever other threads switch to meanwhile
        sifted = self._sifting.sifted(chunk, tenant)
        cut = tenant.catalogue.cut
        recommender.add_items_to(tenant, sifted.new)
        tenant = self._tenant = recommender.latest(tenant)
        self.predicted.cut_items += tenant.catalogue.cut - cut
        return scores_of(tenant, sifted.users, sifted.items, sifted.wanted), sifted.basis


def scores_of(tenant: Tenant, users: list[str], items: list[str], wanted: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return scores of some rows of a chunk, NaN for the others, float32 [n].

    Raises:
        InputError: If a score is not finite.
    """
    scores = np.full(len(users), np.nan, np.float32)
    asked = [users[row] for row in wanted], [items[row] for row in wanted]
    scores[wanted] = tenant.pairs(*asked, histories=None, chunk=CHUNK_ROWS)
    return scores

"""Predict: scores for a file of pairs, streamed through memory a chunk at a time."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.cluster.pool import Pool
from llmrec_peft.errors import InputError
from llmrec_peft.progress import bar
from llmrec_peft.run.recommender import Recommender
from llmrec_peft.workflows.pair_files import Chunk
from llmrec_peft.workflows.scored_files import sink_of, source_of
from llmrec_peft.workflows.sifting import Predicted, Sifting, scores_of
from llmrec_peft.workflows.streams import Unknown, format_of, name_of, opened, whole


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

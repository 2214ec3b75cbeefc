"""Kept: a peer's answers on test, so that they can be paired with runs that are trained later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llmrec_peft.artifact.folder import whole_file
from llmrec_peft.evaluation.outcomes import Outcome, Ranks
from llmrec_peft.identity import values_digest


@dataclass(frozen=True)
class Kept:
    """A folder of answers.

    Attributes:
        folder: Where they lie; it is made when the first are written.
    """

    folder: Path

    def write(self, task: str, digest: str, model: str, outcomes: Sequence[Outcome]) -> None:
        """Keep what a peer answered with each seed: scores of pairs, or ranks.

        Args:
            task: Name of the task.
            digest: Digest of its prepared data.
            model: Name of the peer.
            outcomes: One a seed.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        values = np.array([one.rank if isinstance(one, Ranks) else one for one in outcomes], np.float64)
        with whole_file(self._file(task, digest, model)) as partial, partial.open("wb") as written:
            np.save(written, values, allow_pickle=False)

    def read(self, task: str, digest: str, model: str, ranks: bool) -> list[Outcome] | None:
        """Return what was kept of the very same data; None if nothing was."""
        file = self._file(task, digest, model)
        if not file.is_file():
            return None
        values = np.load(file, allow_pickle=False)
        return [Ranks(one, np.zeros((len(one), 0), np.int64)) if ranks else one for one in values]

    def _file(self, task: str, digest: str, model: str) -> Path:
        return self.folder / f"{values_digest([task, digest, model])[:16]}.npy"

"""Lineage: the runs from which a run was updated, and the other runs beside it that come from the same ones."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmrec_peft.artifact.catalogue_file import FILE as CATALOGUE
from llmrec_peft.artifact.catalogue_file import read_vocabulary
from llmrec_peft.artifact.lineage import FILE, LINEAGE_BYTES, Lineage, Step, parse_lineage
from llmrec_peft.artifact.sealed import SealedFolder
from llmrec_peft.artifact.seen import read_learned
from llmrec_peft.errors import InputError
from llmrec_peft.experiment.parent import SEEN, lineage_of

LOOKED_AT = 1000
"""Entries of the run's parent folder that are looked at."""


@dataclass(frozen=True)
class Node:
    """A run of a family.

    Attributes:
        digest: Its digest.
        parent: Digest of the run that it was updated from; None for the first one.
        step: What its lineage says of it.
        folder: Where it lies, beside the run that was asked about; None where it does not.
    """

    digest: str
    parent: str | None
    step: Step
    folder: Path | None

    def plain(self) -> dict[str, Any]:
        """Return plain values."""
        step = {name: value for name, value in self.step.model_dump(mode="json").items() if name != "digest"}
        return {
            "digest": self.digest,
            "parent": self.parent,
            "folder": None if self.folder is None else str(self.folder),
            **step,
        }


def lineage(run: Path) -> dict[str, Any]:
    """Return a run's lineage, and the runs in the same folder that come from one of its runs.

    Args:
        run: Run folder.

    Returns:
        ``run``, its digest; ``lineage``, the digests from the first run to it; ``runs``, every run of the family, each
        after the one that it was updated from.

    Raises:
        InputError: If it is no run, or its lineage was changed.
    """
    sealed = SealedFolder.open(run)
    own = _named(_own_lineage(sealed), sealed.manifest.digest)
    chain = [digest for digest, _ in own]
    folders = {sealed.manifest.digest: run}
    family = [own]
    for folder in _beside(run):
        try:
            other = SealedFolder.open(folder)
            told = _stored(other)
        except InputError:  # no run, a broken one, or one of another version: nothing of it is shown
            continue
        if told is not None and told[0][0] == chain[0]:
            family.append(told)
        folders.setdefault(other.manifest.digest, folder)
    nodes: dict[str, Node] = {}
    for steps in family:
        for (digest, step), before in zip(steps, [None, *(digest for digest, _ in steps)], strict=False):
            nodes.setdefault(digest, Node(digest, before, step, folders.get(digest)))
    return {"run": sealed.manifest.digest, "lineage": chain, "runs": [node.plain() for node in nodes.values()]}


def _own_lineage(sealed: SealedFolder) -> Lineage:
    """Return a run's lineage; of a run that was trained from the beginning, itself alone."""
    vocabulary = read_vocabulary(sealed.folder / CATALOGUE, sealed.content(CATALOGUE))
    learned = read_learned(sealed.folder / SEEN, sealed.private(SEEN))
    name = str(sealed.recipe().get("name", "unnamed"))[:256]
    return lineage_of(sealed, name, vocabulary, 0 if learned is None else len(learned))


def _stored(sealed: SealedFolder) -> list[tuple[str, Step]] | None:
    """Return the lineage that an updated run stores; None for a run that was trained from the beginning."""
    if FILE not in sealed.manifest.reports:
        return None
    return _named(parse_lineage(sealed.content(FILE, LINEAGE_BYTES), sealed.folder / FILE), sealed.manifest.digest)


def _named(told: Lineage, digest: str) -> list[tuple[str, Step]]:
    """Return every step with its digest; the last one is the run's own."""
    names = [str(step.digest) for step in told.steps[:-1]]
    return list(zip([*names, digest], told.steps, strict=True))


def _beside(run: Path) -> list[Path]:
    """Return the folders in a run's parent folder."""
    with os.scandir(run.absolute().parent) as entries:
        looked_at = itertools.islice(entries, LOOKED_AT)
        return sorted(Path(one.path) for one in looked_at if one.is_dir(follow_symlinks=False) and one.name[0] != ".")

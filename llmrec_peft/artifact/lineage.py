"""Lineage: from which run a run was updated, with which data, and what its figures were; `lineage.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from llmrec_peft.artifact.manifest import Sha256, write_json
from llmrec_peft.errors import InputError
from llmrec_peft.options import Options, one_line
from llmrec_peft.strict_json import parse_json

FILE = "lineage.json"
MOST_STEPS = 200
"""Runs that a lineage names at most; of a longer one the first run and the newest are kept."""
MOST_MERGED = 256
"""Runs that are merged into one, or begun from, at most."""
LINEAGE_BYTES = 4 << 20
INTO_BASE = "into the base"
"""How one run's adapter is merged."""
Text = Annotated[str, Field(max_length=256)]
Count = Annotated[int, Field(ge=0)]


class Compared(Options):
    """The primary metric of the run before and of the updated one, on the same examples that neither learned from."""

    examples: Count
    """Number of examples."""
    before: float
    """Figure of the run before."""
    after: float
    """Figure of the updated run."""
    low: float
    """Lower bound of the 95 % interval of their difference, after minus before: the least favourable of the units."""
    high: float
    """Upper bound of it."""
    verdict: Literal["better", "worse", "no difference"]
    """What the paired bootstrap says of the updated run; `no difference` where any interval contains zero."""


class Merged(Options):
    """From which runs' adapters a run's adapter was combined, and how; or whose adapter its base's weights hold."""

    runs: Annotated[tuple[Sha256, ...], Field(min_length=1, max_length=MOST_MERGED)]
    """Digests of the runs; head, signals, users and items are the first one's."""
    weights: Annotated[tuple[float, ...], Field(min_length=1, max_length=MOST_MERGED)]
    """Weight of each."""
    how: Annotated[str, Field(max_length=32)]
    """How they were combined; `INTO_BASE` where one adapter was folded into the base's weights."""
    density: float | None = None
    """Share of an update's numbers that was kept; null where all were."""
    seed: Count | None = None
    """Seed of what was dropped; null where nothing was at random."""
    rank: Annotated[int, Field(ge=1)] | None = None
    """Rank of the combined adapter; null where it is in the base's weights."""


class Started(Options):
    """From which runs' adapters a training began instead of a fresh one."""

    runs: Annotated[tuple[Sha256, ...], Field(min_length=1, max_length=MOST_MERGED)]
    """Digests of the runs."""
    weights: Annotated[tuple[float, ...], Field(min_length=1, max_length=MOST_MERGED)]
    """Weight of each."""
    nearness: Annotated[tuple[float, ...], Field(max_length=MOST_MERGED)] | None = None
    """Mean cosine of each run's frozen item vectors with those of the training; null where all runs were taken."""


class Published(Options):
    """What a copy that was published has of its run."""

    users: bool
    """Whether it has the ids and tables of users."""
    items: bool
    """Whether it has titles, texts and columns of items."""
    plugins: Annotated[dict[Text, Text], Field(max_length=64)] = Field(default_factory=dict)
    """Packages, with versions, of the plugins that this package does not bring, by kind and name."""


class Step(Options):
    """One run of a lineage."""

    digest: Sha256 | None = None
    """Digest of the run; null for the run whose folder holds the file, since its manifest has it."""
    recipe: Text
    """Name of its recipe."""
    data: Annotated[str, Field(max_length=128)]
    """Digest of the data that it was made from."""
    users: Count
    """Users that it knows."""
    items: Count
    """Items that it knows."""
    learned: Count
    """Interactions that it has learned from, those of the runs before included."""
    new: Count = 0
    """Of these, interactions that the run before did not know."""
    replayed: Count = 0
    """Old interactions in each epoch of the update."""
    epochs: Count = 0
    """Epochs of the update."""
    metric: Annotated[str, Field(max_length=64)] | None = None
    """Primary metric."""
    newest: Compared | None = None
    """Comparison on the newest interactions."""
    old: Compared | None = None
    """Comparison on examples that the run before was tested on."""
    forced: bool = False
    """Whether it was kept although it was not better."""
    merged: Merged | None = None
    """What its adapter was merged from; null where it was trained."""
    started: Started | None = None
    """What its adapter began with; null where that was a fresh one."""
    published: Published | None = None
    """What a published copy has of the run before; null where it is no such copy."""


class Lineage(Options):
    """The runs from the first training to this run, oldest first."""

    steps: Annotated[tuple[Step, ...], Field(min_length=1, max_length=MOST_STEPS)]
    """One for each run; the last one is this run."""

    def followed_by(self, digest: str, step: Step) -> Lineage:
        """Return the lineage of a run that was updated from this one.

        Args:
            digest: Digest of this run.
            step: What the updated run is.
        """
        first, *others = (*self.steps[:-1], self.steps[-1].model_copy(update={"digest": digest}), step)
        return Lineage(steps=(first, *others[-(MOST_STEPS - 1) :]))


def write_lineage(path: Path, lineage: Lineage) -> None:
    """Write a lineage as readable JSON."""
    write_json(path, lineage.model_dump(mode="json"))


def parse_lineage(content: bytes | bytearray, path: Path) -> Lineage:
    """Read what `write_lineage` wrote; the file may be a stranger's.

    Args:
        content: The file's bytes.
        path: The file, for messages.

    Raises:
        InputError: If it is something else.
    """
    values: Any = parse_json(content, str(path))
    if not isinstance(values, dict):
        raise InputError(f"{path}: no lineage")
    try:
        return Lineage.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{path}: {one_line(error, Lineage)[:300]}") from None

"""Watch state: what a watch has done with each delivery, and which run answers now; `NAME.watch.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from llmrec_peft.artifact.folder import whole_file
from llmrec_peft.artifact.manifest import Sha256, write_json
from llmrec_peft.artifact.place import occupied
from llmrec_peft.errors import InputError
from llmrec_peft.options import Options, one_line
from llmrec_peft.strict_json import read_object
from llmrec_peft.workflows.deliveries import Delivery

STATE_BYTES = 64 << 20
MOST_DECISIONS = 1000
"""Decisions that are kept, the newest."""
Name = Annotated[str, Field(max_length=255, pattern=r"^[^./\x00][^/\x00]*$")]
LONGEST = 2000
"""Characters of a text, at most."""
Text = Annotated[str, Field(max_length=LONGEST)]
Fate = Literal["learned", "waiting", "aside"]
What = Literal["trained", "promoted", "not promoted", "too few", "set aside"]


class Taken(Options):
    """A delivery that was looked into."""

    name: Name
    """Name of the entry in the watched folder."""
    files: Annotated[int, Field(ge=0)]
    """Number of its files."""
    bytes: Annotated[int, Field(ge=0)]
    """Their sizes together."""
    fingerprint: Sha256
    """SHA-256 of the names, sizes and times of its files; once it is another, the delivery is new."""
    fate: Fate
    """`learned`: the current run has learned it. `waiting`: it is part of the next update. `aside`: it is wrong, or was
    part of as many attempts as a watch makes."""
    reason: Text = ""
    """Why it waits or was set aside."""
    attempts: Annotated[int, Field(ge=0)] = 0
    """Attempts to update the run with it after which it waited; a changed delivery begins at 0."""

    @classmethod
    def of(cls, delivery: Delivery, fate: Fate = "waiting", reason: str = "") -> Taken:
        """Describe a delivery as it was found."""
        size = {"files": delivery.files, "bytes": delivery.bytes}
        return cls(name=delivery.name, fingerprint=delivery.fingerprint, fate=fate, reason=reason[:LONGEST], **size)

    def now(self, fate: Fate, reason: str) -> Taken:
        """Return the same delivery with another fate; an attempt after which it waits is counted."""
        attempts = self.attempts + (fate == "waiting")
        return self.model_copy(update={"fate": fate, "reason": reason[:LONGEST], "attempts": attempts})


class Work(Options):
    """A training or an update that was begun and is not decided."""

    run: Name
    """Name of the run that it writes."""
    deliveries: tuple[Taken, ...]
    """What it learns from, in the order in which they came."""


class Decision(Options):
    """What became of one look at the folder."""

    at: Annotated[str, Field(max_length=40)]
    """When, UTC."""
    what: What
    """`trained`: the first run. `promoted`: an updated run is current. `too few`: there was no update yet."""
    deliveries: tuple[Name, ...]
    """What it was about."""
    current: Text | None
    """Run folder that answers now; null while there is none."""
    reason: Text = ""
    """Why."""


class State(Options):
    """What a watch has done."""

    format: Literal[1] = 1
    """Version of the file."""
    start: Text | None = None
    """Run folder that the watch began with; null if it trained the first run itself."""
    current: Name | None = None
    """Name of the run that answers now, in the folder of this file; null while that is `start`, or none."""
    working: Work | None = None
    """What is being trained."""
    deliveries: dict[Name, Taken] = Field(default_factory=dict)
    """Every delivery that was looked into, by name."""
    decisions: Annotated[tuple[Decision, ...], Field(max_length=MOST_DECISIONS)] = ()
    """The newest decisions, oldest first."""

    def decided(self, decision: Decision, **changes: Any) -> State:
        """Return the state after a decision and other changes of its fields."""
        return self.model_copy(update={**changes, "decisions": (*self.decisions, decision)[-MOST_DECISIONS:]})


def read_state(path: Path) -> State:
    """Read the state of a watch; a fresh one where there is no file.

    Raises:
        InputError: If the file is something else.
    """
    if not occupied(path):
        return State()
    try:
        return State.model_validate(read_object(path, STATE_BYTES))
    except ValidationError as error:
        raise InputError(f"{path}: {one_line(error, State)[:300]}") from None


def write_state(path: Path, state: State) -> None:
    """Write the state of a watch, whole or not at all.

    Raises:
        InputError: If it cannot be written.
    """
    with whole_file(path) as partial:
        write_json(partial, state.model_dump(mode="json"))

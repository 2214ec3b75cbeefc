"""Watch: a run learns from what comes into a folder, one update at a time, and nothing is lost by a restart."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from llmrec_peft.artifact.lock import Lock
from llmrec_peft.artifact.place import occupied
from llmrec_peft.artifact.workspace import Workspace
from llmrec_peft.data.dataset import RecDataset
from llmrec_peft.errors import InputError, NotFiniteError, reason_of
from llmrec_peft.experiment.parent import Parent
from llmrec_peft.experiment.prepare import prepare
from llmrec_peft.printable import shown
from llmrec_peft.recipe import Recipe
from llmrec_peft.workflows.deliveries import Delivery, deliveries
from llmrec_peft.workflows.gathered import gather, is_unchanged, read_together
from llmrec_peft.workflows.update import recipe_with
from llmrec_peft.workflows.watch_jobs import discard, finished_metrics, free_folder, train_run, update_run
from llmrec_peft.workflows.watch_state import (
    LONGEST,
    Decision,
    Fate,
    State,
    Taken,
    What,
    Work,
    read_state,
    write_state,
)


@dataclass(frozen=True)
class Watched:
    """What is watched, and how.

    Attributes:
        folder: Folder into which deliveries come.
        out: Folder of the runs and of ``NAME.watch.json``.
        name: Name of the first run there.
        run: Run to begin with; None if `recipe` trains it.
        recipe: What trains the first run; None with `run`.
        overrides: ``field=value`` of each update.
        enough: New deliveries that suffice for an update.
        settle: Seconds for which nothing in a delivery has changed once it is complete.
        attempts: Attempts to learn a delivery, after which it is set aside: else each look would read more of them.
        show: Whether to print notes and progress bars on stderr.
    """

    folder: Path
    out: Path
    name: str
    run: Path | None = None
    recipe: Recipe | None = None
    overrides: tuple[str, ...] = ()
    enough: int = 1
    settle: float = 10.0
    attempts: int = 3
    show: bool = True

    @property
    def state_file(self) -> Path:
        """File that says what was done."""
        return self.out / f"{self.name}.watch.json"


class Watch:
    """A watch that holds its folder; `look` does what there is to do.

    Attributes:
        state: What was done so far, as the file says it.
    """

    def __init__(self, watched: Watched) -> None:
        """Read the state; use `held`.

        Raises:
            InputError: If the file is something else, or was begun with another run.
        """
        self._watched = watched
        self.state = read_state(watched.state_file)
        self._begin()

    @classmethod
    @contextlib.contextmanager
    def held(cls, watched: Watched) -> Iterator[Watch]:
        """Hold the watch inside the block, against other processes.

        Raises:
            InputError: When another process watches, or the place cannot be written.
        """
        out, folder = watched.out.resolve(), watched.folder.resolve()
        if out == folder or folder in out.parents:
            raise InputError(f"{shown(watched.out)} lies in {shown(watched.folder)}: give another --out for the runs")
        try:
            watched.out.mkdir(parents=True, exist_ok=True)
            lock = Lock(watched.out / f".{watched.name}.watch.lock")
            holder = lock.acquire()
        except OSError as error:
            raise InputError(f"cannot write into {shown(watched.out)}: {reason_of(error)}") from None
        if holder is not None:
            raise InputError(f"{shown(watched.state_file)} is held by {holder}: one watch at a time")
        try:
            yield cls(watched)
        finally:
            lock.release()

    @property
    def current(self) -> Path | None:
        """Run folder that answers now; None while there is none."""
        return self._run_of(self.state)

    def _run_of(self, state: State) -> Path | None:
        if state.current is not None:
            return self._watched.out / state.current
        return None if state.start is None else Path(state.start)

    def look(self) -> Iterator[Decision]:
        """Look at the folder once, and train and update as there is need.

        Yields:
            Every decision, after it is in the state's file.

        Raises:
            InputError: When something else than a delivery is wrong; what was begun goes on at the next start.
        """
        if self.state.working is not None:
            yield from self._go_on(self.state.working)
        yield from self._given_up()
        while self.current is None:
            new = self._found(None)
            if not new:
                return
            yield from self._train(new[0])
        new = self._found(None)
        if len(new) >= self._watched.enough:
            yield from self._update(self.current, new)
            yield from self._given_up()

    def _begin(self) -> None:
        """Take up a run to begin with, or check that it is the one that the watch is about."""
        watched, own = self._watched, self._watched.out / self._watched.name
        fresh = not occupied(watched.state_file)
        if watched.run is None:
            if fresh and (occupied(own) or Workspace(own, "training").left_behind()):
                raise InputError(
                    f"{shown(own)} exists already: --run {shown(own)} goes on from it, or give another --out"
                )
            return
        if self.current is None and self.state.working is None:
            self.state = self.state.model_copy(update={"start": str(watched.run.resolve())})
        begun = own if self.state.start is None else Path(self.state.start)
        current = self.current or own
        if watched.run.resolve() not in (begun.resolve(), current.resolve()):
            raise InputError(
                f"{shown(watched.state_file)} goes on from {shown(current)}, not from {shown(watched.run)}: name that"
                " run, or give another --out"
            )
        recipe_with(Parent.read(current).recipe, None, watched.overrides)  # refused before anything comes
        self._save(self.state)

    def _found(self, fate: Fate | None) -> list[Delivery]:
        """Return the complete deliveries of a fate, in the order they came; None: not looked into as they are now."""
        return [one for one in deliveries(self._watched.folder, self._watched.settle) if self._fate(one) == fate]

    def _fate(self, one: Delivery | Taken) -> Fate | None:
        taken = self._known(one)
        return None if taken is None else taken.fate

    def _known(self, one: Delivery | Taken) -> Taken | None:
        """Return what is known of a delivery; None if it was not looked into as it is now."""
        taken = self.state.deliveries.get(one.name)
        return taken if taken is not None and taken.fingerprint == one.fingerprint else None

    def _taken(self, found: Sequence[Delivery]) -> list[Taken]:
        """Describe deliveries, with the attempts that were made with them as they are now."""
        return [self._known(one) or Taken.of(one) for one in found]

    def _given_up(self) -> Iterator[Decision]:
        """Set deliveries aside that were part of as many attempts as there may be."""
        for one in [*self.state.deliveries.values()]:
            if one.fate == "waiting" and one.attempts >= self._watched.attempts:
                reason = f"in {one.attempts} attempts no update with it was promoted; the last one: {one.reason}"
                yield self._decide("set aside", [one], "aside", reason)

    def _train(self, one: Delivery) -> Iterator[Decision]:
        """Train the first run from one delivery."""
        try:
            prepare(self._recipe_at(one))
        except InputError as error:
            if is_unchanged(one):
                yield self._decide("set aside", [Taken.of(one)], "aside", str(error))
            return
        yield self._learn(self._begun(self._watched.name, [one]), [one])

    def _update(self, current: Path, new: Sequence[Delivery]) -> Iterator[Decision]:
        """Update the current run with new deliveries and those that wait."""
        parent = Parent.read(current)
        recipe = recipe_with(parent.recipe, None, self._watched.overrides)
        gathered = gather(parent, recipe, [*self._found("waiting"), *new])
        for one, reason in gathered.wrong:
            yield self._decide("set aside", self._taken([one]), "aside", reason)
        found = gathered.accepted
        if not any(one in new for one in found):
            return
        if gathered.too_few is not None:
            yield self._decide("too few", self._taken(found), "waiting", gathered.too_few)
            return
        work = self._begun(free_folder(current, self._watched.out).name, found)
        yield self._learn(work, found, gathered.dataset)

    def _go_on(self, work: Work) -> Iterator[Decision]:
        """Go on with what an earlier process began; forget it if a delivery of it has changed since."""
        there = {one.name: one for one in deliveries(self._watched.folder, 0.0)}
        found = [there[one.name] for one in work.deliveries if _is_still(one, there)]
        run = self._watched.out / work.run
        if occupied(run):
            yield self._taken_over(work, finished_metrics(run, self.current))
        elif len(found) == len(work.deliveries):
            yield self._learn(work, found, resume=True)
        else:
            discard(run)
            self._save(self.state.model_copy(update={"working": None}))

    def _learn(
        self, work: Work, found: Sequence[Delivery], dataset: RecDataset | None = None, resume: bool = False
    ) -> Decision:
        """Train or update as was begun, and decide."""
        watched, run, current = self._watched, self._watched.out / work.run, self.current
        try:
            if current is None:
                return self._taken_over(work, train_run(self._recipe_at(found[0]), run, resume, watched.show))
            if dataset is None:
                parent = Parent.read(current)
                recipe = recipe_with(parent.recipe, None, watched.overrides)
                dataset = read_together(parent, recipe, found)
            data, sets = found[-1].path, watched.overrides
            return self._taken_over(work, update_run(current, data, run, dataset, sets, resume, watched.show))
        except NotFiniteError as error:  # what waited was learned from before without this
            discard(run)
            new = [one for one in work.deliveries if self._fate(one) != "waiting"]
            return self._decide("set aside", new, "aside", str(error))

    def _taken_over(self, work: Work, metrics: dict[str, Any]) -> Decision:
        """Decide by the metrics of a finished training or update."""
        told = metrics.get("update")
        if told is None:
            return self._decide("trained", work.deliveries, "learned", "the first run", work.run)
        if told["promoted"]:
            return self._decide("promoted", work.deliveries, "learned", told["reason"], work.run)
        return self._decide("not promoted", work.deliveries, "waiting", told["reason"])

    def _recipe_at(self, one: Delivery) -> Recipe:
        assert self._watched.recipe is not None  # noqa: S101 - where there is no run to begin with
        return self._watched.recipe.changed({"data.path": str(one.path)})

    def _begun(self, name: str, found: Sequence[Delivery]) -> Work:
        """Write down what is about to be trained, so that the next process knows it after a kill."""
        work = Work(run=name, deliveries=tuple(self._taken(found)))
        self._save(self.state.model_copy(update={"working": work}))
        return work

    def _decide(
        self, what: What, taken: Sequence[Taken], fate: Fate, reason: str, current: str | None = None
    ) -> Decision:
        """Write down a decision with what it changes."""
        state = self.state.model_copy(update={} if current is None else {"current": current})
        folder = self._run_of(state)
        decision = Decision(
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            what=what,
            deliveries=tuple(one.name for one in taken),
            current=None if folder is None else str(folder),
            reason=reason[:LONGEST],
        )
        told = {**state.deliveries, **{one.name: one.now(fate, reason) for one in taken}}
        self._save(state.decided(decision, deliveries=told, working=None))
        return decision

    def _save(self, state: State) -> None:
        write_state(self._watched.state_file, state)
        self.state = state


def _is_still(one: Taken, there: Mapping[str, Delivery]) -> bool:
    return one.name in there and there[one.name].fingerprint == one.fingerprint

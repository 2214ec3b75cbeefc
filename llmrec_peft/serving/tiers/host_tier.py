"""HostTier: versions in memory within a number of bytes; the others are loaded in the background when asked for."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator

from llmrec_peft.serving.refusals import NotInMemoryError
from llmrec_peft.serving.sealed_store import SealedRun
from llmrec_peft.serving.tiers.eviction import ticks, used
from llmrec_peft.serving.tiers.failures import Failure, Retry
from llmrec_peft.serving.tiers.residents import Count, Resident, Waiter
from llmrec_peft.serving.tiers.room import Room
from llmrec_peft.serving.versions import Placed, Snapshot, Version

AGAIN_S = 1.0
"""Seconds after which somebody who found no room, or had no time, may come again."""


class HostTier(Room):
    """Versions in memory, counted in bytes; who asks for another one waits for its load and for no other.

    What an ask uses is counted and stays. Of the others, those that are worth least leave when the budget is full
    (`eviction.worth`), and pinned ones never do.

    Attributes:
        wait_s: Seconds that an ask waits for a version.
        retry: When failed loads are tried again.
    """

    def __init__(
        self,
        load: Callable[[SealedRun, bool], Version],
        drop: Callable[[Version], None],
        budget: int | None = None,
        wait_s: float = 60.0,
        loaders: int = 1,
        again: Callable[[SealedRun], Version | None] | None = None,
    ) -> None:
        """Begin without versions.

        Args:
            load: Loads a sealed run; the second argument says whether it is the first time.
            drop: Frees a version that left memory; waits for nobody.
            budget: Bytes of all versions; None for no bound.
            wait_s: Seconds that an ask waits for a version.
            loaders: Threads that load at the same time, at most; they end when there is nothing to load, and a process
                that ends waits for them.
            again: Makes a run again that was loaded before, where it is asked for, if that takes no longer than an
                answer; else it returns None, and a loader loads the run.
        """
        super().__init__(budget)
        self.wait_s, self.retry = wait_s, Retry()
        self._load, self._drop, self._again = load, drop, again
        self._loaders, self._running = loaders, 0
        self._queue: list[Resident] = []
        self._clock = 0.0

    def failed(self, sealed: SealedRun) -> bool:
        """Return whether the last load of a run failed, so that its copy in the store may be damaged."""
        with self.lock:
            resident = self._residents.get(sealed)
            return resident is not None and resident.tier == "failed"

    def settle(self) -> None:
        """Free what left memory, and begin loads for which there is room now; without the lock."""
        self._free()
        with self.lock:
            self.shrink()
            first = self._next() if self._running < self._loaders else None
            self._running += first is not None
        if first is not None:
            self._hire(first)

    @contextlib.contextmanager
    def leased(self, placed: Placed, beside: str | None = None, wait_s: float | None = None) -> Iterator[Snapshot]:
        """Keep a version in memory for the block; if it is not there, wait until it is.

        Args:
            placed: The version, in the state that is wanted.
            beside: Tenant whose change needs it; a failed load is tried again at once then. None for asks.
            wait_s: Seconds that an ask waits; by default those of the tier. With 0 it gets the version if it is in
                memory or can be made again in this thread; else its load begins if a loader is free.

        Raises:
            NotInMemoryError: If it was not loaded in time, its load failed, or there is no room for it.
            InputError: For a change, what its load raised.
        """
        resident = self._acquired(placed.sealed, beside, self.wait_s if wait_s is None else wait_s)
        try:
            yield self._snapshot(resident, placed)
        finally:
            self._give_back(resident)

    def begin_loads(self, places: Iterable[Placed], tenant: str) -> None:
        """Let versions be loaded in the background that are not in memory; waits for none of them.

        Args:
            places: The versions.
            tenant: Whose they are.
        """
        with self.lock:
            for placed in places:
                resident = self.known(placed.sealed)
                if resident.tier == "sealed":
                    resident.tier = "loading"
                    resident.waiters.append(Waiter(tenant, leases=False))
                    self._queue.append(resident)
        self.settle()

    def count(self, snapshots: Iterable[Snapshot]) -> None:
        """Count the bytes of versions anew that routes name in other states now."""
        for one in snapshots:
            with self.lock:
                resident = self._residents.get(one.placed.sealed)
                here = resident is not None and resident.version is one.version
                if resident is not None and here:
                    resident.leases += 1
            if resident is not None and here:
                self._give_back(resident)

    def _acquired(self, sealed: SealedRun, beside: str | None, wait_s: float) -> Resident:
        with self.lock:
            resident = self.known(sealed)
            self._clock += ticks(len(self._here))
            resident.weight = used(resident.weight, self._clock)
            if resident.version is not None:
                resident.leases += 1
                self.counts["hits"] += beside is None
                return resident
            if beside is None:
                self._require_due(resident)
                self.counts["waits"] += 1
            elif resident.tier == "failed":
                resident.failure = None
            waiter = Waiter(beside)
            resident.waiters.append(waiter)
            here = False
            if resident.tier != "loading":
                resident.tier = "loading"
                here = self._again is not None and resident.checked and self.make_room(resident.nbytes)
                if here:
                    self.hold(resident, resident.nbytes)
                else:
                    self._queue.append(resident)
        try:
            if here:
                self._load_here(resident)
            self.settle()
            waiter.done.wait(wait_s if beside is None else None)
        except BaseException:
            self._give_up(resident, waiter)
            raise
        with self.lock:
            if waiter.granted:
                return resident
            looked = beside is None and not wait_s and waiter.error is None  # whoever wants it comes again and waits
            self.counts["waits"] -= looked
            self.counts["refusals"] += beside is None and not looked
        error = waiter.error
        if error is None:
            reason = self._give_up(resident, waiter)
            raise NotInMemoryError(f"its version was not in memory within {wait_s:g} s{reason}", AGAIN_S, late=True)
        if beside is not None or isinstance(error, NotInMemoryError):
            raise error
        failure = resident.failure
        said, retry_s = ("its load failed", AGAIN_S) if failure is None else (failure.said(), failure.retry_s)
        raise NotInMemoryError(said, retry_s) from error

    def _require_due(self, resident: Resident) -> None:
        """Refuse an ask for a version that failed, unless it is time for the next attempt."""
        failure = resident.failure if resident.tier == "failed" else None
        if failure is not None and failure.retry_s != 0.0:
            self.counts["refusals"] += 1
            raise NotInMemoryError(failure.said(), failure.retry_s)

    def _give_up(self, resident: Resident, waiter: Waiter) -> str:
        """Wait no more; return what there was no room for, if that is why."""
        with self.lock:
            granted, reason = waiter.granted, ""
            if not granted:
                if waiter in resident.waiters:
                    resident.waiters.remove(waiter)
                if resident in self._queue:
                    reason = f": {self.said(resident)}"
                    if not resident.waiters:
                        self._queue.remove(resident)
                        self._stop(resident)
        if granted:
            self._give_back(resident)
        self.settle()
        return reason

    def _snapshot(self, resident: Resident, placed: Placed) -> Snapshot:
        """Return a version that is in use in a state, which is made again if no other thread has it."""
        digest = placed.state.digest
        with self.lock:
            version, found = resident.version, resident.snapshots.get(digest)
        if found is not None:
            return found
        assert version is not None  # noqa: S101 - it is in use
        found = version.at(placed)
        with self.lock:
            return resident.snapshots.setdefault(digest, found) if digest in resident.names else found

    def _give_back(self, resident: Resident) -> None:
        """End a use; what the version has made meanwhile counts from now on."""
        count: Count | None = None
        try:
            if resident.version is not None:
                count = Count.of(resident, resident.version, list(resident.snapshots.values()))
        finally:
            with self.lock:
                if count is not None:
                    self.note(resident, count)
                resident.leases -= 1
                self.forget(resident)
                over = self.budget is not None and self.held > self.budget
                idle = not self.left and not over and not (self._queue and not resident.leases)
            if not idle:
                self.settle()

    def _load_here(self, resident: Resident) -> None:
        """Make a version for which there is room again in this thread; if that fails, it waits for a loader."""
        self._free()
        version: Version | None = None
        begun = False
        try:
            with contextlib.suppress(Exception):  # a loader will meet the error, too, and the version has failed then
                version = None if self._again is None else self._again(resident.sealed)
                if version is not None:
                    self._let_answer(resident, version)
                    begun = True
        finally:
            if not begun:
                with self.lock:
                    if version is not None:
                        self.left.append((version, []))
                    self.hold(resident, 0)
                    self._queue.append(resident)

    def _hire(self, first: Resident) -> None:
        """Begin a thread that loads; it was counted."""
        try:
            threading.Thread(target=self._work, args=(first,), name="llmrec-loader").start()
        except RuntimeError as error:  # the system gives no more threads
            with self.lock:
                self._running -= 1
                self._fail(first, error)

    def _work(self, resident: Resident | None) -> None:
        """Load a version, and then others as long as there is room for one that waits."""
        while resident is not None:
            self._free()
            version: Version | None = None
            try:
                version = self._load(resident.sealed, not resident.checked)
                self._let_answer(resident, version)
            except BaseException as error:  # noqa: BLE001 - whatever it is, it ends this load and no other
                with self.lock:
                    self._fail(resident, error)
                    if version is not None:
                        self.left.append((version, []))
            self._free()
            with self.lock:
                resident = self._next()
                self._running -= resident is None

    def _next(self) -> Resident | None:
        """Return the first version that waits for its turn and for which there is room, which is held for it."""
        for resident in list(self._queue):
            refusals = [(one, self.lacks(resident, one.beside)) for one in resident.waiters]
            for waiter, reason in refusals:
                if reason is not None:
                    resident.waiters.remove(waiter)
                    waiter.refuse(NotInMemoryError(reason, None))
            if not resident.waiters:
                self._queue.remove(resident)
                self._stop(resident)
            elif self.make_room(resident.nbytes):
                self._queue.remove(resident)
                self.hold(resident, resident.nbytes)
                return resident
        return None

    def _let_answer(self, resident: Resident, version: Version) -> None:
        """Let a version that was loaded answer, in the states that routes name."""
        with self.lock:
            places = list(resident.places.values())
        snapshots = [version.at(placed) for placed in places]
        count = Count.of(resident, version, snapshots)
        with self.lock:
            resident.notes, resident.failure, resident.checked = version.tenant.notes, None, True
            resident.encodes = version.tenant.encodes_to_score
            self.put(resident, version, snapshots)
            self.note(resident, count)
            self.counts["loads"] += 1
            for waiter in resident.waiters:
                reason = self.lacks(resident, waiter.beside)
                if reason is not None:
                    waiter.refuse(NotInMemoryError(reason, None))
                    continue
                resident.leases += waiter.leases
                waiter.granted = True
                waiter.done.set()
            resident.waiters.clear()
            if not resident.leases and self.lacks(resident, None) is not None:
                self.evict([resident])
            self.forget(resident)
            self.shrink()

    def _fail(self, resident: Resident, error: BaseException) -> None:
        """End a load that failed."""
        self.counts["failures"] += 1
        resident.failure = Failure.after(resident.failure, error, self.retry)
        for waiter in resident.waiters:
            waiter.refuse(error)
        resident.waiters.clear()
        self.hold(resident, 0)
        self._stop(resident)

    def _stop(self, resident: Resident) -> None:
        """Let a version wait for nothing any more."""
        resident.tier = "sealed" if resident.failure is None else "failed"
        self.forget(resident)

    def _free(self) -> None:
        """Free what left memory."""
        while self.left:
            with contextlib.suppress(IndexError):  # another thread was faster
                self._drop(self.left.popleft()[0])

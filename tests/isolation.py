"""Isolation of versions: askers in threads while one tenant's run is swapped, and what counts as a wrong answer."""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from llmrec_peft.artifact.manifest import read_manifest
from llmrec_peft.run.catalogue import Recommendations
from llmrec_peft.run.recommender import Recommender
from llmrec_peft.serving.answers import Answer, compared
from llmrec_peft.serving.engine import Engine

K, ROUNDING = 5, 2e-4
"""Items of a list, and how far two scores of four digits may be apart that were rounded from neighbouring numbers."""
SHOP, OTHER = "shop", "other"


@dataclass(frozen=True)
class Truth:
    """What each run answers alone, by `Recommender`.

    Attributes:
        groups: Users who are asked together.
        lists: Their lists, by the digest of the run and the group.
    """

    groups: list[tuple[str, ...]]
    lists: dict[tuple[str, tuple[str, ...]], list[Recommendations]]

    @classmethod
    def of(cls, runs: Sequence[Path], size: int) -> Truth:
        """Ask each run alone, and hold its answers against the others': no two may be taken for each other."""
        alone = {read_manifest(run).digest: Recommender.from_pretrained(run, device="cpu") for run in runs}
        users = next(iter(alone.values())).vocabulary.users
        groups = [tuple(users[at : at + size]) for at in range(0, len(users) - size, size)]
        lists = {(digest, group): one.recommend(group, K) for digest, one in alone.items() for group in groups}
        for one, two in itertools.combinations(alone, 2):
            for group in groups:
                for mine, theirs in zip(lists[one, group], lists[two, group], strict=True):
                    assert not compared(mine.items, theirs.items, 10 * ROUNDING).same, "two runs answer alike"
        return cls(groups, lists)

    def wrong(self, group: tuple[str, ...], answers: Sequence[Answer], exactly: bool) -> str | None:
        """Say what is wrong about the answers of one ask; None if they are what one version gives."""
        versions = {answer.version for answer in answers}
        if len(versions) != 1:
            return f"one ask was answered by {len(versions)} versions"
        expected = self.lists[versions.pop(), group]
        for user, answer, known in zip(group, answers, expected, strict=True):
            if (answer.user_id, answer.basis, answer.state) != (user, known.basis, 0):
                return f"user {user}: {answer.user_id}, {answer.basis}, state {answer.state}"
            found = compared(answer.items, known.items, 0.0 if exactly else ROUNDING)
            if not found.same:
                return f"user {user}: {found.reason}"
        return None


@dataclass
class Counts:
    """What happened.

    Attributes:
        asks: Asks of the tenant that is swapped.
        answers: Answers of these asks, one a user.
        other_asks: Asks of a tenant whose run stays.
        swaps: How often the tenant got another run.
        loads: How often a run was read.
        made_again: How often a version was made of its skeleton.
        drops: How often a version left memory.
        evictions: How often one left it to make room.
        versions: Versions that answered.
        wrong: What was wrong.
    """

    asks: int = 0
    answers: int = 0
    other_asks: int = 0
    swaps: int = 0
    loads: int = 0
    made_again: int = 0
    drops: int = 0
    evictions: int = 0
    versions: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)


@contextmanager
def hasty() -> Iterator[None]:
    """Let threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def swapped_while_asked(
    engine: Engine,
    runs: Sequence[Path],
    truth: Truth,
    asks: int,
    swaps: int,
    other: Path | None = None,
    threads: int = 4,
    exactly: bool = True,
) -> Counts:
    """Ask from several threads while one tenant's run is swapped, until both have been done often enough.

    Args:
        engine: The engine; two tenants are registered.
        runs: At least three runs, which take turns.
        truth: What they answer.
        asks: Asks, at least, of the tenant that is swapped.
        swaps: Swaps.
        other: Run of the tenant that keeps it; by default the second one.
        threads: Threads that ask.
        exactly: Whether scores have to agree to the last digit: lists that were kept were computed in other passes.

    Returns:
        The counts; the search ends with the first wrong answer.
    """
    counts, lock, done = Counts(), threading.Lock(), threading.Event()
    errors: list[BaseException] = []
    loading, tier = engine._loading, engine._tier
    load, again, drop = loading.load, loading.again, tier._drop

    def loaded(*given: object, **named: object) -> object:
        with lock:
            counts.loads += 1
        return load(*given, **named)  # type: ignore[arg-type]

    def made_again(sealed: object) -> object:
        version = again(sealed)  # type: ignore[arg-type]
        with lock:
            counts.made_again += version is not None
        return version

    def dropping(version: object) -> None:
        with lock:
            counts.drops += 1
        drop(version)  # type: ignore[arg-type]

    loading.load, loading.again, tier._drop = loaded, made_again, dropping  # type: ignore[assignment, method-assign]
    engine.register(SHOP, runs[0])
    other = runs[1] if other is None else other
    engine.register(OTHER, other)
    steady = read_manifest(other).digest

    def swap() -> None:
        for number in range(1, swaps + 1):
            if counts.wrong:
                break
            engine.swap(SHOP, runs[number % len(runs)])
            counts.swaps += 1
        done.set()

    def ask(first: int) -> None:
        for number in itertools.count(first):
            if counts.wrong or (done.is_set() and counts.asks >= asks):
                return
            group = truth.groups[number % len(truth.groups)]
            tenant = OTHER if number % 8 == 7 else SHOP
            answers = engine.ask(tenant, group, K)
            wrong = truth.wrong(group, answers, exactly)
            with lock:
                if wrong is not None:
                    counts.wrong.append(f"{tenant}: {wrong}")
                if tenant == OTHER:
                    counts.other_asks += 1
                    if {answer.version for answer in answers} != {steady}:
                        counts.wrong.append("another tenant's version answered")
                    continue
                counts.asks += 1
                counts.answers += len(answers)
                counts.versions |= {answer.version for answer in answers}

    def work(target: object, *given: int) -> None:
        try:
            target(*given)  # type: ignore[operator]
        except BaseException as error:  # noqa: BLE001 - raised in the main thread
            errors.append(error)
            counts.wrong.append(repr(error))
            done.set()

    workers = [threading.Thread(target=work, args=(ask, 5 * number)) for number in range(threads)]
    workers.append(threading.Thread(target=work, args=(swap,)))
    with hasty():
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    if errors:
        raise errors[0]
    counts.evictions = engine.memory().evictions
    return counts

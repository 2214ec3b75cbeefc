"""A server without HTTP that is killed at random moments, and what is compared with what it had acknowledged."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from kills import SECONDS, _ended, _started

from llmrec_peft.serving.encoding import OwnPasses
from llmrec_peft.serving.engine import Engine
from llmrec_peft.serving.http.registry.registry import FILE, Registry
from llmrec_peft.serving.http.schemas import EventIn
from llmrec_peft.serving.routes import Route
from llmrec_peft.serving.sealed_store import SealedStore

STEADY, GUEST = ("books", "films"), "guest"
"""Tenants who stay, and one who is registered and forgotten again and again."""
LOG, FOUND = "told.jsonl", "found.json"
USERS = ["1", "2", "nobody"]
MOST_S, CHANGES = 2.5, 4
"""Seconds after which a process is killed at the latest, counted from when fewer than `CHANGES` changes are done."""
STARTING = 0.2
"""Share of the kills whose seconds count from the start of the process."""
State = dict[str, Any] | None


@dataclass
class Counts:
    """What was killed, and what came out.

    Attributes:
        kills: Processes that were killed.
        before_a_change: How many of them had changed nothing.
        changes: Changes of tenants that were acknowledged.
        events: Events that were acknowledged.
        sent_again: Events that were sent again, because nobody had acknowledged them.
        applied: Changes that were on the disk and not acknowledged yet.
        not_applied: Changes that had begun and were not on the disk.
        answers: Answers that were compared after a restart with those before it.
        audits: Answers that were computed again from the sealed version and the events of their state.
        wrong: What was lost, there twice, or another one.
    """

    kills: int = 0
    before_a_change: int = 0
    changes: int = 0
    events: int = 0
    sent_again: int = 0
    applied: int = 0
    not_applied: int = 0
    answers: int = 0
    audits: int = 0
    wrong: list[str] = field(default_factory=list)


def kill_and_restart(runs: list[Path], kills: int, seed: int, place: Path) -> Counts:
    """Kill a server again and again, and look after each kill at what is there.

    Args:
        runs: Runs that answer differently.
        kills: How often.
        seed: Seed of the moments and of what the server does.
        place: Empty folder, in which all the processes follow each other.
    """
    counts, rng = Counts(), random.Random(seed)
    _ended(_started(_begin, place))
    for number in range(kills):
        before = _end(place)
        process = _started(partial(live, runs, f"{seed} {number}"), place)
        if rng.random() >= STARTING:
            _wait_until_changed(place, before, rng.randrange(CHANGES))
        process.join(rng.uniform(0.0, MOST_S))
        assert process.is_alive(), f"kill {number}: it ended by itself with {process.exitcode}: {_printed(place)}"
        process.kill()
        process.join()
        said = lines(place, before)
        counts.kills += 1
        counts.before_a_change += not any(line["kind"] == "done" for line in said)
        counts.changes += sum(line["kind"] == "done" for line in said)
        counts.events += sum(len(line["ids"]) for line in said if line["kind"] == "received")
        counts.sent_again += sum(len(line["ids"]) for line in said if line.get("again"))
        counts.wrong += [line["text"] for line in said if line["kind"] == "error"]
        _ended(_started(look, place))
        found = json.loads((place / FOUND).read_text(encoding="utf-8"))
        for name in ("applied", "not_applied", "answers", "audits"):
            setattr(counts, name, getattr(counts, name) + found[name])
        counts.wrong += [f"kill {number}: {text}" for text in found["wrong"]]
        if counts.wrong:
            break
    return counts


def _wait_until_changed(place: Path, before: int, changes: int) -> None:
    """Wait until a process has begun, and some changes are done: on a slow machine, too, most kills come after one."""
    until = time.monotonic() + SECONDS
    while True:
        kinds = Counter(line["kind"] for line in lines(place, before))
        if kinds["ready"] and kinds["done"] >= changes:
            return
        assert time.monotonic() < until, "it does not begin"
        time.sleep(0.02)


def _end(place: Path) -> int:
    """Bytes that processes said so far."""
    path = place / LOG
    return path.stat().st_size if path.exists() else 0


def _printed(place: Path) -> str:
    """The last of what processes printed."""
    return (place / ".printed").read_text(encoding="utf-8", errors="replace")[-2000:]


def lines(place: Path, start: int = 0) -> list[dict[str, Any]]:
    """What processes said from a byte of the file on; half a line, within which one was killed, says nothing."""
    path, found = place / LOG, []
    text = path.read_bytes()[start:].decode("utf-8", errors="replace") if path.exists() else ""
    for line in text.splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            found.append(json.loads(line))
    return found


class Log:
    """Lines that processes say, in one file that outlives them."""

    def __init__(self) -> None:
        self._descriptor = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(self._descriptor, b"\n")  # ends a line that another process had begun

    def say(self, kind: str, **told: Any) -> None:
        """Say a line, at once."""
        os.write(self._descriptor, (json.dumps({"kind": kind, **told}) + "\n").encode())


@dataclass
class Spoken:
    """The registry as an engine's journal, which says what is to be written, and when it was."""

    registry: Registry
    log: Log
    states: dict[str, State]

    def begin(self, tenant: str, route: Route) -> None:
        self._do(tenant, {**plain(route), "pinned": False}, lambda: self.registry.begin(tenant, route))

    def replace(self, tenant: str, route: Route) -> None:
        state = {**(self.states[tenant] or {}), **plain(route)}
        self._do(tenant, state, lambda: self.registry.replace(tenant, route))

    def pin(self, tenant: str, pinned: bool) -> None:
        state = {**(self.states[tenant] or {}), "pinned": pinned}
        self._do(tenant, state, lambda: self.registry.pin(tenant, pinned))

    def end(self, tenant: str) -> None:
        self._do(tenant, None, lambda: self.registry.end(tenant))

    def _do(self, tenant: str, state: State, do: Callable[[], None]) -> None:
        self.log.say("try", tenant=tenant, state=state)
        do()
        self.log.say("done", tenant=tenant)
        self.states[tenant] = state


def plain(route: Route) -> dict[str, Any]:
    """Versions and states of a route, as plain values."""
    named = {"main": route.main, "trial": route.trial, "former": route.former}
    return {name: None if one is None else list(one.identity) for name, one in named.items()} | {"share": route.share}


@contextlib.contextmanager
def served() -> Iterator[tuple[Registry, Engine, Log]]:
    """A server's engine over the state folder of the process, with the tenants that its registry has."""
    log, store = Log(), SealedStore("state/store")
    with Registry(Path("state") / FILE, store) as registry:
        stored = registry.tenants()
        assert registry.refused == {}, registry.refused
        states: dict[str, State] = {one.name: {**plain(one.route), "pinned": one.pinned} for one in stored}
        journal = Spoken(registry, log, states)
        with Engine(store, device="cpu", cache_bytes=0, encoder=OwnPasses(), journal=journal) as engine:
            for one in stored:
                engine.restore(one.name, one.route, one.pinned)
            yield registry, engine, log


def live(runs: list[Path], seed: str) -> None:
    """Change tenants and take events in, until the process is killed."""
    with served() as (registry, engine, log):
        _linger(registry, random.Random(seed))
        log.say("ready")

        def work(do: Callable[[random.Random], None], name: str) -> None:
            try:
                rng = random.Random(f"{seed} {name}")
                while True:
                    do(rng)
            except BaseException as error:  # noqa: BLE001 - looked at by the test
                log.say("error", text=f"{name}: {error!r}")

        for tenant in (*STEADY, GUEST):
            changing = partial(change, engine, log, runs, tenant)
            threading.Thread(target=work, args=(changing, f"changes of {tenant}"), daemon=True).start()
        for tenant in STEADY:
            while tenant not in engine.tenants:
                time.sleep(0.001)
            sending = partial(send, registry, log, tenant, itertools.count(), seed)
            threading.Thread(target=work, args=(sending, f"events of {tenant}"), daemon=True).start()
        time.sleep(2 * SECONDS)


def _linger(registry: Registry, rng: random.Random) -> None:
    """Let every second process stay a while before each commit, so that many kills come between doing and keeping."""
    most_s = rng.choice((0.0, 0.02))

    def before(statement: str) -> None:
        if statement == "COMMIT":
            time.sleep(rng.uniform(0.0, most_s))

    registry._writer._connection.set_trace_callback(before if most_s else None)


def change(engine: Engine, log: Log, runs: list[Path], tenant: str, rng: random.Random) -> None:
    """Change a tenant in one of the ways that there are, and ask it."""
    if tenant not in engine.tenants:
        engine.register(tenant, rng.choice(runs))
    elif tenant == GUEST and rng.random() < 0.3:
        engine.unregister(tenant)
        return
    else:
        standing = engine.standing(tenant)
        ways: list[Callable[[], object]] = [
            lambda: engine.swap(tenant, rng.choice(runs), keep_items=rng.random() < 0.5),
            lambda: engine.swap(tenant, rng.choice(runs), share=0.5),
            lambda: engine.unpin(tenant) if standing.pinned else engine.pin(tenant),
        ]
        if tenant in STEADY:
            ways += 3 * [lambda: engine.add_items(tenant, [film(rng), film(rng)])]
        if standing.trial is not None or standing.former is not None:
            ways.append(lambda: engine.rollback(tenant))
        if standing.trial is not None:
            version = standing.trial.version
            ways.append(lambda: engine.weight(tenant, version, rng.choice((0.1, 0.9, 1.0))))
        rng.choice(ways)()
    for line in answers(engine, tenant):
        log.say("answer", tenant=tenant, **line)


def film(rng: random.Random) -> dict[str, Any]:
    """A new item, which no other one has the name of."""
    title = f"Brass {rng.choice(('Lanterns', 'Kettles', 'Doors'))}"
    name = f"new {rng.randrange(10**12)}"
    return {"item_id": name, "title": title, "year": rng.randrange(1930, 2000), "genres": ["Crime"], "description": "A"}


def answers(engine: Engine, tenant: str) -> list[dict[str, Any]]:
    """Whole lists of some users, with the state that gave them."""
    return [
        {"user": one.user_id, "state": one.state_digest, "items": [[item.item_id, item.score] for item in one.items]}
        for user in USERS
        for one in engine.ask(tenant, [user], k=10_000, seen=True)
    ]


def send(registry: Registry, log: Log, tenant: str, numbers: Iterator[int], seed: str, rng: random.Random) -> None:
    """Send some events; at first those again that no process acknowledged."""
    number = next(numbers)
    ids, again = [f"{seed} {number} {at}" for at in range(rng.randrange(1, 6))], False
    if number == 0 and (open_ids := unacknowledged(lines(Path()), tenant)):
        ids, again = open_ids, True
    log.say("send", tenant=tenant, ids=ids, again=again)
    events = [EventIn(user_id=f"user {one}", item_id="1", label=1.0, event_id=one) for one in ids]
    receipt = registry.add_events(tenant, events)
    log.say("received", tenant=tenant, ids=ids, last=receipt.last)


def unacknowledged(said: list[dict[str, Any]], tenant: str) -> list[str]:
    """Events of a tenant that were sent and not acknowledged."""
    open_ids: dict[str, None] = {}
    for line in said:
        if line["kind"] == "send" and line["tenant"] == tenant:
            open_ids |= dict.fromkeys(line["ids"])
        elif line["kind"] == "received" and line["tenant"] == tenant:
            for one in line["ids"]:
                open_ids.pop(one)
    return list(open_ids)


def look() -> None:
    """Compare what is there after a kill with what was acknowledged before it, and write down what was found."""
    said, counts = lines(Path()), Counts()
    with served() as (registry, engine, log):
        stored = {one.name: {**plain(one.route), "pinned": one.pinned} for one in registry.tenants()}
        for tenant in (*STEADY, GUEST):
            _compare_states(said, tenant, stored.get(tenant), counts)
            log.say("found", tenant=tenant, state=stored.get(tenant))
            if tenant in stored:
                _compare_answers(said, engine, tenant, counts)
                if tenant in STEADY:
                    _compare_events(said, registry, tenant, counts)
    Path(FOUND).write_text(json.dumps(asdict(counts)), encoding="utf-8")


def _compare_states(said: list[dict[str, Any]], tenant: str, found: State, counts: Counts) -> None:
    sure: State = None
    tried: list[State] = []
    for line in said:
        if line.get("tenant") != tenant:
            continue
        if line["kind"] == "found":
            sure, tried = line["state"], []
        elif line["kind"] == "try":
            tried = [line["state"]]
        elif line["kind"] == "done":
            sure, tried = tried[0], []
    if tried and found == tried[0] != sure:
        counts.applied += 1
    elif found == sure:
        counts.not_applied += bool(tried)
    else:
        counts.wrong.append(f"{tenant}: is {found}, and {sure} was acknowledged, {tried} tried")


def _compare_answers(said: list[dict[str, Any]], engine: Engine, tenant: str, counts: Counts) -> None:
    known = {
        (line["user"], line["state"]): line["items"]
        for line in said
        if line["kind"] == "answer" and line["tenant"] == tenant
    }
    for line in answers(engine, tenant):
        before = known.get((line["user"], line["state"]))
        if before is not None:
            counts.answers += 1
            if before != line["items"]:
                counts.wrong.append(f"{tenant}: another answer for {line['user']} in state {line['state'][:12]}")
    audit = engine.audit(engine.ask(tenant, ["1"])[0])
    counts.audits += 1
    if not audit.same:
        counts.wrong.append(f"{tenant}: {audit.reason}")


def _compare_events(said: list[dict[str, Any]], registry: Registry, tenant: str, counts: Counts) -> None:
    stored = registry.events(tenant, limit=10**9)
    if [one.sequence for one in stored] != list(range(1, len(stored) + 1)):
        counts.wrong.append(f"{tenant}: numbers of events have gaps")
    found = Counter(one.event_id for one in stored)
    counts.wrong += [f"{tenant}: event {name} is there {count} times" for name, count in found.items() if count > 1]
    places = {one.event_id: one.sequence for one in stored}
    for line in said:
        if line.get("tenant") != tenant or line["kind"] not in ("send", "received"):
            continue
        there = [name in places for name in line["ids"]]
        if any(there) != all(there):
            counts.wrong.append(f"{tenant}: of the events {line['ids']} some are there")
        if line["kind"] == "received":
            counts.wrong += [f"{tenant}: event {name} is lost" for name in line["ids"] if name not in places]
            if max(places.get(name, 0) for name in line["ids"]) > line["last"]:
                counts.wrong.append(f"{tenant}: events {line['ids']} have other numbers")


def _begin() -> None:
    """Import what a server needs, in a process of its own."""

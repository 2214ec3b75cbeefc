"""Audit: an answer is computed again from the sealed version and its events, and a changed one is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmrec_peft.run.catalogue import ScoredItem
from llmrec_peft.serving import tenants
from llmrec_peft.serving.answers import Answer, compared
from llmrec_peft.serving.engine import Engine
from llmrec_peft.serving.refusals import ServingError, UnknownTenantError
from llmrec_peft.serving.versions import Event, State

FILM = {"item_id": "new", "title": "Brass Lanterns", "year": 1995, "genres": ["Crime"], "description": "A film."}
USERS = [str(number) for number in range(1, 9)]


def test_answers_of_every_version_and_state_are_found_again(tmp_path: Path, rivals: list[Path]) -> None:
    engine = Engine(tmp_path / "store", device="cpu")
    engine.register("shop", rivals[0])
    answers = engine.ask("shop", [*USERS, "nobody"], 300)
    engine.add_items("shop", [FILM])
    answers += engine.ask("shop", USERS[:3], 300)
    scores = engine.score("shop", USERS, ["new"] * len(USERS))
    for run in rivals[1:]:
        engine.swap("shop", run)
        answers += engine.ask("shop", USERS[3:], 4, seen=True)
    engine.add_items("shop", [FILM | {"item_id": "newer"}])
    answers += engine.ask("shop", USERS[:4], 300)
    answers += engine.ask("shop", USERS[:2], 300)  # kept ones, computed with two others
    assert len(answers[-1].together) == 4
    assert len({answer.identity for answer in answers}) == 5
    for answer in answers:
        assert engine.audit(answer).difference == 0.0
        assert engine.audit(answer).same
    assert engine.audit(scores).same


def tampered(answer: Answer) -> dict[str, Answer]:
    """The ways in which an answer can be another one."""
    best, second, *rest = answer.items
    identity = answer.identity
    return {
        "score": replace(answer, items=(replace(best, score=best.score + 0.0001), second, *rest)),
        "NaN": replace(answer, items=(replace(best, score=float("nan")), second, *rest)),
        "order": replace(answer, items=(second, best, *rest)),
        "item": replace(answer, items=(replace(best, item_id="260"), second, *rest)),
        "title": replace(answer, items=(replace(best, title="Another"), second, *rest)),
        "fewer": replace(answer, items=(best, second)),
        "user": replace(answer, user_id="2"),
        "stranger": replace(answer, user_id="nobody"),
        "basis": replace(answer, basis="popularity"),
        "version": replace(answer, identity=identity._replace(version="0" * 64)),
        "state": replace(answer, identity=identity._replace(state=7)),
        "state digest": replace(answer, identity=identity._replace(state_digest="0" * 64)),
        "k": replace(answer, k=3),
        "seen": replace(answer, seen=True),
    }


def test_changed_answers_are_told(engine: Engine, rivals: list[Path]) -> None:
    engine.register("shop", rivals[0])
    engine.register("other", rivals[1])
    answer = engine.ask("shop", USERS, 200)[0]
    assert engine.audit(answer).same
    for name, changed in tampered(answer).items():
        found = engine.audit(changed)
        assert not found.same, name
        assert found.reason, name
    theirs = engine.audit(replace(answer, tenant="other"))
    assert not theirs.same, "a version that this tenant never had"
    scores = engine.score("shop", USERS, USERS)
    for changed in (
        replace(scores, values=scores.values + np.float32(1e-5)),
        replace(scores, values=np.full_like(scores.values, np.nan)),
        replace(scores, items=scores.items[::-1]),
        replace(scores, users=scores.users[1:]),
        replace(scores, basis=("popularity",) * len(USERS)),
        replace(scores, identities=tuple(one._replace(state=1) for one in scores.identities)),
    ):
        assert not engine.audit(changed).same


def test_audit_reads_the_sealed_copy_and_says_when_it_cannot(engine: Engine, rivals: list[Path]) -> None:
    engine.register("shop", rivals[0])
    answer = engine.ask("shop", USERS)[0]
    path = engine.store.folder / answer.version / "signals.safetensors"
    path.chmod(0o600)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ServingError, match=r"tenant 'shop': .*signals\.safetensors is not what the run wrote"):
        engine.audit(answer)
    engine.unregister("shop")
    with pytest.raises(UnknownTenantError):
        engine.audit(answer)


def test_audited_versions_leave_memory(engine: Engine, rivals: list[Path]) -> None:
    engine.register("shop", rivals[0])
    answer = engine.ask("shop", USERS)[0]
    before = engine.in_memory
    assert engine.audit(answer).same
    assert engine.in_memory == before


def test_tolerance_lets_neighbours_within_it_change_places() -> None:
    def items(*scores: tuple[str, float]) -> list[ScoredItem]:
        return [ScoredItem(item, item, score) for item, score in scores]

    again = items(("a", 4.0), ("b", 3.9999), ("c", 2.0))
    swapped = items(("b", 4.0), ("a", 3.9999), ("c", 2.0))
    assert compared(swapped, again, 2e-4).same
    assert not compared(swapped, again, 0.0).same
    assert not compared(items(("c", 4.0), ("b", 3.9999), ("a", 2.0)), again, 2e-4).same
    assert not compared(items(("a", 4.001), ("b", 3.9999), ("c", 2.0)), again, 2e-4).same


def test_state_is_a_function_of_its_events() -> None:
    def state(*rows: dict[str, Any]) -> State:
        found = State.first("v", ())
        for row in rows:
            found = found.after(Event("items", [row]))
        return found

    assert state({"a": 1}, {"b": 2}).digest == state({"a": 1}, {"b": 2}).digest
    assert state({"b": 2}, {"a": 1}).digest != state({"a": 1}, {"b": 2}).digest
    assert State.first("v", ()).digest != State.first("v", ("seen.safetensors",)).digest
    assert [event.values for event in state({"a": 1}, {"b": 2}).events()] == [[{"a": 1}], [{"b": 2}]]


def test_states_of_former_versions_are_forgotten_beyond_a_bound_and_those_of_present_ones_are_not(
    engine: Engine, rivals: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tenants, "PAST", 4)
    engine.register("shop", rivals[0])
    first = engine.ask("shop", USERS[:1])[0]
    engine.swap("shop", rivals[1], keep_items=False)
    for number in range(6):
        engine.add_items("shop", [FILM | {"item_id": f"new {number}"}])
        if number == 0:
            second = engine.ask("shop", USERS[:1])[0]
    assert len(engine._tenants._entry("shop").past) == 4
    assert engine.audit(second).same, "the present version went through its state"
    assert engine.audit(first).same, "the former one is on the route"
    engine.swap("shop", rivals[2])
    engine.swap("shop", rivals[1])
    for number in range(6):
        engine.add_items("shop", [FILM | {"item_id": f"newer {number}"}])
    assert "no version of this tenant was in a state" in engine.audit(first).reason


def test_kept_items_of_swapped_versions_are_in_memory_once(engine: Engine, rivals: list[Path]) -> None:
    engine.register("shop", rivals[0])
    engine.add_items("shop", [FILM])
    for run in (rivals[1], rivals[2], rivals[0], rivals[1]):
        engine.swap("shop", run)
    past = engine._tenants._entry("shop").past.values()
    rows = [row for one in past for event in one.state.events() for row in event.values]
    assert len(rows) == 3
    assert len({id(row) for row in rows}) == 1

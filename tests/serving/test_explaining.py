"""Explanations of an engine: those of the command on the same run, of added items, and what is refused."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tiered_engines import evict, in_thread

from llmrec_peft.run.recommender import Recommender
from llmrec_peft.serving.engine import Engine
from llmrec_peft.serving.refusals import ServingError, UnknownTenantError
from llmrec_peft.workflows.explain import Asked, explain

FILM = {"item_id": "new", "title": "Brass Lanterns", "year": 1995, "genres": ["Crime"], "description": "A film."}


@pytest.mark.parametrize("words", ["leave-one-out", "none"])
def test_evidence_is_that_of_the_command(engine: Engine, rivals: list[Path], words: str) -> None:
    engine.register("shop", rivals[0])
    known = Recommender.from_pretrained(rivals[0], device="cpu").vocabulary
    user, item = known.users[1], known.items[2]
    found = engine.explain("shop", user, item, top=3, words=words)  # type: ignore[arg-type]
    told = explain(rivals[0], user, item, Asked(top=3, words=words, pairs=0), show=False)  # type: ignore[arg-type]
    del told["faithfulness"]
    assert found.plain == told
    assert found.identity == engine.standing("shop").main
    kinds = {one["kind"] for one in found.plain["evidence"]}
    assert ("word" in kinds) == (words != "none")
    assert engine.explain("shop", user, item, top=3, words=words).plain == told  # type: ignore[arg-type]
    assert found.plain["score"] == pytest.approx(float(engine.score("shop", [user], [item]).values[0]), abs=1e-4)


@pytest.mark.parametrize("task", ["prompt", "ranking"])
def test_other_tasks_are_explained_as_alone(engine: Engine, task: str, task_runs: Callable[[str], Path]) -> None:
    run = task_runs(task)
    known = Recommender.from_pretrained(run, device="cpu").vocabulary
    engine.register("shop", run)
    told = explain(run, known.users[0], known.items[0], Asked(pairs=0), show=False)
    del told["faithfulness"]
    assert engine.explain("shop", known.users[0], known.items[0]).plain == told


def test_added_items_are_explained_in_their_state(engine: Engine, rivals: list[Path]) -> None:
    engine.register("shop", rivals[0])
    with pytest.raises(ServingError, match="tenant 'shop': unknown item 'new'"):
        engine.explain("shop", "1", "new")
    engine.add_items("shop", [FILM])
    found = engine.explain("shop", "1", "new")
    assert found.identity.state == 1
    assert found.plain["title"] == "Brass Lanterns"
    assert found.plain["score"] == pytest.approx(float(engine.score("shop", ["1"], ["new"]).values[0]), abs=1e-4)


def test_explanation_leaves_the_version_and_its_answers_as_they_were(engine: Engine, rivals: list[Path]) -> None:
    engine.register("shop", rivals[0])
    lists = engine.ask("shop", ["1", "2"])
    engine.explain("shop", "1", "2")
    assert engine.ask("shop", ["1", "2"]) == lists
    (resident,) = engine._tier.residents()
    assert resident.version is not None
    assert not resident.version.tenant.adapter.has_modules, "modules would stay in memory uncounted"
    assert resident.leases == 0


def test_what_cannot_be_explained_is_refused_in_one_line(engine: Engine, rivals: list[Path]) -> None:
    engine.register("shop", rivals[0])
    with pytest.raises(UnknownTenantError):
        engine.explain("other", "1", "2")
    with pytest.raises(ServingError, match="unknown user 'nobody'") as said:
        engine.explain("shop", "nobody", "2")
    assert "known are" not in str(said.value), "ids of other users are not told"


def test_version_that_came_back_from_its_skeleton_is_explained_as_before(tmp_path: Path, rivals: list[Path]) -> None:
    with Engine(tmp_path / "store", device="cpu", host_bytes=1 << 30) as engine:
        engine.register("shop", rivals[0])
        known = engine.explain("shop", "1", "2")
        while not engine._skeletons.nbytes:  # a folder that was written just now leaves none
            engine._loading.load(engine._tenants.route("shop").main.sealed)
        evict(engine, "shop")
        assert engine.explain("shop", "1", "2", wait_s=0.0) == known


def test_explanations_beside_texts_of_other_tenants_stay_the_same(engine: Engine, rivals: list[Path]) -> None:
    """Both use one base: explanations with an adapter inside it, texts in shared passes."""
    for at, run in enumerate(rivals):
        engine.register(f"shop {at}", run)
    known = {name: engine.explain(name, "1", "2").plain for name in engine.tenants}
    done = threading.Event()

    def add() -> int:
        number = 0
        while not done.is_set():
            for name in engine.tenants:
                engine.add_items(name, [FILM | {"item_id": f"new {number}"}])
            number += 1
        return number

    adding, added = in_thread(add)
    try:
        for _ in range(6):
            for name, plain in known.items():
                assert engine.explain(name, "1", "2").plain == plain
    finally:
        done.set()
        adding.join(60)
    assert added[0] >= 1
    assert engine.audit(engine.score("shop 0", ["1"], ["new 0"])).same

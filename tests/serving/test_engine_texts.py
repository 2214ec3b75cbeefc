"""Engine: texts of new items of several tenants in shared passes, beside an engine that encodes each tenant's alone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import Tensor

from llmrec_peft.errors import InputError
from llmrec_peft.serving.encoding import OwnPasses
from llmrec_peft.serving.engine import Engine
from llmrec_peft.serving.mixing import mixed_encoder
from llmrec_peft.serving.refusals import ServingError

pytestmark = pytest.mark.trains
FILM = {"item_id": "new", "title": "Brass Lanterns", "year": 1995, "genres": ["Crime"], "description": "A film."}
USERS = [str(number) for number in range(1, 13)]
FULL = {"adapter.method": "full", "training.adapter.learning_rate": 0.002}


def scores(engine: Engine, tenant: str) -> NDArray[np.float32]:
    return engine.score(tenant, USERS, ["new"] * len(USERS)).values


def test_items_that_are_added_at_once_score_as_where_each_tenants_texts_pass_alone(
    five_rivals: list[Path], quick_run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [*five_rivals, quick_run("movies", FULL)]
    tenants = [f"shop {at}" for at in range(len(runs))]
    most, run, barrier = [0], mixed_encoder.mixed_states, threading.Barrier(len(runs))

    def counted(*given: Any) -> Tensor:
        most[0] = max(most[0], len(set(given[4])))
        return run(*given)

    monkeypatch.setattr(mixed_encoder, "mixed_states", counted)
    alone = Engine(tmp_path / "store", device="cpu", encoder=OwnPasses())
    with Engine(tmp_path / "store", device="cpu", adapter_bytes=64 << 20) as engine:
        for tenant, folder in zip(tenants, runs, strict=True):
            for one in (engine, alone):
                one.register(tenant, folder)
            alone.add_items(tenant, [FILM])

        def add(tenant: str) -> None:
            barrier.wait(60)
            engine.add_items(tenant, [FILM | {"item_id": f"film {number}"} for number in range(40)] + [FILM])

        with ThreadPoolExecutor(len(runs)) as pool:
            list(pool.map(add, tenants))
        assert most[0] >= 2, "tenants shared a pass"
        found = [scores(engine, tenant) for tenant in tenants]
        for tenant, own in zip(tenants, found, strict=True):
            np.testing.assert_allclose(own, scores(alone, tenant), rtol=0, atol=1e-5)
            given = engine.score(tenant, USERS, ["new"] * len(USERS))
            assert engine.audit(given).same
            assert engine.audit(given).difference <= 1e-5
        assert all(np.abs(found[0] - other).max() > 1e-3 for other in found[1:]), "the runs answer differently"
        notes = [engine.standing(tenant).notes for tenant in tenants]
        assert notes[:-1] == [()] * (len(runs) - 1)
        assert "texts of new items are encoded in passes of their own" in notes[-1][-1]


def test_a_closed_engine_answers_for_known_items_and_refuses_texts(engine: Engine, rivals: list[Path]) -> None:
    engine.register("shop", rivals[0])
    engine.add_items("shop", [FILM])
    before = engine.standing("shop")
    engine.close()
    engine.close()
    with pytest.raises(ServingError, match="tenant 'shop': the engine is closed"):
        engine.add_items("shop", [FILM | {"item_id": "newer"}])
    assert engine.standing("shop") == before
    assert np.isfinite(scores(engine, "shop")).all()
    assert not engine._encoder._thread.is_alive()  # type: ignore[attr-defined]


def test_a_forgotten_engine_ends_its_thread(rivals: list[Path], tmp_path: Path) -> None:
    import gc

    engine = Engine(tmp_path / "store", device="cpu")
    engine.register("shop", rivals[0])
    engine.add_items("shop", [FILM])
    thread = engine._encoder._thread  # type: ignore[attr-defined]
    assert thread.is_alive()
    del engine
    gc.collect()
    thread.join(60)
    assert not thread.is_alive()


def test_unregistered_tenants_and_audited_versions_leave_their_seats(engine: Engine, rivals: list[Path]) -> None:
    for at, run in enumerate(rivals[:2]):
        engine.register(f"shop {at}", run)
        engine.add_items(f"shop {at}", [FILM])
    slots = engine._encoder._work.mixed.slots  # type: ignore[attr-defined]
    assert len(slots) == 2
    assert engine.audit(engine.score("shop 0", USERS, ["new"] * len(USERS))).same
    engine.unregister("shop 1")
    for _ in range(6000):
        if len(slots) == 1:
            break
        threading.Event().wait(0.01)
    assert len(slots) == 1


def test_too_few_bytes_for_adapters_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="adapter_bytes: 1,000 is below the smallest, 2,097,152"):
        Engine(tmp_path / "store", device="cpu", adapter_bytes=1000)

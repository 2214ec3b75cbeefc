"""Lanes: which thread computes what, what holds up nobody, deadlines, bounds, callers who leave, and the end."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest
from lane_clients import MadeUpEngine, lanes_of, repeated

from llmrec_peft.serving.http.lanes.busy import BusyError, DrainingError, LateError
from llmrec_peft.serving.http.lanes.leaving import CallerLeftError, unless_left
from llmrec_peft.serving.refusals import UnavailableError, UnknownTenantError

pytestmark = pytest.mark.anyio
ROWS = [{"item_id": "new", "title": "Brass Lanterns"}]


@pytest.fixture
def anyio_backend() -> str:
    """Run the tests in asyncio alone."""
    return "asyncio"


async def outcome(awaited: Any) -> Any:
    """What somebody gets, or the error."""
    try:
        return await awaited
    except Exception as error:  # noqa: BLE001 - looked at by the test
        return error


async def until(condition: Any) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


async def test_one_thread_answers_for_known_items_and_each_kind_has_its_own() -> None:
    engine = MadeUpEngine()
    async with lanes_of(engine) as lanes:
        asks = [lanes.ask(f"shop {at % 3}", ["1"]) for at in range(30)]
        texts = [lanes.add_items(f"shop {at % 3}", ROWS) for at in range(9)]
        explained = [lanes.explain("shop 0", "1", "1") for _ in range(3)]
        await asyncio.gather(*asks, *texts, *explained)
        assert engine.threads["ask"] == {"llmrec-known"}
        assert engine.threads["add_items"] == {"llmrec-texts"}
        assert engine.threads["explain"] == {"llmrec-explanations"}
        assert await lanes.change(lambda: threading.current_thread().name) == "llmrec-changes"
        assert max(engine.most_at_once.values()) == 1, "texts of one tenant follow each other"
        with pytest.raises(UnknownTenantError):
            await lanes.ask("unknown", ["1"])
        with pytest.raises(UnknownTenantError):
            await lanes.add_items("unknown", ROWS)


async def test_flood_of_one_tenant_comes_between_others_asks_once_and_not_eighty_times() -> None:
    """One tenant has eighty callers with several users each; what is computed before a quiet tenant's ask is counted."""
    engine = MadeUpEngine(seconds={f"shop {at}": 0.002 for at in range(4)} | {"flood": 0.002})
    async with lanes_of(engine) as lanes:
        stop = asyncio.Event()

        async def pressing() -> None:
            while not stop.is_set():
                await outcome(lanes.ask("flood", ["1", "2"]))

        async def quiet(name: str) -> list[int]:
            found = []
            for _ in range(20):
                before = len(engine.order)
                await lanes.ask(name, ["1"])
                found.append(engine.order[before:].count("flood"))
                await asyncio.sleep(0.02)
            return found

        crowd = [asyncio.create_task(pressing()) for _ in range(80)]
        await until(lambda: lanes.waiting_of("flood")["known"] == 80)
        counts = sorted(
            count for one in await asyncio.gather(*(quiet(f"shop {at}") for at in range(4))) for count in one
        )
        stop.set()
        await asyncio.gather(*crowd)
    assert counts[len(counts) // 2] <= 4
    assert counts[int(0.95 * len(counts))] <= 16, "some more where the machine was busy and an ask cost more"


async def test_load_that_hangs_for_one_tenant_lets_the_others_answer() -> None:
    engine = MadeUpEngine(absent={"cold"}, comes={"cold": threading.Event()})
    async with lanes_of(engine, deadline_s=1.5) as lanes:
        cold = [asyncio.create_task(outcome(lanes.ask("cold", ["1"]))) for _ in range(20)]
        await until(lambda: lanes.waiting()["known"].parked == 20)
        await repeated(lambda: lanes.ask("warm", ["1"]), 20)
        assert not any(task.done() for task in cold), "these waited for nothing that hangs"
        late = await asyncio.gather(*cold)
        assert {type(one) for one in late} == {LateError}
        assert all(one.retry_s > 0 for one in late)
        assert lanes.waiting()["known"].parked == 0


async def test_calls_come_back_when_their_version_is_in_memory() -> None:
    engine = MadeUpEngine(absent={"cold"}, comes={"cold": threading.Event()})
    async with lanes_of(engine) as lanes:
        calls = [lanes.ask("cold", ["1"]), lanes.ask("cold", ["2"]), lanes.explain("cold", "1", "1")]
        tasks = [asyncio.create_task(call) for call in [*calls, lanes.add_items("cold", ROWS)]]
        await until(lambda: sum(one.parked for one in lanes.waiting().values()) == 4)
        engine.comes["cold"].set()
        assert len(await asyncio.gather(*tasks)) == 4
        assert engine.threads["ask"] == {"llmrec-known"}


async def test_version_that_cannot_be_loaded_is_unavailable_with_the_reason() -> None:
    engine = MadeUpEngine(absent={"broken"}, broken={"broken"})
    async with lanes_of(engine) as lanes:
        for call in (lanes.ask("broken", ["1"]), lanes.add_items("broken", ROWS), lanes.explain("broken", "1", "1")):
            error = await outcome(call)
            assert isinstance(error, UnavailableError)
            assert error.retry_s == 3.0
        assert len(await lanes.ask("warm", ["1"])) == 1


async def test_version_that_turns_out_to_encode_is_answered_in_the_lane_of_texts() -> None:
    engine = MadeUpEngine(absent={"prompts"}, comes={"prompts": threading.Event()}, encoding={"prompts"})
    engine.comes["prompts"].set()
    async with lanes_of(engine) as lanes:
        await lanes.ask("prompts", ["1"])
        assert engine.threads["ask"] == {"llmrec-texts"}
        await lanes.ask("prompts", ["1"])
        assert engine.threads["ask"] == {"llmrec-texts"}
        assert all(one.running == one.waiting == one.parked == 0 for one in lanes.waiting().values())


async def test_slow_texts_and_explanations_hold_up_no_asks() -> None:
    engine = MadeUpEngine(seconds={"slow": 0.4})
    async with lanes_of(engine) as lanes:
        slow = [
            asyncio.create_task(call)
            for call in (
                lanes.explain("slow", "1", "1"),
                lanes.explain("slow", "1", "2"),
                lanes.add_items("slow", ROWS),
            )
        ]
        await until(lambda: lanes.waiting()["explanations"].running == 1 == lanes.waiting()["texts"].running)
        await repeated(lambda: lanes.ask("quick", ["1"]), 20)
        assert not slow[1].done()
        await asyncio.gather(*slow)


async def test_what_waits_leaves_at_its_deadline_and_what_is_added_is_told_of() -> None:
    engine = MadeUpEngine(seconds={"shop": 0.5})
    async with lanes_of(engine, deadline_s=0.2, text_deadline_s=0.2) as lanes:
        first, second = (asyncio.create_task(outcome(lanes.add_items("shop", ROWS))) for _ in range(2))
        began = time.monotonic()
        assert isinstance(await second, LateError)
        assert time.monotonic() - began < 0.45, "the first one is still being encoded"
        assert not first.done()
        assert not isinstance(await first, Exception), "its items are there, so its caller is told"
        asks = await asyncio.gather(*(outcome(lanes.ask("shop", ["1"])) for _ in range(4)))
        assert {type(one) for one in asks} == {LateError}
        await until(lambda: lanes.waiting()["known"].running == 0)
        assert engine.order.count("shop") == 2, "three asks left the queue and were not computed"


async def test_caller_who_leaves_takes_waiting_work_back() -> None:
    engine = MadeUpEngine(seconds={"shop": 0.2})
    async with lanes_of(engine) as lanes:
        tasks = [asyncio.create_task(lanes.ask("shop", ["1"])) for _ in range(10)]
        await until(lambda: lanes.waiting()["known"].running == 1)
        for task in tasks[1:]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert lanes.waiting_of("shop")["known"] == 0
        assert len(engine.order) == 1


async def test_caller_whose_connection_closes_takes_waiting_work_back() -> None:
    engine = MadeUpEngine(seconds={"shop": 0.2})
    closed = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await closed.wait()
        return {"type": "http.disconnect"}

    async with lanes_of(engine) as lanes:
        first = asyncio.create_task(lanes.ask("shop", ["1"]))
        await until(lambda: lanes.waiting()["known"].running == 1)
        second = asyncio.create_task(outcome(unless_left(receive, lanes.ask("shop", ["1"]))))
        await until(lambda: lanes.waiting()["known"].waiting == 1)
        closed.set()
        assert isinstance(await second, CallerLeftError)
        await until(lambda: lanes.waiting()["known"].waiting == 0)
        await first
        closed.clear()
        assert len(await unless_left(receive, lanes.ask("shop", ["1"]))) == 1
        with pytest.raises(UnknownTenantError):
            await unless_left(receive, lanes.ask("unknown", ["1"]))
    assert len(engine.order) == 2


async def test_bounds_refuse_with_the_time_to_come_again() -> None:
    engine = MadeUpEngine(seconds={"shop": 0.05})
    async with lanes_of(engine, waiting_requests=4, waiting_tenant_tokens=40, waiting_tokens=60) as lanes:
        asks = await asyncio.gather(*(outcome(lanes.ask("shop", ["1"])) for _ in range(10)))
        busy = [one for one in asks if isinstance(one, BusyError)]
        assert len(busy) == 6
        assert all(0 < one.retry_s <= 60 for one in busy)
        rows = [{"item_id": "new", "title": "word " * 20}]
        texts = await asyncio.gather(*(outcome(lanes.add_items("shop", rows)) for _ in range(3)))
        assert [isinstance(one, BusyError) for one in texts] == [False, True, True]


async def test_change_holds_up_nothing_and_its_error_is_the_callers() -> None:
    engine = MadeUpEngine()
    go = threading.Event()
    async with lanes_of(engine) as lanes:
        hanging = asyncio.create_task(lanes.change(lambda: go.wait(20)))
        assert await lanes.change(lambda: 7) == 7
        with pytest.raises(ZeroDivisionError):
            await lanes.change(lambda: 1 / 0)
        await lanes.ask("shop", ["1"])
        go.set()
        assert await hanging


async def test_weight_is_a_tenants_part_beside_others() -> None:
    engine = MadeUpEngine(seconds={"large": 0.004, "small": 0.004})
    async with lanes_of(engine) as lanes:
        lanes.set_weight("large", 4.0)
        asks = [lanes.ask(name, ["1"]) for _ in range(60) for name in ("large", "small")]
        await asyncio.gather(*asks)
    first = engine.order[5:65]
    assert 2.0 < first.count("large") / first.count("small") < 8.0


async def test_close_lets_what_runs_end_and_tells_the_others() -> None:
    engine = MadeUpEngine(seconds={"shop": 0.3})
    async with lanes_of(engine) as lanes:
        tasks = [asyncio.create_task(outcome(lanes.ask("shop", ["1"]))) for _ in range(3)]
        await until(lambda: lanes.waiting()["known"].running == 1)
        await lanes.close(5.0)
        found = await asyncio.gather(*tasks)
        assert [isinstance(one, DrainingError) for one in found] == [False, True, True]
        assert all(one.retry_s > 0 for one in found[1:])
        assert isinstance(await outcome(lanes.ask("shop", ["1"])), DrainingError)


async def test_close_does_not_wait_for_what_never_ends() -> None:
    engine, never = MadeUpEngine(absent={"cold"}, comes={"cold": threading.Event()}), threading.Event()
    async with lanes_of(engine, deadline_s=60.0) as lanes:
        tasks = [
            asyncio.create_task(outcome(lanes.change(never.wait))),
            asyncio.create_task(outcome(lanes.ask("cold", ["1"]))),
        ]
        await until(lambda: lanes.waiting()["changes"].running == 1 == lanes.waiting()["known"].parked)
        began = time.monotonic()
        await lanes.close(0.2)
        assert time.monotonic() - began < 2.0
        assert {type(one) for one in await asyncio.gather(*tasks)} == {DrainingError}
        never.set()
        engine.comes["cold"].set()

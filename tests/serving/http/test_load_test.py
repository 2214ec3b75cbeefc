"""The load test: waiting counts from when a request was due, nothing is dropped, and everything has a bound."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from stand_in import KEY, StandIn, begun, served

from llmrec_peft.errors import InputError
from llmrec_peft.serving.http.load_test.load_plan import LoadPlan
from llmrec_peft.serving.http.load_test.load_test import load_test
from llmrec_peft.serving.http.schemas import RecommendIn

Send = Callable[[dict[str, Any]], Awaitable[None]]


class Plain:
    """A bare application that waits as it is told to before it answers, and gives the statuses in turn."""

    def __init__(self, wait: Callable[[int], float] = lambda _: 0.0, statuses: tuple[int, ...] = (200,)) -> None:
        self.asked, self.wait, self.statuses, self.headers = 0, wait, statuses, list[tuple[bytes, bytes]]()
        self.blocking = False

    async def __call__(self, _: Any, receive: Callable[[], Awaitable[dict[str, Any]]], send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        at, self.asked = self.asked, self.asked + 1
        if self.blocking:
            time.sleep(self.wait(at))  # the whole server stands still
        else:
            await asyncio.sleep(self.wait(at))
        headers = [(b"content-length", b"2"), *self.headers]
        status = self.statuses[at % len(self.statuses)]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"{}"})


def plan(url: str, rate: float = 100, **changes: Any) -> LoadPlan:
    """A short load test of two tenants."""
    fields: dict[str, Any] = {"tenants": ["films", "books"], "users": ["1", "2", "3"], "timeout_s": 5.0}
    if "requests" not in changes:
        fields["seconds"] = 0.5
    return LoadPlan(url, rate=rate, **fields | changes)


@pytest.mark.trains
@pytest.mark.parametrize("connections", [1, 256])
def test_a_stall_of_one_second_is_seen_by_every_request_that_was_due_in_it(connections: int) -> None:
    """A client that waits for an answer before it asks again would count one slow request of three hundred."""
    app = Plain(lambda at: 1.0 if at == 100 else 0.0)
    app.blocking = True
    with served(app) as url:
        report = load_test(plan(url, 100, requests=300, even=True, connections=connections))
    assert report.statuses == {"200": 300}
    assert report.waited is not None
    assert report.waited.max >= 1000
    assert report.waited.p99 >= 900
    assert report.waited.p90 >= 500  # 100 of the 300 were due while the server stood still, and waited 0 to 1 s
    assert app.asked == 300


def test_requests_are_what_the_server_reads_and_carry_the_key() -> None:
    stand_in: StandIn = begun()
    report = load_test(plan(stand_in.url, 50, requests=20, k=3), KEY)
    assert (report.requests, report.answered, report.errors, report.statuses) == (20, 20, 0, {"200": 20})
    bodies = [RecommendIn.model_validate_json(body) for _, _, _, body in stand_in.seen]
    assert {body.tenant for body in bodies} == {"films", "books"}
    assert {body.k for body in bodies} == {3}
    assert {body.user_id for body in bodies} == {"1", "2", "3"}
    assert {seen[:3] for seen in stand_in.seen} == {("POST", "/v1/recommend", f"Bearer {KEY}")}
    assert [one.tenant for one in report.tenants] == ["films", "books"]
    assert sum(one.requests for one in report.tenants) == 20


def test_refusals_for_want_of_room_are_told_apart_from_errors() -> None:
    with served(Plain(statuses=(200, 429, 503, 500))) as url:
        report = load_test(plan(url, 200, requests=40))
    assert report.statuses == {"200": 10, "429": 10, "500": 10, "503": 10}
    assert (report.answered, report.refused, report.errors) == (10, 20, 10)


def test_requests_of_the_warm_up_are_sent_and_not_counted() -> None:
    app = Plain()
    with served(app) as url:
        report = load_test(plan(url, 100, requests=10, even=True, warm_up_s=0.2))
    assert report.requests == 10
    assert app.asked in (29, 30)


def test_connections_that_the_server_closes_are_opened_again() -> None:
    app = Plain()
    app.headers = [(b"connection", b"close")]
    with served(app) as url:
        report = load_test(plan(url, 100, requests=20))
    assert report.statuses == {"200": 20}


def test_what_gets_no_answer_or_could_not_be_sent_counts_as_long_as_it_waited() -> None:
    with served(Plain(lambda _: 60.0)) as url:
        report = load_test(plan(url, 40, requests=20, even=True, connections=2, timeout_s=0.4))
    assert report.requests == report.errors == 20
    assert set(report.statuses) == {"timeout", "unsent"}
    assert report.waited is not None
    assert report.waited.max >= 400
    assert report.answered == 0


@pytest.mark.trains
def test_a_server_that_ends_makes_errors_and_no_endless_wait() -> None:
    running = contextlib.ExitStack()
    url = running.enter_context(served(Plain()))
    threading.Timer(0.5, running.close).start()
    report = load_test(plan(url, 50, requests=60, even=True, timeout_s=1.0))
    assert report.requests == 60
    assert set(report.statuses) == {"200", "lost"}
    assert 1 <= report.answered < 60
    with pytest.raises(InputError, match=r"^http://127.0.0.1:\d+: no answer \("):
        load_test(plan(url))


def test_an_interruption_gives_the_figures_so_far() -> None:
    with served(Plain(lambda at: 60.0 if at % 10 == 9 else 0.0)) as url:
        threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        report = load_test(plan(url, 100, requests=1000, even=True))
    assert report.interrupted
    assert 1 <= report.requests < 1000
    assert report.statuses["open"] >= report.requests // 20
    assert report.errors == 0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"seconds": None}, "seconds or requests"),
        ({"seconds": 1.0, "requests": 5}, "seconds or requests"),
        ({"seconds": 3601.0}, r"seconds .* 3,600"),
        ({"rate": 1000.0, "seconds": 3000.0}, r"requests .* 1,000,000"),
        ({"requests": 10**7}, r"seconds .* 3,600"),
        ({"rate": 0.0}, "rate"),
        ({"rate": float("nan")}, "rate"),
        ({"zipf": -1.0}, "zipf"),
        ({"connections": 0}, "connections"),
        ({"tenants": []}, "tenants"),
        ({"users": []}, "users"),
    ],
)
def test_what_has_no_bound_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        plan("http://127.0.0.1:1", **changes)


@pytest.mark.parametrize("url", ["http://example.org", "http://10.0.0.1", "http://localhost.example.org"])
def test_another_machine_is_asked_only_if_that_is_said(url: str) -> None:
    with pytest.raises(InputError, match="is another machine"):
        plan(url)
    assert plan(url, remote=True).remote


def test_a_report_is_json() -> None:
    with served(Plain()) as url:
        report = load_test(plan(url, 100, requests=5))
    values = json.loads(json.dumps(report.plain()))
    assert values["requests"] == 5
    assert set(values["waited"]) == {"p50", "p90", "p99", "max"}

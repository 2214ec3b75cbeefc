"""Connections: who has no key is answered before he has sent a body, and nobody holds a connection for nothing."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Iterator

import httpx
import pytest
from gate_calls import Guarded, Reached
from loopback_server import connected, head, read_answer, read_to_end, served

from llmrec_peft.serving.http.gate.connections import BoundedProtocol
from llmrec_peft.serving.http.gate.refusal_answers import forbidden
from llmrec_peft.serving.http.settings import BodyLimits, Quotas


class Hasty(BoundedProtocol):
    """Waits a little while only."""

    head_s = 0.3


@pytest.fixture(scope="module")
def guarded() -> Guarded:
    """A gate whose bodies have a second, and an hour's rate for b."""
    return Guarded(Reached(), Quotas(), BodyLimits(body_bytes=100_000, body_s=0.5))


@pytest.fixture(scope="module")
def port(guarded: Guarded) -> Iterator[int]:
    """Port of a server with that gate."""
    with served(guarded.gate, Hasty, idle_s=1) as port:
        yield port


def test_without_a_key_the_answer_comes_before_the_body_is_sent_and_the_connection_ends(port: int) -> None:
    with connected(port) as connection:
        connection.sendall(head(Content_Length="5000", Expect="100-continue"))
        found = read_to_end(connection)
    assert found.startswith(b"HTTP/1.1 401 ")
    assert b"100 Continue" not in found
    assert b"connection: close" in found.lower()
    assert b"server:" not in found.lower()


@pytest.mark.parametrize("headers", [{"Content_Length": "1000000000"}, {"Transfer_Encoding": "chunked"}])
def test_a_slow_or_endless_body_without_a_key_is_not_waited_for(port: int, headers: dict[str, str]) -> None:
    with connected(port) as connection:
        connection.sendall(head(**headers))
        assert read_to_end(connection).startswith(b"HTTP/1.1 401 ")


def test_a_large_body_without_a_key_is_answered_although_it_is_being_sent(port: int) -> None:
    found = httpx.post(f"http://127.0.0.1:{port}/v1/recommend", content=b"x" * 5_000_000)
    assert found.status_code == 401


def test_with_a_key_the_body_is_asked_for(port: int, guarded: Guarded) -> None:
    with connected(port) as connection:
        connection.sendall(head(key=guarded.keys["a"], Content_Length="2", Expect="100-continue"))
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"{}")
        assert read_answer(connection).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"Content_Length": "100001"}, b"", b"413"),
        ({"Content_Length": "9" * 18}, b"", b"413"),
        ({"Transfer_Encoding": "chunked"}, b"ffff\r\n" + b"x" * 0xFFFF + b"\r\nffff\r\n" + b"x" * 0xFFFF, b"413"),
        ({"Content_Length": "10"}, b"x", b"408"),
        ({"Transfer_Encoding": "chunked"}, b"2\r\n{}\r\n", b"408"),
        ({"Content_Length": "9" * 40}, b"", b"400"),
        ({"Content_Length": "-1"}, b"", b"400"),
        ({"Content_Length": "2", "Transfer_Encoding": "chunked"}, b"2\r\n{}\r\n0\r\n\r\n", b"400"),
        ({"Transfer_Encoding": "chunked"}, b"zz\r\n{}\r\n", b"400"),
    ],
)
def test_a_body_that_is_too_large_or_slow_or_no_body_ends_the_connection(
    port: int, guarded: Guarded, headers: dict[str, str], body: bytes, status: bytes
) -> None:
    with connected(port) as connection:
        connection.sendall(head(key=guarded.keys["a"], **headers) + body)
        assert read_to_end(connection).split(b" ")[1] == status


def test_a_client_that_goes_away_in_the_middle_of_a_body_leaves_the_server_as_it_was(
    port: int, guarded: Guarded
) -> None:
    for _ in range(5):
        with connected(port) as connection:
            connection.sendall(head(key=guarded.keys["a"], Content_Length="10") + b"x")
    with connected(port) as connection:
        connection.sendall(head(key=guarded.keys["a"], Content_Length="0"))
        assert read_answer(connection).startswith(b"HTTP/1.1 200 ")
    deadline = time.monotonic() + 5
    while guarded.gate._arriving and time.monotonic() < deadline:
        time.sleep(0.01)
    assert guarded.gate._arriving == {}


def test_the_connection_goes_on_after_429() -> None:
    guarded = Guarded(Reached(), Quotas(requests="1/hour"))
    request = head(key=guarded.keys["a"], Content_Length="5") + b"12345"
    with served(guarded.gate) as port, connected(port) as connection:
        statuses = []
        for _ in range(4):
            connection.sendall(request)
            statuses.append(read_answer(connection)[9:12])
        assert statuses == [b"200", b"429", b"429", b"429"]


@pytest.mark.parametrize(
    "start",
    [
        b"GET /" + b"x" * 40_000,
        b"GET / HTTP/1.1\r\nHost: " + b"x" * 40_000,
        b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 20_000,
        b"\x16\x03\x01\x02\x00",
        b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        "GET /\u00e9 HTTP/1.1\r\n\r\n".encode(),
    ],
)
def test_a_head_that_is_too_large_or_none_is_answered_400(port: int, start: bytes) -> None:
    with connected(port) as connection:
        connection.sendall(start)
        assert read_to_end(connection).startswith(b"HTTP/1.1 400 ")


def test_a_flood_of_what_is_no_request_writes_nothing_into_the_log(port: int, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        with connected(port) as connection:
            connection.sendall(b"\x16\x03\x01\x02\x00")
            read_to_end(connection)
    assert caplog.records == []


def test_what_follows_a_body_in_pieces_is_bounded_as_well(port: int, guarded: Guarded) -> None:
    with connected(port) as connection:
        connection.sendall(head(key=guarded.keys["a"], Transfer_Encoding="chunked"))
        time.sleep(0.05)
        connection.sendall(b"0\r\n" + b"x: y\r\n" * 20_000)
        assert read_to_end(connection).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("drops", [b"", b"GET", b"\r\n", b"GET / HTTP/1.1\r\nx"])
def test_a_head_that_does_not_come_ends_the_connection(port: int, drops: bytes) -> None:
    began = time.monotonic()
    with connected(port) as connection:
        connection.sendall(drops)
        assert read_to_end(connection) == b""
    assert time.monotonic() - began >= 0.2, "it was waited for"


def test_drops_between_two_requests_do_not_hold_a_connection(port: int) -> None:
    with connected(port) as connection:
        connection.sendall(head("/healthz", method="GET"))
        assert read_answer(connection).startswith(b"HTTP/1.1 200 ")
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - began < 5:
                connection.sendall(b"\r\n")
                time.sleep(0.1)
        assert 1 < time.monotonic() - began < 5, "the server ended it, and not before it would have ended an idle one"


def test_a_body_in_many_small_pieces_is_taken(port: int, guarded: Guarded) -> None:
    with connected(port) as connection:
        connection.sendall(head(key=guarded.keys["a"], Transfer_Encoding="chunked"))
        time.sleep(0.05)
        connection.sendall(b"1\r\nx\r\n" * 50_000 + b"0\r\n\r\n")
        assert read_answer(connection).startswith(b"HTTP/1.1 200 ")


def test_requests_that_are_sent_at_once_are_answered_one_after_the_other(port: int, guarded: Guarded) -> None:
    request = head(key=guarded.keys["a"], Content_Length="2") + b"{}"
    with connected(port) as connection:
        connection.sendall(request * 3 + head("/healthz", method="GET", Connection="close"))
        assert read_to_end(connection).count(b"HTTP/1.1 200 OK") == 4


async def names(scope: object, receive: object, send: object) -> None:
    """An application that lets a tenant ask for himself alone, by the name in the path."""
    tenant = scope["path"].rsplit("/", 1)[-1]  # type: ignore[index]
    assert not scope["state"]["caller"].may(tenant, "ask")  # type: ignore[index]
    await forbidden()(scope, receive, send)  # type: ignore[arg-type]


@pytest.mark.trains
def test_a_foreign_tenant_and_one_that_nobody_has_get_the_same_bytes_in_the_same_time() -> None:
    guarded = Guarded(names, Quotas(requests="100000/second"))
    paths = {"foreign": "/v1/tenants/a", "unknown": "/v1/tenants/x"}
    seconds: dict[str, list[float]] = {name: [] for name in paths}
    bodies = set()
    with served(guarded.gate) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        headers = {"Authorization": f"Bearer {guarded.keys['b']}"}
        for _ in range(400):
            for name, path in paths.items():
                began = time.perf_counter()
                found = client.get(path, headers=headers)
                seconds[name].append(time.perf_counter() - began)
                bodies.add((found.status_code, found.content, tuple(sorted(set(found.headers) - {"date"}))))
    assert len(bodies) == 1
    foreign, unknown = (statistics.median(seconds[name]) for name in paths)
    assert 0.7 < foreign / unknown < 1.4

"""Gate: key before rate, rate before body, and every answer the same for whoever has no business here."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from gate_calls import Answered, Guarded, Reached, call, parts
from starlette.types import Message

from llmrec_peft.serving.http.gate.gate import ARRIVING, OPEN
from llmrec_peft.serving.http.gate.keys import new_key
from llmrec_peft.serving.http.settings import BodyLimits, Quotas


def answered(*given: object, **named: object) -> Answered:
    """An answer that is there."""
    found = call(*given, **named)  # type: ignore[arg-type]
    assert found is not None
    return found


def wrong_headers(key: str) -> dict[str, list[tuple[str, str]]]:
    """Headers by which nobody is let in, by what is wrong."""
    return {
        "none": [],
        "another scheme": [("authorization", f"Basic {key}")],
        "no scheme": [("authorization", key)],
        "two headers": [("authorization", f"Bearer {key}"), ("authorization", f"Bearer {key}")],
        "an unknown key": [("authorization", f"Bearer {new_key('a', ['ask'])[0]}")],
        "a key and more": [("authorization", f"Bearer {key} {key}")],
        "no key": [("authorization", "Bearer ")],
        "an umlaut": [("authorization", f"Bearer {key[:-1]}ä")],
        "a long one": [("authorization", "Bearer " + "a" * 1_000_000)],
        "another header": [("x-api-key", key)],
        "a cookie": [("cookie", f"key={key}")],
    }


@pytest.mark.parametrize("wrong", list(wrong_headers("")))
def test_without_a_valid_key_nothing_of_the_body_is_read_and_nothing_behind_the_gate_is_reached(wrong: str) -> None:
    guarded = Guarded(reached := Reached())
    found = answered(guarded.gate, headers=wrong_headers(guarded.keys["a"])[wrong], body=parts([b"{}"]))
    assert (found.status, found.code) == (401, "no_key")
    assert found.headers["www-authenticate"] == "Bearer"
    assert found.headers["connection"] == "close"
    assert found.receives == 0
    assert reached.scopes == []
    assert guarded.refused == ["no_key"]


def test_all_wrong_keys_get_the_same_bytes() -> None:
    guarded = Guarded(Reached())
    ended = guarded.key("a", expires=1.0)
    heads = [*wrong_headers(guarded.keys["a"]).values(), [("authorization", f"Bearer {ended}")]]
    found = [answered(guarded.gate, headers=headers) for headers in heads]
    assert len({(one.status, one.body, tuple(one.headers.items())) for one in found}) == 1


def test_a_key_in_the_address_is_no_key() -> None:
    guarded = Guarded(Reached())
    key = guarded.keys["admin"]
    for query in (f"key={key}", f"access_token={key}", f"authorization=Bearer%20{key}"):
        assert answered(guarded.gate, query=query).status == 401
    assert answered(guarded.gate, path=f"/v1/{key}").status == 401


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_whoever_has_a_key_is_known_behind_the_gate(scheme: str) -> None:
    guarded = Guarded(reached := Reached())
    found = answered(
        guarded.gate, headers=[("authorization", f"{scheme} {guarded.keys['b']}")], body=parts([b"{", b"}"])
    )
    assert (found.status, found.body) == (200, b"ok")
    state = reached.scopes[0]["state"]
    assert (state["caller"].tenant, state["caller"].admin) == ("b", False)
    assert state["limits"] == guarded.limits
    assert reached.bodies == [b"{}"]


def test_an_unknown_path_or_method_is_known_to_those_with_a_key_alone() -> None:
    guarded = Guarded(reached := Reached())
    for method, path in (
        ("GET", "/v2"),
        ("POST", "/healthz"),
        ("DELETE", "/"),
        ("GET", "//healthz"),
        ("GET", "/static"),
    ):
        assert answered(guarded.gate, path=path, method=method).status == 401
        assert answered(guarded.gate, path=path, method=method, key=guarded.keys["a"]).status == 200
    assert len(reached.scopes) == 5


@pytest.mark.parametrize("path", [*sorted(OPEN), "/static/page.css"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_open_paths_need_no_key_and_get_no_body(path: str, method: str) -> None:
    guarded = Guarded(reached := Reached())
    found = answered(guarded.gate, path=path, method=method, body=parts([b"x" * 100]))
    assert (found.status, found.receives) == (200, 0)
    assert reached.bodies == [b""]
    assert "caller" not in reached.scopes[0]["state"]
    assert found.headers["x-content-type-options"] == "nosniff"
    assert "cache-control" not in found.headers


def test_answers_with_a_key_are_not_kept_by_caches_and_no_type_is_guessed() -> None:
    guarded = Guarded(Reached())
    for found in (answered(guarded.gate, key=guarded.keys["a"]), answered(guarded.gate)):
        assert found.headers["cache-control"] == "no-store"
        assert found.headers["x-content-type-options"] == "nosniff"


def test_a_tenant_over_its_rate_is_told_when_to_come_again_and_its_body_is_not_read() -> None:
    guarded = Guarded(reached := Reached(), Quotas(requests="2/hour"))
    statuses = [answered(guarded.gate, key=guarded.keys["a"]).status for _ in range(3)]
    assert statuses == [200, 200, 429]
    found = answered(guarded.gate, key=guarded.keys["a"], body=parts([b"{}"]))
    error = json.loads(found.body)["error"]
    assert error["code"] == "too_many"
    assert int(found.headers["retry-after"]) - 1 < error["retry_after_s"] <= int(found.headers["retry-after"])
    assert found.receives == 0
    assert len(reached.scopes) == 2
    assert answered(guarded.gate, key=guarded.keys["b"]).status == 200
    assert guarded.refused == ["too_many"] * 2


def test_admins_and_open_paths_have_no_rate() -> None:
    guarded = Guarded(Reached(), Quotas(requests="1/hour"))
    assert {answered(guarded.gate, key=guarded.keys["admin"]).status for _ in range(5)} == {200}
    assert {answered(guarded.gate, path="/healthz", method="GET").status for _ in range(5)} == {200}


@pytest.mark.parametrize(
    ("headers", "closed"),
    [
        ([], False),
        ([("content-length", "100")], False),
        ([("content-length", "100"), ("expect", "100-continue")], True),
        ([("content-length", "900000")], True),
        ([("transfer-encoding", "chunked")], True),
    ],
)
def test_a_connection_goes_on_after_429_if_the_body_can_be_skipped(
    headers: list[tuple[str, str]], closed: bool
) -> None:
    guarded = Guarded(Reached(), Quotas(requests="1/hour"))
    answered(guarded.gate, key=guarded.keys["a"])
    found = answered(guarded.gate, key=guarded.keys["a"], headers=headers)
    assert found.status == 429
    assert ("connection" in found.headers) == closed


@pytest.mark.parametrize("length", ["1001", "9" * 30, "9" * 6000])
def test_a_body_that_is_declared_too_large_is_not_read(length: str) -> None:
    guarded = Guarded(reached := Reached(), limits=BodyLimits(body_bytes=1000))
    found = answered(guarded.gate, key=guarded.keys["a"], headers=[("content-length", length)], body=parts([b"x"]))
    assert (found.status, found.code, found.receives) == (413, "too_large", 0)
    assert found.headers["connection"] == "close"
    assert reached.scopes == []


@pytest.mark.parametrize(
    "declared", [[], [("content-length", "10")], [("content-length", "-1")], [("content-length", "²")]]
)
def test_a_body_is_read_no_further_than_to_its_limit(declared: list[tuple[str, str]]) -> None:
    guarded = Guarded(reached := Reached(), limits=BodyLimits(body_bytes=1000))
    found = answered(guarded.gate, key=guarded.keys["a"], headers=declared, body=parts([b"x" * 400] * 50))
    assert (found.status, found.code, found.receives) == (413, "too_large", 3)
    assert reached.scopes == []
    assert guarded.refused == ["too_large"]


def test_a_body_of_just_the_limit_is_taken() -> None:
    guarded = Guarded(reached := Reached(), limits=BodyLimits(body_bytes=1000))
    found = answered(
        guarded.gate, key=guarded.keys["a"], headers=[("content-length", "1000")], body=parts([b"x" * 500] * 2)
    )
    assert found.status == 200
    assert reached.bodies == [b"x" * 1000]


def test_a_body_that_takes_too_long_is_refused_however_steadily_it_comes() -> None:
    guarded = Guarded(reached := Reached(), limits=BodyLimits(body_s=0.05))
    found = answered(guarded.gate, key=guarded.keys["a"], body=parts([b"x"] * 100, pause_s=0.01))
    assert (found.status, found.code) == (408, "too_slow")
    assert found.headers["connection"] == "close"
    assert reached.scopes == []


def test_a_client_that_goes_away_ends_its_request_without_an_answer() -> None:
    async def gone() -> AsyncIterator[Message]:
        yield {"type": "http.request", "body": b"{", "more_body": True}

    guarded = Guarded(reached := Reached())
    assert call(guarded.gate, key=guarded.keys["a"], body=gone()) is None
    assert reached.scopes == []
    assert guarded.refused == []


def test_many_bodies_of_one_tenant_at_once_do_not_fill_the_memory() -> None:
    guarded = Guarded(Reached(), limits=BodyLimits(body_bytes=1000))
    guarded.gate._arriving["a"] = ARRIVING * 1000
    found = answered(guarded.gate, key=guarded.keys["a"], body=parts([b"x"]))
    assert (found.status, found.code, found.headers["retry-after"]) == (429, "too_many", "1")
    assert answered(guarded.gate, key=guarded.keys["b"], body=parts([b"x"])).status == 200
    assert guarded.gate._arriving == {"a": ARRIVING * 1000}, "and nothing is left of requests that have ended"


def test_a_flood_without_keys_leaves_nothing_behind() -> None:
    guarded = Guarded(Reached())
    for _ in range(200):
        answered(guarded.gate, key=new_key("a", ["ask"])[0])
    assert len(guarded.ring._keys) == 3
    assert guarded.gate._rates._storage.storage == {}
    assert guarded.gate._arriving == {}


def test_a_web_socket_is_refused() -> None:
    guarded = Guarded(reached := Reached())
    sent: list[Message] = []

    async def connect() -> None:
        async def receive() -> Message:
            return {"type": "websocket.connect"}

        async def send(message: Message) -> None:
            sent.append(message)

        await guarded.gate({"type": "websocket", "path": "/v1/recommend", "headers": []}, receive, send)

    asyncio.run(connect())
    assert [one["type"] for one in sent] == ["websocket.close"]
    assert reached.scopes == []

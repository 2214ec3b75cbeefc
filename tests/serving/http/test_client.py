"""The client: every endpoint as a typed call, refusals as one line, retries where nothing happens twice."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stand_in import DIGEST, KEY, StandIn, begun

from llmrec_peft.errors import InputError
from llmrec_peft.serving.http import schemas
from llmrec_peft.serving.http.client import calls
from llmrec_peft.serving.http.client.client import AsyncClient, Client
from llmrec_peft.serving.http.client.connection import ServerError

EVENT = {"user_id": "1", "item_id": "50", "label": 4.0}


@pytest.fixture
def stand_in() -> StandIn:
    """A server with the tenants films and books."""
    return begun()


@pytest.fixture
def client(stand_in: StandIn) -> Iterator[Client]:
    """A client with a key."""
    with Client(stand_in.url, KEY, timeout=10, retries=2) as client:
        yield client


def test_every_endpoint_is_asked_with_the_key_and_answers_with_its_type(stand_in: StandIn, client: Client) -> None:
    assert [item.title for item in client.recommend("films", "1", k=2).answers[0].items] == ["Heat", "Heat"]
    assert [one.user_id for one in client.recommend("films", ["1", "2"]).answers] == ["1", "2"]
    assert client.score("films", ["1"], ["50"]).scores[0].score == 3.5
    assert client.explain("films", "1", "50", words="none").explanation == {"score": 4}
    assert client.add_items("films", [{"item_id": "new", "title": "Brass"}]).tenant == "films"
    assert client.send_events("films", [EVENT, schemas.EventIn(user_id="2", item_id="50")]).stored == 2
    assert [event.sequence for event in client.events("films", after=1).events] == [2]
    assert [event.user_id for event in client.all_events("films", limit=1)] == ["1", "2"]
    assert [one.tenant for one in client.tenants()] == ["films", "books"]
    assert client.tenant("films").main.version == DIGEST
    assert client.put_tenant("films", "/runs/films", share=0.5).tenant == "films"
    assert client.pin("films").pinned
    assert client.weight("films", DIGEST, 0.5).tenant == "films"
    assert client.rollback("films").tenant == "films"
    assert client.reload("films").tenant == "films"
    assert client.new_key("films", ["ask", "write"], expires_s=60).key == KEY
    assert [one.key_id for one in client.keys("films")] == ["00000001"]
    client.end_key("films", "00000001", after_s=10)
    client.remove_tenant("films")
    assert client.overview() == {"tenants": 2}
    assert client.metrics() == "llmrec_requests_total 1\n"
    assert client.ready()
    assert client.healthy()
    assert {authorization for _, _, authorization, _ in stand_in.seen} == {f"Bearer {KEY}"}
    assert ("DELETE", "/v1/tenants/films/keys/00000001?after_s=10") in [one[:2] for one in stand_in.seen]


def test_a_coroutine_sends_the_same_calls(stand_in: StandIn) -> None:
    async def both() -> list[str]:
        async with AsyncClient(stand_in.url, KEY) as client:
            stand_in.refuse(429, "too_many", retry="0")
            found = await asyncio.gather(*(client.send(calls.recommend(name, "1")) for name in ("films", "books")))
            return [one.tenant for one in found]

    assert asyncio.run(both()) == ["films", "books"]
    assert len(stand_in.seen) == 3


def test_a_refusal_is_one_line_with_the_servers_code_and_pause(stand_in: StandIn, client: Client) -> None:
    stand_in.refuse(409, "refused", "run abc\n\x1b[2Jwas changed", retry="7")
    with pytest.raises(ServerError, match=r"^run abc was changed \(409 refused\)$") as refused:
        client.put_tenant("films", "/runs/films")
    assert (refused.value.status, refused.value.code, refused.value.retry_after_s) == (409, "refused", 7.0)
    assert len(stand_in.seen) == 1


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again_after_the_pause_it_names(stand_in: StandIn, client: Client, status: int) -> None:
    stand_in.refuse(status, "busy", retry="1")
    begun = time.monotonic()
    assert client.recommend("films", "1").tenant == "films"
    assert time.monotonic() - begun >= 1
    assert len(stand_in.seen) == 2


def test_retries_end_and_a_long_pause_is_not_waited_for(stand_in: StandIn, client: Client) -> None:
    stand_in.refuse(429, "too_many", retry="0", times=3)
    with pytest.raises(ServerError, match="429"):
        client.tenants()
    assert len(stand_in.seen) == 3
    stand_in.refuse(429, "too_many", retry="3600")
    with pytest.raises(ServerError) as refused:
        client.tenants()
    assert refused.value.retry_after_s == 3600
    assert len(stand_in.seen) == 4


@pytest.mark.parametrize(
    ("call", "repeated"),
    [
        (calls.recommend("films", "1"), True),
        (calls.tenant("films"), True),
        (calls.put_tenant("films", "/runs/films"), True),
        (calls.put_tenant("films", "/runs/films", keep_items=False), False),
        (calls.rollback("films"), False),
        (calls.add_items("films", [{"item_id": "new"}]), False),
        (calls.new_key("films"), False),
        (calls.send_events("films", [EVENT]), False),
        (calls.send_events("films", [{**EVENT, "event_id": "e1"}, EVENT]), False),
        (calls.send_events("films", [{**EVENT, "event_id": "e1"}]), True),
    ],
)
def test_only_what_changes_nothing_twice_is_sent_again(
    stand_in: StandIn, client: Client, call: calls.Call[Any], repeated: bool
) -> None:
    stand_in.refuse(503, "unavailable", retry="0")
    if repeated:
        client.send(call)
    else:
        with pytest.raises(ServerError, match="503"):
            client.send(call)
    assert len(stand_in.seen) == 1 + repeated


def test_no_answer_is_one_line() -> None:
    with Client("http://127.0.0.1:9", KEY, retries=0) as client:
        with pytest.raises(ServerError, match=r"^http://127.0.0.1:9: no answer \(ConnectError") as lost:
            client.tenants()
        assert (lost.value.status, lost.value.code) == (0, "no_answer")
        assert not client.ready()


def test_an_answer_of_something_else_is_one_line(stand_in: StandIn, client: Client) -> None:
    stand_in.answers.append((200, {}, {"hello": 1}))
    with pytest.raises(ServerError, match="no answer of llmrec serve: tenants: Field required"):
        client.tenants()
    stand_in.answers.append((502, {}, {"hello": 1}))
    with pytest.raises(ServerError, match="Bad Gateway"):
        client.tenants()


def test_the_key_is_in_no_error_text_or_log(stand_in: StandIn, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), Client(stand_in.url, KEY, retries=0) as client:
        stand_in.refuse(403, "forbidden")
        with pytest.raises(ServerError) as refused:
            client.tenants()
        texts = [repr(client), str(client), repr(refused.value), caplog.text]
    assert "GET" in caplog.text
    assert not [text for text in texts if KEY in text or KEY[-20:] in text]
    with pytest.raises(InputError) as wrong:
        Client(key="llmrec_secret")
    assert "secret" not in str(wrong.value)


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8765", "ftp://a", "http://", "http://name:password@a", "http://a/?x=1", "http://a:b"]
)
def test_an_address_is_refused_that_is_none(url: str) -> None:
    with pytest.raises(InputError) as wrong:
        Client(url)
    assert "password@" not in str(wrong.value)


@pytest.mark.parametrize("name", ["", "..", "a/b", "a?b", "a#b", "ä", "a" * 65, ".a"])
def test_a_tenants_name_cannot_lead_to_another_path(client: Client, stand_in: StandIn, name: str) -> None:
    with pytest.raises(InputError, match="is no tenant's name"):
        client.tenant(name)
    with pytest.raises(InputError):
        client.recommend(name, "1")
    assert stand_in.seen == []


def test_a_key_file_is_taken_from_its_owner_alone(tmp_path: Path, stand_in: StandIn) -> None:
    file = tmp_path / "films.key"
    file.write_text(f"{KEY}\n", encoding="ascii")
    file.chmod(0o640)
    with pytest.raises(InputError, match=r"others can read or write this key: chmod 600"):
        Client(stand_in.url, key_file=file)
    file.chmod(0o600)
    with Client(stand_in.url, key_file=file) as client:
        client.tenants()
    assert stand_in.seen[-1][2] == f"Bearer {KEY}"
    with pytest.raises(InputError, match="not both"):
        Client(key=KEY, key_file=file)

"""Hostile requests at the whole application: each is refused in one line, none is a failure, and others notice none."""

from __future__ import annotations

import http.client
import json
import statistics
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from hostile_texts import BODIES, LIKENESSES, PATHS
from loopback_server import connected, head, read_to_end
from running_server import Running, running

JSON = {"Content-Type": "application/json"}
MANY = {"requests": "1000000/second", "texts": "1000000/second", "explanations": "1000000/second"}
CALLERS = ("admin", "a")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, rivals: list[Any]) -> Iterator[Running]:
    """A server with two tenants; a body has a second to arrive."""
    runs = {"a": rivals[0], "b": rivals[1]}
    with running(tmp_path_factory.mktemp("hostile") / "state", runs, bodies={"body_s": 1.0}, quotas=MANY) as served:
        yield served


@pytest.fixture(scope="module")
def clients(served: Running) -> Iterator[dict[str, httpx.Client]]:
    """Clients with the admin's key and with tenant a's, which allows everything that a tenant's may."""
    keys = {"admin": served.admin_key, "a": served.new_key("a", "ask", "write", "manage")}
    with (
        httpx.Client(base_url=served.url, headers={"Authorization": f"Bearer {keys['admin']}"}, timeout=60) as admin,
        httpx.Client(base_url=served.url, headers={"Authorization": f"Bearer {keys['a']}"}, timeout=60) as tenant,
    ):
        yield {"admin": admin, "a": tenant}


@pytest.fixture(autouse=True)
def unharmed(clients: dict[str, httpx.Client]) -> Iterator[None]:
    """Both tenants have the same answers after each test as before."""
    asks = [{"tenant": tenant, "user_ids": ["1", "2", "3"], "k": 3} for tenant in ("a", "b")]
    before = [clients["admin"].post("/v1/recommend", json=ask).json() for ask in asks]
    yield
    after = [clients["admin"].post("/v1/recommend", json=ask).json() for ask in asks]
    for one, other in zip(before, after, strict=True):
        assert [[item["item_id"] for item in each["items"]] for each in one["answers"]] == [
            [item["item_id"] for item in each["items"]] for each in other["answers"]
        ]


def refusal(found: httpx.Response) -> str:
    """The message of a refusal, which is one line in JSON and no failure."""
    assert 400 <= found.status_code < 500, (found.status_code, found.text[:300])
    assert found.headers["content-type"] == "application/json"
    error = found.json()["error"]
    assert set(error) == {"code", "message", "retry_after_s"}
    assert error["message"].isprintable()
    assert len(error["message"]) <= 1000
    return str(error["message"])


def bodied(served: Running) -> list[tuple[str, str]]:
    """Methods and paths that take a body, for tenant a."""
    schema = httpx.get(f"{served.url}/openapi.json").json()
    found = [
        (method.upper(), path.replace("{tenant}", "a"))
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
        if "requestBody" in operation
    ]
    assert len(found) >= 10
    return found


@pytest.mark.parametrize("caller", CALLERS)
def test_hostile_bodies_are_refused_on_every_path(
    served: Running, clients: dict[str, httpx.Client], caller: str
) -> None:
    for method, path in bodied(served):
        for what, body in BODIES.items():
            found = clients[caller].request(method, path, content=body, headers=JSON)
            assert 400 <= found.status_code < 500, (method, path, what, found.text[:300])
            refusal(found)


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Content-Type": "application/json; charset=utf-7"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
    ],
)
def test_what_is_not_said_to_be_json_is_refused(
    served: Running, clients: dict[str, httpx.Client], headers: dict[str, str]
) -> None:
    for method, path in bodied(served):
        refusal(clients["a"].request(method, path, content=b"\x1f\x8b\x08\x00", headers=headers))


def test_a_large_body_is_refused(served: Running, clients: dict[str, httpx.Client]) -> None:
    for method, path in bodied(served):
        found = clients["a"].request(method, path, content=b"[" + b"1," * 1_000_000 + b"1]", headers=JSON)
        assert found.status_code == 413
        refusal(found)


def test_a_slow_body_is_refused(served: Running) -> None:
    key = served.new_key("a", "ask")
    with connected(urlsplit(served.url).port or 0) as connection:
        connection.sendall(head(key=key, Content_Type="application/json", Content_Length="40") + b'{"tenant": "a"')
        found = read_to_end(connection)
    assert found.startswith(b"HTTP/1.1 408 ")
    assert json.loads(found.partition(b"\r\n\r\n")[2])["error"]["code"] == "too_slow"


@pytest.mark.parametrize("caller", CALLERS)
def test_a_trick_in_a_path_finds_no_tenant(clients: dict[str, httpx.Client], caller: str) -> None:
    for trick in PATHS:
        for method, path, body in (
            ("GET", f"/v1/tenants/{trick}", None),
            ("DELETE", f"/v1/tenants/{trick}", None),
            ("PUT", f"/v1/tenants/{trick}", {"run": "x"}),
            ("POST", f"/v1/tenants/{trick}/pin", {}),
            ("POST", f"/v1/tenants/{trick}/rollback", {}),
            ("POST", f"/v1/tenants/{trick}/reload", None),
            ("POST", f"/v1/tenants/{trick}/weight", {"version": "0" * 64, "share": 0.5}),
            ("GET", f"/v1/tenants/{trick}/keys", None),
            ("POST", f"/v1/tenants/{trick}/keys", {}),
            ("DELETE", f"/v1/tenants/a/keys/{trick}", None),
            ("GET", f"/v1/events?tenant={trick}", None),
            ("GET", f"/{trick}", None),
            ("GET", f"/v1/{trick}", None),
        ):
            status, headers, answer = sent_as_it_is(clients[caller], method, path, body)
            assert 400 <= status < 500, (method, path, status)
            assert "x-injected" not in headers
            assert json.loads(answer)["error"]["message"].isprintable()


def sent_as_it_is(client: httpx.Client, method: str, path: str, body: Any) -> tuple[int, dict[str, str], bytes]:
    """Send a request whose path nobody normalizes on the way: httpx would."""
    connection = http.client.HTTPConnection(client.base_url.host, client.base_url.port, timeout=60)
    content = None if body is None else json.dumps(body)
    try:
        connection.request(method, path, content, JSON | {"Authorization": client.headers["Authorization"]})
        found = connection.getresponse()
        return found.status, {name.lower(): value for name, value in found.getheaders()}, found.read()
    finally:
        connection.close()


def test_static_files_are_those_of_the_page_alone(clients: dict[str, httpx.Client], served: Running) -> None:
    port = urlsplit(served.url).port or 0
    for path in ("/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2f..%2fapp.py", "/static//etc/passwd"):
        with connected(port) as connection:
            connection.sendall(head(path, method="GET", Connection="close"))
            assert read_to_end(connection)[9:12] in (b"401", b"404", b"405")
    with connected(port) as connection:
        connection.sendall(head("/static/" + "x" * 5_000, method="GET", Connection="close"))
        assert read_to_end(connection)[9:12] == b"404"


@pytest.mark.parametrize(
    "target", ["*", "http://other/healthz", "//healthz", "/%", "/%zz", "/?", "/v1/recommend?" + "a=b&" * 3_000]
)
def test_an_odd_address_is_no_failure(served: Running, target: str) -> None:
    for method in ("GET", "POST", "OPTIONS", "TRACE", "PATCH", "HEAD"):
        with connected(urlsplit(served.url).port or 0) as connection:
            connection.sendall(head(target, served.admin_key, method, Connection="close", Content_Length="0"))
            found = read_to_end(connection)
        assert found.split(b" ")[1][:1] in (b"2", b"4"), found[:200]


def test_a_foreign_tenant_and_one_that_nobody_has_get_the_same_bytes_in_the_same_time(served: Running) -> None:
    seconds: dict[str, list[float]] = {"b": [], "nobody": []}
    answers = set()
    with httpx.Client(base_url=served.url, headers={"Authorization": f"Bearer {served.new_key('a', 'ask')}"}) as client:
        for _ in range(300):
            for tenant, found in seconds.items():
                began = time.perf_counter()
                answer = client.post("/v1/recommend", json={"tenant": tenant, "user_id": "1"})
                found.append(time.perf_counter() - began)
                answers.add((answer.status_code, answer.content, tuple(answer.headers)))
    assert len(answers) == 1
    assert answers.pop()[0] == 403
    foreign, unknown = map(statistics.median, seconds.values())
    assert 0.7 < foreign / unknown < 1.4


def test_ids_that_look_alike_are_other_ids(clients: dict[str, httpx.Client]) -> None:
    ids = ["1", *LIKENESSES]
    found = clients["a"].post("/v1/recommend", json={"tenant": "a", "user_ids": ids, "k": 3})
    assert found.status_code == 200
    answers = found.json()["answers"]
    assert [one["user_id"] for one in answers] == ids
    assert [one["basis"] for one in answers] == ["personal"] + ["popularity"] * len(LIKENESSES)


def test_items_that_look_alike_are_not_known(clients: dict[str, httpx.Client]) -> None:
    for likeness in LIKENESSES:
        refusal(clients["a"].post("/v1/score", json={"tenant": "a", "user_ids": ["1"], "item_ids": [likeness]}))
        refusal(clients["a"].post("/v1/explain", json={"tenant": "a", "user_id": "1", "item_id": likeness}))


ROWS: dict[str, Any] = {
    "nothing": {},
    "no id": {"title": "x"},
    "an empty id": {"item_id": ""},
    "null": {"item_id": None},
    "a list as id": {"item_id": ["x"]},
    "a number as id": {"item_id": 1.5},
    "true as id": {"item_id": True},
    "a large number as id": {"item_id": 10**400},
    "a long id": {"item_id": "x" * 5_000},
    "a zero byte": {"item_id": "x\0"},
    "a control character": {"item_id": "\x1b[2J"},
    "an id alone": {"item_id": "lonely"},
    "a wrong type": {"item_id": "w1", "title": {"a": 1}, "year": "x", "genres": 5, "description": []},
    "a large year": {"item_id": "w2", "title": "x", "year": 10**40, "genres": [], "description": ""},
    "objects in objects": {"item_id": "w3", "title": {"a": {"b": 1}}, "year": 1990, "genres": [], "description": "x"},
    "a long text": {"item_id": "w4", "title": "x" * 30_000, "year": 1990, "genres": [], "description": "x"},
    "a template": {"item_id": "", "title": "{{ 7 * 7 }}", "year": 1990, "genres": [], "description": "{% for %}"},
}


@pytest.mark.parametrize("what", list(ROWS))
def test_a_hostile_row_of_a_new_item_is_refused(clients: dict[str, httpx.Client], what: str) -> None:
    refusal(clients["a"].post("/v1/items", json={"tenant": "a", "items": [ROWS[what]]}))


def test_an_infinite_number_in_a_row_is_refused(clients: dict[str, httpx.Client]) -> None:
    body = (
        b'{"tenant": "a", "items": [{"item_id": "w5", "title": "x", "year": 1e999, "genres": [], "description": ""}]}'
    )
    refusal(clients["a"].post("/v1/items", content=body, headers=JSON))


@pytest.mark.parametrize(
    "run",
    [
        "..",
        "/",
        "/etc/passwd",
        "\0",
        "a\nb",
        "x" * 4_096,
        "../" * 1_000,
        "owner/name@main",
        "~",
        "",
        "file:///etc",
        "C:\\",
    ],
)
def test_a_hostile_run_is_refused(clients: dict[str, httpx.Client], run: str) -> None:
    message = refusal(clients["admin"].put("/v1/tenants/new", json={"run": run}))
    assert "root:" not in message
    assert clients["admin"].get("/v1/tenants/new").status_code == 404


@pytest.mark.parametrize(
    "query",
    [
        "",
        "tenant=a&tenant=b",
        "tenant=a&after=-1",
        "tenant=a&after=NaN",
        "tenant=a&after=%00",
        "tenant=a&after=" + "9" * 30,
        "tenant=a&limit=0",
        "tenant=a&limit=1e3",
        "tenant=a&limit=99999999",
        "tenant=a&limit=",
        "tenant=%ff",
    ],
)
def test_a_hostile_query_is_refused(clients: dict[str, httpx.Client], query: str) -> None:
    refusal(clients["a"].get(f"/v1/events?{query}"))


def test_hostile_events_are_refused_and_none_of_their_batch_is_kept(clients: dict[str, httpx.Client]) -> None:
    good = {"user_id": "1", "item_id": "1", "event_id": "good"}
    wrong: list[dict[str, Any]] = [
        {"user_id": "1"},
        {"user_id": "1", "item_id": "1", "label": "5"},
        {"user_id": "1", "item_id": "1", "label": 10**400},
        {"user_id": "1", "item_id": "1", "timestamp": -1},
        {"user_id": "1", "item_id": "1", "timestamp": 1e13},
        {"user_id": "1\0", "item_id": "1"},
        {"user_id": "1", "item_id": "x" * 600},
        {"user_id": "1", "item_id": "1", "event_id": ""},
        {"user_id": "1", "item_id": "1", "sequence": 1},
    ]
    for one in wrong:
        refusal(clients["a"].post("/v1/events", json={"tenant": "a", "events": [good, one]}))
    assert clients["a"].get("/v1/events?tenant=a").json()["events"] == []

"""Bodies: what is no strict JSON, or more than the operator takes, is refused in one line that names the field."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from gate_calls import Answered, Guarded, call, parts
from hostile_texts import BODIES
from starlette.responses import Response

from llmrec_peft.serving.http.gate.bodies import BodyError, StrictRoute, require_within, wrong_field
from llmrec_peft.serving.http.gate.refusal_answers import problem
from llmrec_peft.serving.http.schemas import EventsIn, ExplainIn, ItemsIn, RecommendIn, ScoreIn
from llmrec_peft.serving.http.settings import BodyLimits

JSON = ("content-type", "application/json")
ASK = {"tenant": "a", "user_id": "1"}


def small_app() -> FastAPI:
    """An application that gives back what it understood."""
    router = APIRouter(route_class=StrictRoute)

    @router.post("/v1/recommend")
    async def recommend(request: Request, body: RecommendIn, top: int = 1) -> Any:
        require_within(body, request.state.limits)
        return body.model_dump()

    @router.post("/v1/events")
    async def events(body: EventsIn) -> Any:
        return len(body.events)

    app = FastAPI()
    app.include_router(router)

    @app.exception_handler(BodyError)
    async def refused(_: Request, error: BodyError) -> Response:
        return problem(error.status, "bad_request", error)

    @app.exception_handler(RequestValidationError)
    async def wrong(request: Request, error: RequestValidationError) -> Response:
        return await refused(request, wrong_field(error))

    return app


def send(
    body: bytes, path: str = "/v1/recommend", query: str = "", header: tuple[str, str] = JSON, **limits: Any
) -> Answered:
    """Send a body with a valid key."""
    guarded = Guarded(small_app(), limits=BodyLimits(**limits))
    found = call(guarded.gate, path, guarded.keys["a"], body=parts([body]), headers=[header], query=query)
    assert found is not None
    return found


def message_of(found: Answered) -> str:
    """The one line that a refusal says."""
    message = str(json.loads(found.body)["error"]["message"])
    assert found.code == "bad_request"
    assert message.isprintable()
    assert len(message) < 1000
    assert "pydantic" not in message
    return message


def test_a_strict_body_is_understood() -> None:
    found = send(json.dumps(ASK | {"k": 3}).encode())
    assert found.status == 200
    assert json.loads(found.body)["k"] == 3


@pytest.mark.parametrize("what", list(BODIES))
def test_a_hostile_body_is_refused_in_one_line(what: str) -> None:
    found = send(BODIES[what])
    assert found.status in (400, 422), found.body
    assert message_of(found)


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
@pytest.mark.parametrize("depth", [17, 1000, 100_000])
def test_a_deep_body_is_refused(opening: bytes, closing: bytes, depth: int) -> None:
    found = send(opening * depth + b"1" + closing * depth)
    assert found.status == 400
    assert "nested deeper than 16" in message_of(found)


def test_the_operator_says_how_deep_a_body_may_be() -> None:
    body = b'{"tenant": "a", "user_id": [[["1"]]]}'
    assert "nested deeper than 3" in message_of(send(body, depth=3))
    assert message_of(send(body, depth=4)) == "body.user_id: Input should be a valid string"


def test_the_message_names_the_field_and_repeats_no_value() -> None:
    told = "a-text-of-the-sender"
    found = send(json.dumps({"tenant": "a", "user_ids": ["1", "2", {told: told}]}).encode())
    assert found.status == 422
    assert message_of(found).startswith("body.user_ids.2: ")
    assert told.encode() not in found.body


def test_a_wrong_query_is_told_like_a_wrong_body() -> None:
    found = send(json.dumps(ASK).encode(), query="top=many")
    assert found.status == 422
    assert message_of(found).startswith("query.top: ")


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonp",
        "application/ld+json",
        "application/json; charset=latin-1",
        "application/json; charset=utf-16",
    ],
)
def test_another_type_of_content_is_refused(content_type: str) -> None:
    found = send(json.dumps(ASK).encode(), header=("content-type", content_type))
    assert found.status == 415
    message_of(found)


def test_a_body_without_a_type_or_with_two_is_refused() -> None:
    assert send(json.dumps(ASK).encode(), header=("accept", "*/*")).status == 415
    guarded = Guarded(small_app())
    found = call(guarded.gate, key=guarded.keys["a"], body=parts([b"{}"]), headers=[JSON, JSON])
    assert found is not None
    assert found.status == 415


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON",
        "application/json;",
        "application/json; charset=UTF-8",
        'application/json;charset="utf-8"',
    ],
)
def test_json_in_utf_8_is_taken_however_it_is_written(content_type: str) -> None:
    assert send(json.dumps(ASK).encode(), header=("content-type", content_type)).status == 200


def test_a_body_of_nothing_but_wrong_values_costs_one_error() -> None:
    bodies = {
        "/v1/events": {"tenant": "a", "events": [{}] * 100_000},
        "/v1/recommend": dict.fromkeys(map(str, range(9**5))),
    }
    for path, body in bodies.items():
        with pytest.raises(ValueError, match="validation error") as raised:
            (EventsIn if path == "/v1/events" else RecommendIn).model_validate(body)
        assert raised.value.error_count() <= 2  # type: ignore[attr-defined]
    assert send(json.dumps({"tenant": "a", "events": [{}] * 100_000}).encode(), "/v1/events").status == 422


def test_two_unicode_forms_of_an_id_are_two_ids() -> None:
    one, other = "caf\u00e9", "cafe\u0301"
    for form in (one, other, "\ufb01lm", "\u200d"):
        found = send(json.dumps({"tenant": "a", "user_id": form}).encode())
        assert json.loads(found.body)["user_id"] == form


LIMITS = BodyLimits(users=2, pairs=2, items=2, events=2, k=5, id_chars=4, text_chars=30)
FITTING = [
    RecommendIn(tenant="a", user_ids=["1", "2"], k=5),
    RecommendIn(tenant="a", user_id="1234", k=1),
    ScoreIn(tenant="a", user_ids=["1", "2"], item_ids=["1", "2"]),
    ExplainIn(tenant="a", user_id="1", item_id="1234"),
    ItemsIn(tenant="a", items=[{"item_id": "1", "title": "x" * 17}, {"item_id": 2, "year": 1.5, "genres": ["a"]}]),
    EventsIn.model_validate({"tenant": "a", "events": [{"user_id": "1", "item_id": "1"}] * 2}),
]
TOO_MUCH = {
    "user_ids": RecommendIn(tenant="a", user_ids=["1", "2", "3"]),
    "k": RecommendIn(tenant="a", user_id="1", k=6),
    "user_id": RecommendIn(tenant="a", user_id="12345", k=1),
    "user_ids of pairs": ScoreIn(tenant="a", user_ids=["1"] * 3, item_ids=["1"] * 3),
    "user_ids with a control character": ScoreIn(tenant="a", user_ids=["1", "\x1b"], item_ids=["1", "2"]),
    "item_ids": ScoreIn(tenant="a", user_ids=["1", "2"], item_ids=["1", "12345"]),
    "user_id of an explanation": ExplainIn(tenant="a", user_id="\x85", item_id="1"),
    "item_id": ExplainIn(tenant="a", user_id="1", item_id="\u2028"),
    "items": ItemsIn(tenant="a", items=[{"item_id": "1"}] * 3),
    "items.0.item_id": ItemsIn(tenant="a", items=[{"item_id": "12345"}]),
    "items.1.item_id with a control character": ItemsIn(tenant="a", items=[{"item_id": "1"}, {"item_id": "1\0"}]),
    "items.0": ItemsIn(tenant="a", items=[{"item_id": "1", "title": "x" * 18}]),
    "items.0 in names": ItemsIn(tenant="a", items=[{"item_id": "1", "x" * 30: 0}]),
    "items.0 in lists": ItemsIn(tenant="a", items=[{"item_id": "1", "genres": [["x"] * 30]}]),
    "items.0 with an infinite number": ItemsIn(tenant="a", items=[{"item_id": "1", "years": [{"a": float("inf")}]}]),
    "events": EventsIn.model_validate({"tenant": "a", "events": [{"user_id": "1", "item_id": "1"}] * 3}),
    "events.user_id": EventsIn.model_validate({"tenant": "a", "events": [{"user_id": "12345", "item_id": "1"}]}),
    "events.item_id": EventsIn.model_validate({"tenant": "a", "events": [{"user_id": "1", "item_id": "\x7f"}]}),
    "events.event_id": EventsIn.model_validate(
        {"tenant": "a", "events": [{"user_id": "1", "item_id": "1", "event_id": "12345"}]}
    ),
}


@pytest.mark.parametrize("message", FITTING, ids=lambda message: type(message).__name__)
def test_what_the_operator_takes_is_let_through(message: Any) -> None:
    require_within(message, LIMITS)


@pytest.mark.parametrize("field", list(TOO_MUCH))
def test_what_the_operator_does_not_take_is_refused_with_its_field(field: str) -> None:
    with pytest.raises(BodyError, match=rf"body\.{field.partition(' ')[0]}: ") as raised:
        require_within(TOO_MUCH[field], LIMITS)  # type: ignore[arg-type]
    assert raised.value.status == 422
    assert str(raised.value).isprintable()

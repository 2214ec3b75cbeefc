"""Bodies: strict JSON within an operator's limits, or one line that names the field."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from llmrec_peft.errors import InputError
from llmrec_peft.printable import quoted
from llmrec_peft.serving.http.schemas import EventsIn, ExplainIn, ItemsIn, RecommendIn, ScoreIn
from llmrec_peft.serving.http.settings import BodyLimits
from llmrec_peft.strict_json import parse_json

_UNWRITTEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Control characters, line ends and halves of characters, which no id holds."""
_FIELD = re.compile(r"[a-z_]{1,40}|[0-9]{1,9}")
_LONGEST_NAME = 60


class BodyError(InputError):
    """A request is not what its path takes.

    Attributes:
        status: 400 for what is no JSON, 415 for another type of content, 422 for a wrong field.
    """

    def __init__(self, status: int, reason: object) -> None:
        """Say what is wrong, in one line."""
        super().__init__(reason)
        self.status = status


class StrictRoute(APIRoute):
    """A route whose body is read by `strict_json.parse_json`, as deep as ``scope["state"]["limits"]`` allows.

    FastAPI's own way takes repeated names and NaN.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request.

        Raises:
            BodyError: When it is called, if the body is no JSON that is read here.
        """
        answer = super().get_route_handler()

        async def strict(request: Request) -> Response:
            parsed = _ParsedRequest(request.scope, request.receive)
            await parsed.parse(request.state.limits.depth)
            return await answer(parsed)

        return strict


class _ParsedRequest(Request):
    """A request whose body was parsed before FastAPI asks for it, which has no words for other errors than its own."""

    _values: Any = None

    async def parse(self, depth: int) -> None:
        body = await self.body()
        if body:
            _require_json(self.headers.getlist("content-type"))
            try:
                self._values = parse_json(body, "body", depth=depth)
            except InputError as error:
                raise BodyError(400, error) from None

    async def json(self) -> Any:
        return self._values


def wrong_field(error: RequestValidationError) -> BodyError:
    """Return the first of the errors in a body, a path or a query, in one line that names the field.

    FastAPI's own answer tells the sender all that he sent, in as many errors as it has values.

    Args:
        error: What FastAPI raised; the names of fields in it may be the sender's.
    """
    first = error.errors()[0]
    parts = [str(part) for part in first["loc"]]
    where = ".".join(
        part if _FIELD.fullmatch(part) or part.isdigit() else quoted(part, _LONGEST_NAME) for part in parts
    )
    return BodyError(422, f"{where}: {first['msg'].removeprefix('Value error, ')}")


def require_within(message: RecommendIn | ScoreIn | ExplainIn | ItemsIn | EventsIn, limits: BodyLimits) -> None:
    """Hold a message against an operator's limits, beyond those of its schema.

    Ids are texts without control characters. Nothing is normalized: the same word in two Unicode forms, such as ``é``
    in one character or in two, is two ids, as it is in the run's own tables.

    Args:
        message: What was sent.
        limits: What a request may hold.

    Raises:
        BodyError: If it holds more, or an id that is none; the message names the field.
    """
    match message:
        case RecommendIn():
            _require_most("user_ids", len(message.users), limits.users)
            _require_most("k", message.k, limits.k)
            _require_ids("user_ids" if message.user_id is None else "user_id", message.users, limits)
        case ScoreIn():
            _require_most("user_ids", len(message.user_ids), limits.pairs)
            _require_ids("user_ids", message.user_ids, limits)
            _require_ids("item_ids", message.item_ids, limits)
        case ExplainIn():
            _require_ids("user_id", [message.user_id], limits)
            _require_ids("item_id", [message.item_id], limits)
        case ItemsIn():
            _require_most("items", len(message.items), limits.items)
            for place, row in enumerate(message.items):
                _require_row(f"items.{place}", row, limits)
        case EventsIn():
            _require_most("events", len(message.events), limits.events)
            _require_ids("events.user_id", (one.user_id for one in message.events), limits)
            _require_ids("events.item_id", (one.item_id for one in message.events), limits)
            _require_ids("events.event_id", (one.event_id or "" for one in message.events), limits)


def _require_json(types: list[str]) -> None:
    media, *options = [part.strip().lower() for part in types[0].split(";")] if len(types) == 1 else [""]
    if media != "application/json" or any(option not in ("charset=utf-8", 'charset="utf-8"', "") for option in options):
        raise BodyError(415, "a body is application/json in UTF-8, and its Content-Type says so")


def _require_most(field: str, count: int, most: int) -> None:
    if count > most:
        raise BodyError(422, f"body.{field}: {count}, where this server takes at most {most}")


def _require_ids(field: str, ids: Iterable[str], limits: BodyLimits) -> None:
    for place, one in enumerate(ids):
        if len(one) > limits.id_chars:
            raise BodyError(
                422, f"body.{field}: id {place} has {len(one)} characters, at most {limits.id_chars} are taken"
            )
        if not one.isprintable() and _UNWRITTEN.search(one):
            raise BodyError(422, f"body.{field}: id {place} has a control character: {quoted(one, _LONGEST_NAME)}")


def _require_row(where: str, row: dict[str, Any], limits: BodyLimits) -> None:
    if isinstance(row.get("item_id"), str):
        _require_ids(f"{where}.item_id", [row["item_id"]], limits)
    chars = 0
    for value in _values(row):
        if isinstance(value, str):
            chars += len(value)
        elif isinstance(value, float) and not math.isfinite(value):  # JSON has 1e999, which is none of Python's numbers
            raise BodyError(422, f"body.{where}: holds a number that is too large")
    if chars > limits.text_chars:
        raise BodyError(422, f"body.{where}: {chars} characters, where an item has at most {limits.text_chars}")


def _values(row: dict[str, Any]) -> Iterator[Any]:
    """Go through the names and values of a row, at any depth."""
    waiting: list[Any] = [row]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting.extend(value)
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
        else:
            yield value

"""App: the endpoints behind the gate, with each refusal as one line."""

from __future__ import annotations

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp

from llmrec_peft.errors import InputError
from llmrec_peft.identity import __version__
from llmrec_peft.serving.http.endpoints import asking, growing, health, keys, tenants
from llmrec_peft.serving.http.endpoints.callers import host_of
from llmrec_peft.serving.http.gate.bodies import wrong_field
from llmrec_peft.serving.http.gate.gate import Gate
from llmrec_peft.serving.http.gate.refusal_answers import problem
from llmrec_peft.serving.http.host import Host
from llmrec_peft.serving.http.page.router import page_router
from llmrec_peft.serving.http.problems import problem_of
from llmrec_peft.serving.http.seeing.logs import event
from llmrec_peft.serving.http.seeing.seen import Seen

_CODES = {400: "bad_request", 403: "forbidden", 404: "not_found", 405: "not_allowed", 409: "refused"}


def make_app(host: Host) -> ASGIApp:
    """Return the ASGI application of a server.

    A request passes `Seen`, which measures it; `Gate`, which looks at its key before its body; and then FastAPI.
    """
    app = FastAPI(
        title="llmrec-peft",
        version=__version__,
        description="Recommendations of many tenants' runs on one frozen language model.",
        docs_url=None,
        redoc_url=None,
    )
    app.state.host = host
    for one in (asking, growing, tenants, keys, health):
        app.include_router(one.router)
    app.include_router(page_router(host))
    app.add_exception_handler(InputError, _refused)
    app.add_exception_handler(RequestValidationError, _wrong)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _failed)
    gate = Gate(app, host.ring, host.rates, host.settings.bodies, host.metrics.refused)
    return Seen(gate, host.metrics, host.tracing)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, InputError)  # noqa: S101 - registered for it
    caller = request.scope["state"].get("caller")
    return problem_of(host_of(request).known_reason(error), caller is not None and caller.admin)


async def _wrong(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it
    return problem_of(wrong_field(error), False)


async def _http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
    return problem(error.status_code, _CODES.get(error.status_code, "bad_request"), error.detail, None, error.headers)


async def _failed(request: Request, error: Exception) -> Response:
    event("a request failed", logging.ERROR, route=str(getattr(request.scope.get("route"), "path", None)), error=error)
    return problem(500, "internal", "the server failed; its log says why")

"""Refusal answers: a status, a code, one line and when to come again, as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse


def problem(
    status: int,
    code: str,
    message: object,
    retry_s: float | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Return the answer that says why a request was refused.

    Args:
        status: HTTP status.
        code: Short name of the reason, which programs read.
        message: One line for a person.
        retry_s: Seconds after which the request may be sent again; also as ``Retry-After``, in whole seconds, at least
            one.
        headers: Further headers.
    """
    content: dict[str, Any] = {"code": code, "message": str(message), "retry_after_s": retry_s}
    later = {} if retry_s is None else {"Retry-After": str(max(1, math.ceil(retry_s)))}
    return JSONResponse({"error": content}, status, {**(headers or {}), **later})


def forbidden() -> JSONResponse:
    """Return the one answer to a key that is not for what it is used for.

    Another tenant's name, a name that nobody has and a scope that the key lacks get the same bytes. Whoever asks for
    this answer has looked up nothing but the key, see `keyring.Caller.may`: so it takes the same time as well.
    """
    return problem(403, "forbidden", "this key is not for that")

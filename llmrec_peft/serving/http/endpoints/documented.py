"""Documented: the refusals that every endpoint may answer with, for the OpenAPI schema."""

from __future__ import annotations

from typing import Any

from llmrec_peft.serving.http.schemas import ErrorOut

_REASONS = {
    400: "The body is no JSON, or a field is wrong.",
    401: "No valid key came with the request.",
    403: "The key is not for this tenant, or not for this.",
    404: "There is no such thing.",
    405: "The path has no such method.",
    408: "The body took too long.",
    409: "A run, an item or a change is refused.",
    413: "The body is too large.",
    415: "The body is not application/json.",
    422: "A field is wrong.",
    429: "More than the tenant's rate, or too much waits; come again after `Retry-After`.",
    503: "The version is not in memory now, it took too long, or the server ends; come again after `Retry-After`.",
}
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorOut, "description": reason} for status, reason in _REASONS.items()
}

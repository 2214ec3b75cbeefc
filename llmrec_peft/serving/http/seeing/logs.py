"""Logs: JSON lines, one a request or event, without ids of users, texts, query strings and messages of exceptions."""

from __future__ import annotations

import json
import logging
import traceback
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from llmrec_peft.printable import one_line

ACCESS, EVENTS = "llmrec.access", "llmrec.events"
"""Names of the loggers of requests, and of what happens to tenants and the server."""
DIGEST = 12
"""Digits of a version's digest in a line."""
_FRAMES = 20
Value = str | int | float | bool | None
_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None] | None


class JsonLines(logging.Formatter):
    """Formats each record as one JSON object in ASCII on one line, so that no control character comes through.

    Fields are ``time`` (UTC), ``level``, ``logger``, ``event`` and those of the record. An exception is told by its
    type and the places in the code, not by its message, which may repeat what a user sent.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        moment = datetime.fromtimestamp(record.created, UTC)
        values: dict[str, Any] = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": one_line(record.getMessage()),
        }
        fields: dict[str, Value] = getattr(record, "fields", {})
        values |= {name: one_line(value) if isinstance(value, str) else value for name, value in fields.items()}
        values |= _error(record.exc_info)
        return json.dumps(values, ensure_ascii=True, allow_nan=False)


def event(name: str, level: int = logging.INFO, error: BaseException | None = None, **fields: Value) -> None:
    """Write what happened to a tenant or to the server.

    Args:
        name: What happened, such as ``swap``.
        level: How grave it is, see `logging`.
        error: What was raised; its message is not written.
        fields: What else there is to say; no ids of users and no texts.
    """
    logging.getLogger(EVENTS).log(level, name, exc_info=error, extra={"fields": fields})


def log_config(level: str = "INFO") -> dict[str, Any]:
    """Return the configuration for `logging.config.dictConfig`, and so for uvicorn: all lines go to stdout as JSON.

    Uvicorn's own access log is off: it would have paths as they were sent, with ids and query strings.

    Args:
        level: Records below it are not written.
    """
    lines = {"handlers": ["lines"], "level": level, "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"lines": {"()": JsonLines}},
        "handlers": {"lines": {"class": "logging.StreamHandler", "formatter": "lines", "stream": "ext://sys.stdout"}},
        "loggers": {
            "llmrec": lines,
            "uvicorn": lines,
            "uvicorn.error": {"level": level},
            "uvicorn.access": {"handlers": [], "level": "CRITICAL", "propagate": False},
        },
    }


def _error(info: _ExcInfo) -> dict[str, Any]:
    """Return the type of an exception, and where it was raised, innermost last."""
    if not info or info[0] is None:
        return {}
    frames = traceback.extract_tb(info[2])[-_FRAMES:]
    return {"error": info[0].__name__, "at": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]}

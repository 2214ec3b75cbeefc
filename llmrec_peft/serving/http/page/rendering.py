"""Rendering: templates with everything escaped, and the headers that keep a browser from running anything else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from llmrec_peft.serving.http.page import numbers
from llmrec_peft.serving.http.page.escaping import exact, visible
from llmrec_peft.serving.http.page.static_files import address_of

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
"""Content security policy: files of this server alone, and no script or style inside a page."""
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Headers of everything that the page consists of; its static files may be kept."""


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=visible,
    )
    environment.filters["exact"] = exact
    environment.globals["address_of"] = address_of
    for shown in ("size", "latency", "rate", "count", "percent", "part_of", "signed", "short"):
        environment.filters[shown] = getattr(numbers, shown)
    return environment


_TEMPLATES = _environment()


def rendered(template: str, headers: Mapping[str, str] = {}, /, **values: Any) -> HTMLResponse:
    """Return a template's text as an answer.

    Args:
        template: Its name without the ending.
        headers: Headers beside `HEADERS`.
        values: What it shows; each is escaped where it is printed.
    """
    text = _TEMPLATES.get_template(f"{template}.html.jinja").render(values)
    return HTMLResponse(text, headers={**HEADERS, **headers})

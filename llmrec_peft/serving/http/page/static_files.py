"""Static files: the page's style and scripts, each by its name and the digest of its bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent / "static"
_TYPES = {
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "htmx.min.js": "text/javascript; charset=utf-8",
    "htmx-LICENSE.txt": "text/plain; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
"""All files that are served; a name is looked up here and never put into a path."""


@dataclass(frozen=True)
class StaticFile:
    """A file of the page.

    Attributes:
        content: Its bytes.
        media_type: Its type.
        digest: First 16 hexadecimal digits of its SHA-256.
    """

    content: bytes
    media_type: str
    digest: str


@cache
def static_files() -> Mapping[str, StaticFile]:
    """Return the page's files by their names; they are read once."""
    return {name: _read(_FOLDER / name, media_type) for name, media_type in _TYPES.items()}


def address_of(name: str) -> str:
    """Return where a browser finds a file; another content has another address, so that it can be kept for good."""
    return f"/static/{name}?v={static_files()[name].digest}"


def _read(path: Path, media_type: str) -> StaticFile:
    content = path.read_bytes()
    return StaticFile(content, media_type, hashlib.sha256(content).hexdigest()[:16])

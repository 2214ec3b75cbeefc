"""Server: options by which commands reach a running server, and the client that they make of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmrec_peft.errors import InputError, reason_of
from llmrec_peft.printable import quoted

if TYPE_CHECKING:
    from llmrec_peft.serving.http.client.client import Client

URL = "http://127.0.0.1:8765"
"""Where `llmrec serve` listens by default; named here as well, since httpx is imported when it is needed."""
Url = Annotated[str, typer.Option("--url", metavar="URL", envvar="LLMREC_URL", help="Address of the server.")]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--key-file",
        metavar="FILE",
        help="File of mode 600 with a key of the server.",
        show_default="LLMREC_KEY, or serve-state/admin.key",
    ),
]
Name = Annotated[str, typer.Argument(help="Name of the tenant.", metavar="NAME")]
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhd])")


def key_of(key_file: Path | None) -> str:
    """Return the key that was named or is found.

    Raises:
        InputError: If there is none, or the extra is not installed.
    """
    try:
        import httpx  # noqa: F401 - one line instead of a traceback

        from llmrec_peft.serving.http.client.key_files import ADMIN_KEY, VARIABLE, found_key
    except ImportError as error:
        raise InputError(f"{reason_of(error)}: pip install 'llmrec-peft[serving]'") from None
    key = found_key(key_file)
    if key is None:
        raise InputError(f"no key of the server: --key-file FILE, {VARIABLE}, or {ADMIN_KEY} in this folder")
    return key


def client_of(url: str, key_file: Path | None) -> Client:
    """Return a client with the key that was named or is found.

    Raises:
        InputError: As `key_of`, or if the address is wrong.
    """
    key = key_of(key_file)

    from llmrec_peft.serving.http.client.client import Client

    return Client(url, key)


def seconds_of(text: str, option: str) -> float:
    """Return the seconds of a duration.

    >>> seconds_of("10m", "--after"), seconds_of("1.5h", "--after")
    (600.0, 5400.0)

    Raises:
        InputError: If the text is no number with a unit.
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        raise InputError(f"{option}: {quoted(text)} is no duration; write it as 30d, 12h, 10m or 45s")
    return float(found[1]) * _UNITS[found[2]]

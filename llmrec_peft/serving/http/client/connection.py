"""Connection: a server's address and key, when a request is sent again, and what a refusal says."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any, cast

import httpx
from pydantic import ValidationError

from llmrec_peft.errors import InputError, reason_of
from llmrec_peft.printable import quoted
from llmrec_peft.serving.http import schemas
from llmrec_peft.serving.http.client.calls import Answer, Call
from llmrec_peft.serving.http.client.key_files import checked_key, read_key_file

URL = "http://127.0.0.1:8765"
"""Where `llmrec serve` listens by default."""
LONGEST_PAUSE_S = 60.0
"""A server that asks for a longer pause before the next try is not waited for."""
_FIRST_PAUSE_S = 0.2
_BUSY = (429, 503)
_PROBLEM_BYTES = 64 << 10


class ServerError(InputError):
    """A server refused a request, or gave no answer.

    Attributes:
        status: Status of HTTP; 0 if no answer came.
        code: The server's word for the reason, such as ``too_many``; ``no_answer`` if none came.
        retry_after_s: Seconds after which another try may succeed; None if the server says nothing.
    """

    def __init__(self, status: int, code: str, message: str, retry_after_s: float | None = None) -> None:
        """Say what the server said."""
        super().__init__(f"{message} ({status} {code})" if status else message)
        self.status, self.code, self.retry_after_s = status, code, retry_after_s


class Connection:
    """What both clients have in common.

    A request that the server is too busy for (429, 503), or that no answer came to, is sent again after the pause that
    the server asks for, if a second one changes nothing. The key appears in no error, log or text.

    Attributes:
        url: Address of the server.
        retries: How often a request is sent again.
        options: Arguments of httpx's clients.
    """

    def __init__(
        self,
        url: str = URL,
        key: str | None = None,
        *,
        key_file: str | Path | None = None,
        timeout: float = 60.0,
        retries: int = 2,
    ) -> None:
        """Prepare a client; nothing is sent yet.

        Args:
            url: Address of the server.
            key: Key of the server; some calls need none.
            key_file: File that holds the key, of mode 600.
            timeout: Seconds to wait for an answer, above 0.
            retries: How often a request is sent again.

        Raises:
            InputError: If the address, the key or the file is wrong.
        """
        if key is not None and key_file is not None:
            raise InputError("give a key or a key file, not both")
        if retries < 0 or not timeout > 0:
            raise InputError("retries is a number from 0, and timeout a number of seconds above 0")
        self.url, self.retries = checked_url(url), retries
        if key_file is not None:
            key = read_key_file(Path(key_file))
        elif key is not None:
            key = checked_key(key, "key")
        self.options: dict[str, Any] = {
            "base_url": self.url,
            "headers": {} if key is None else {"Authorization": f"Bearer {key}"},
            "timeout": timeout,
            "trust_env": not is_loopback(self.url),  # no proxy stands between this machine and itself
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def request(self, call: Call[Any]) -> dict[str, Any]:
        """Return the arguments of httpx for a call."""
        sent: dict[str, Any] = {"method": call.method, "url": call.path, "params": call.query}
        if call.content is not None:
            sent |= {"content": call.content, "headers": {"Content-Type": "application/json"}}
        return sent

    def read(self, call: Call[Answer], response: httpx.Response) -> Answer:
        """Return the answer.

        Raises:
            ServerError: If the server refused the request, or its answer is not of the call's type.
        """
        if not response.is_success:
            raise problem(response)
        if call.answer is None:
            return cast(Answer, None)
        try:
            return call.answer.model_validate_json(response.content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ServerError(
                response.status_code, "bad_answer", f"{self.url}: no answer of llmrec serve: {where}: {first['msg']}"
            ) from None

    def lost(self, error: httpx.HTTPError) -> ServerError:
        """Return the error that says that no answer came."""
        return ServerError(0, "no_answer", f"{self.url}: no answer ({type(error).__name__}: {reason_of(error)})")

    def pause(self, call: Call[Any], error: ServerError, tries: int) -> float | None:
        """Return the seconds before the next try; None if there is none."""
        if not call.repeatable or tries >= self.retries or error.status not in (0, *_BUSY):
            return None
        pause = _FIRST_PAUSE_S * 2**tries if error.retry_after_s is None else error.retry_after_s
        return pause if pause <= LONGEST_PAUSE_S else None


def checked_url(url: str) -> str:
    """Return an address without a slash at its end.

    Raises:
        InputError: If it is no address of HTTP, or has more than host, port and path.
    """
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        raise InputError(f"{quoted(url)} is no address such as {URL}") from None
    if parsed.userinfo:
        raise InputError("an address holds no name and password: the server asks for a key")
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.query or parsed.fragment:
        raise InputError(f"{quoted(url)} is no address such as {URL}")
    return str(parsed).rstrip("/")


def is_loopback(url: str) -> bool:
    """Return whether an address is that of this machine alone; names other than localhost are not looked up.

    >>> is_loopback("http://127.0.0.1:8765"), is_loopback("http://[::1]"), is_loopback("https://example.org")
    (True, True, False)
    """
    host = httpx.URL(url).host
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def problem(response: httpx.Response) -> ServerError:
    """Return what the server said of a request that it refused."""
    header = response.headers.get("Retry-After", "")
    retry = float(header) if header.isascii() and header.isdigit() else None
    try:
        told = schemas.ErrorOut.model_validate_json(response.content[:_PROBLEM_BYTES]).error
    except ValidationError:
        return ServerError(response.status_code, "refused", f"{response.url}: {response.reason_phrase}", retry)
    after = told.retry_after_s if retry is None else retry
    return ServerError(response.status_code, told.code, told.message, after)

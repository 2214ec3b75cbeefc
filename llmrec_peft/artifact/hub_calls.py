"""Calls of the Hugging Face Hub: tried again where the network is at fault, and what went wrong said in one line."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

from llmrec_peft.errors import InputError, disk_is_full, reason_of
from llmrec_peft.identity import __version__

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

T = TypeVar("T")
TRIES = 4
"""How often a call is made at most, where the library itself does not try again."""
_FIRST_WAIT = 0.5
"""Seconds before the second try; the time doubles with each further one."""
_PASSING = (408, 429, 500, 502, 503, 504)
"""Statuses that another try may not meet."""
_LOG_IN = "log in with `hf auth login`, or set HF_TOKEN to a token"
_STATUSES = {
    401: _LOG_IN,
    403: "the token may not do this",
    412: "somebody else changed the repository meanwhile: try again",
    **dict.fromkeys(_PASSING, "try again later"),
}
"""What is said of statuses."""


def hub() -> HfApi:
    """Return the client; address, token and cache are those of the environment and of the login, as it reads them."""
    from huggingface_hub import HfApi

    return HfApi(library_name="llmrec-peft", library_version=__version__)


def is_offline() -> bool:
    """Return whether the user asked for no network (``HF_HUB_OFFLINE``)."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def tried(call: Callable[[], T]) -> T:
    """Make a call that may be repeated, and repeat it where a connection broke or the Hub was busy.

    Without a network it is made once.

    Raises:
        httpx.HTTPError: What the last try met.
    """
    from httpx import HTTPError

    for number in range(1, TRIES):
        try:
            return call()
        except HTTPError as error:
            if not is_passing(error):
                raise
            time.sleep(_FIRST_WAIT * 2 ** (number - 1))
    return call()


@contextlib.contextmanager
def bars_on_terminals() -> Iterator[None]:
    """Let the client draw no progress bars inside the block where stderr is a file."""
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    as_is = sys.stderr.isatty() or are_progress_bars_disabled()
    if not as_is:
        disable_progress_bars()
    try:
        yield
    finally:
        if not as_is:
            enable_progress_bars()


def is_passing(error: BaseException) -> bool:
    """Return whether another try of the same call may succeed at once."""
    from httpx import ConnectError, TransportError
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(error, HfHubHTTPError):
        return _status(error) in _PASSING
    return isinstance(error, TransportError) and not isinstance(error, ConnectError)


@contextlib.contextmanager
def telling(what: str) -> Iterator[None]:
    """Turn what the client raises inside the block into one line: `what` went wrong, why, and what to do.

    Raises:
        InputError: In place of every error of the network, of the Hub, and of the client's cache.
    """
    from httpx import HTTPError, InvalidURL
    from huggingface_hub.errors import HFValidationError

    try:
        yield
    except (HTTPError, InvalidURL, HFValidationError, OSError, RuntimeError, ValueError) as error:
        if disk_is_full(error):
            raise InputError(f"{what}: no room on the disk") from error
        raise InputError(f"{what}: {why(error)}") from error


def why(error: BaseException) -> str:
    """Say what the client met, and what to do."""
    from httpx import ConnectError, HTTPError, TransportError
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    if isinstance(error, OfflineModeIsEnabled) or (isinstance(error, LocalEntryNotFoundError) and is_offline()):
        return "HF_HUB_OFFLINE is set and it is not in the cache: unset it to ask the Hub"
    if isinstance(error, LocalEntryNotFoundError | ConnectError):
        cause = error.__cause__ if error.__cause__ is not None else error
        again = "what was loaded completely is kept for the next try"
        return f"{constants.ENDPOINT} cannot be reached ({reason_of(cause)}): connect to the network; {again}"
    if isinstance(error, HfHubHTTPError):
        return _answered(error)
    if isinstance(error, TransportError):
        return f"the connection to {constants.ENDPOINT} broke ({reason_of(error)}): try again"
    if isinstance(error, RuntimeError) and isinstance(error.__cause__, HTTPError):  # of the threads that upload
        return f"{reason_of(error).rstrip('.')}: {why(error.__cause__)}"
    return reason_of(error)


def _answered(error: HfHubHTTPError) -> str:
    """Say what the Hub answered in place of what was asked for."""
    from huggingface_hub import errors

    known = (
        (
            errors.GatedRepoError,
            f"its owner lets only some people have it: ask for access on its page, then {_LOG_IN}",
        ),
        (errors.RevisionNotFoundError, "the Hub knows the repository, and no such revision of it"),
        (
            errors.RepositoryNotFoundError,
            f"the Hub knows no such repository, or it is private: check the name, and {_LOG_IN}",
        ),
        (errors.EntryNotFoundError, "the repository has no such file"),
    )
    said = next((line for kind, line in known if isinstance(error, kind)), None)
    if said is not None:
        return said
    status = _status(error)
    return f"the Hub answers with status {status}: {_STATUSES.get(status or 0, reason_of(error))}"


def _status(error: BaseException) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)

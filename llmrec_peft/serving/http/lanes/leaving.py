"""Leaving: work that nobody waits for any more is taken back."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from llmrec_peft.errors import InputError

if TYPE_CHECKING:
    from starlette.types import Receive

T = TypeVar("T")


class CallerLeftError(InputError):
    """The caller closed the connection before the answer was there."""

    def __init__(self) -> None:
        """Say so, to the log alone: nobody else is there."""
        super().__init__("the caller left")


async def unless_left(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Return what some work gives; it is cancelled when the caller closes the connection.

    Args:
        receive: What the server gave to the application; the request's body has been read.
        work: What to wait for.

    Raises:
        CallerLeftError: If the caller left first.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(receive))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise CallerLeftError
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()


async def _left(receive: Receive) -> None:
    """Wait until the server says that the connection is closed."""
    while (await receive())["type"] != "http.disconnect":
        pass

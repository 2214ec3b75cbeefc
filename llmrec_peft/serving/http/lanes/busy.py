"""Busy: why a request is not computed although nothing is wrong with it, and when to come again."""

from __future__ import annotations

from llmrec_peft.serving.refusals import ServingError


class BusyError(ServingError):
    """There is no room for a request to wait.

    Attributes:
        retry_s: Seconds after which there may be room.
    """

    def __init__(self, tenant: str, reason: object, retry_s: float) -> None:
        """Say whose request it is, why it cannot wait, and when to come again."""
        super().__init__(tenant, reason)
        self.retry_s = retry_s


class FullError(BusyError):
    """What all tenants have waiting takes the room, and not what this one has."""


class DrainingError(BusyError):
    """The server is ending: what waits is not computed any more, and another process may do it."""


class LateError(ServingError):
    """A request was not computed before its deadline.

    Attributes:
        retry_s: Seconds after which another one may be.
    """

    def __init__(self, tenant: str, reason: object, retry_s: float) -> None:
        """Say whose request it is, what it waited for, and when to come again."""
        super().__init__(tenant, reason)
        self.retry_s = retry_s

"""Refusals of an engine: whoever asks gets an error with its reason, never another model's answer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from llmrec_peft.errors import InputError
from llmrec_peft.printable import quoted


class ServingError(InputError):
    """An engine does not do what was asked.

    Attributes:
        tenant: The tenant that was named.
    """

    def __init__(self, tenant: str, reason: object) -> None:
        """Say whom it is about, and why."""
        super().__init__(f"tenant {quoted(tenant)}: {reason}")
        self.tenant = tenant


class UnknownTenantError(ServingError):
    """No tenant has this name; the names of others are nobody's business."""

    def __init__(self, tenant: str) -> None:
        """Name the tenant."""
        super().__init__(tenant, "is not registered")


class RefusedVersionError(ServingError):
    """A run was not taken as a version; what answered before answers on."""


class UnavailableError(ServingError):
    """The version that would answer is not in memory now: its load failed, there is no room, or it took too long.

    Attributes:
        retry_s: Seconds after which another ask may find it; None if none will.
        late: Whether nothing but time was missing: somebody who waits longer gets the version.
    """

    def __init__(self, tenant: str, reason: object, retry_s: float | None, late: bool = False) -> None:
        """Say whom it is about, why, when to come again, and whether only time was missing."""
        super().__init__(tenant, reason)
        self.retry_s, self.late = retry_s, late


class NotInMemoryError(InputError):
    """A version is not in memory now, said without a tenant's name; `about` turns it into an `UnavailableError`.

    Attributes:
        retry_s: See `UnavailableError`.
        late: See `UnavailableError`.
    """

    def __init__(self, reason: object, retry_s: float | None, late: bool = False) -> None:
        """Say why, when to come again, and whether only time was missing."""
        super().__init__(reason)
        self.retry_s, self.late = retry_s, late


@contextlib.contextmanager
def about(tenant: str) -> Iterator[None]:
    """Say which tenant an error is about."""
    try:
        yield
    except ServingError:
        raise
    except NotInMemoryError as error:
        raise UnavailableError(tenant, error, error.retry_s, error.late) from error
    except InputError as error:
        raise ServingError(tenant, error) from error


@contextlib.contextmanager
def refusing(tenant: str) -> Iterator[None]:
    """Say that a run was refused, and why."""
    try:
        yield
    except ServingError:
        raise
    except InputError as error:
        raise RefusedVersionError(tenant, error) from error

"""Problems: what may go wrong with a request, and the answer to each kind."""

from __future__ import annotations

from http import HTTPStatus

from starlette.responses import JSONResponse

from llmrec_peft.errors import InputError
from llmrec_peft.serving.http.gate.bodies import BodyError
from llmrec_peft.serving.http.gate.refusal_answers import forbidden, problem
from llmrec_peft.serving.http.lanes.busy import BusyError, DrainingError, FullError, LateError
from llmrec_peft.serving.http.registry.database import RegistryError
from llmrec_peft.serving.refusals import ServingError, UnavailableError, UnknownTenantError

RETRY_S = 60.0
"""When to come again where nothing says when, such as for a version whose load is not tried any more."""


class EndingError(InputError):
    """The server ends; another one, or this one after its restart, answers."""

    retry_s = 1.0


class NotFoundError(InputError):
    """There is no such thing; said to an admin."""


class ForbiddenError(InputError):
    """A key is not for this: another tenant's, or without the scope. All such requests get the same answer."""


class RateError(InputError):
    """A tenant asked for more than its rate.

    Attributes:
        retry_s: Seconds until there is room again.
    """

    def __init__(self, reason: object, retry_s: float) -> None:
        """Say why, and when to come again."""
        super().__init__(reason)
        self.retry_s = retry_s


_KINDS: tuple[tuple[type[InputError], int, str], ...] = (
    (NotFoundError, 404, "not_found"),
    (UnknownTenantError, 404, "not_found"),
    (RateError, 429, "too_many"),
    (DrainingError, 503, "draining"),
    (FullError, 503, "unavailable"),
    (BusyError, 429, "too_many"),
    (LateError, 503, "unavailable"),
    (UnavailableError, 503, "unavailable"),
    (EndingError, 503, "draining"),
    (RegistryError, 503, "unavailable"),
    (ServingError, 409, "refused"),
    (InputError, 400, "bad_request"),
)
"""Status and code of each kind of error, the narrower kinds first."""


def problem_of(error: InputError, admin: bool) -> JSONResponse:
    """Return the answer to a request that ended with an error.

    Args:
        error: The error.
        admin: Whether an admin asks, who is told which names there are.
    """
    if isinstance(error, ForbiddenError) or (isinstance(error, UnknownTenantError) and not admin):
        return forbidden()
    if isinstance(error, BodyError):
        return problem(error.status, "bad_request", error)
    status, code = next((status, code) for kind, status, code in _KINDS if isinstance(error, kind))
    retry_s = getattr(error, "retry_s", None)
    if status == HTTPStatus.SERVICE_UNAVAILABLE and retry_s is None:
        retry_s = RETRY_S
    return problem(status, code, error, retry_s)

"""Forms: what a person typed into the page, checked as strictly as a body of the HTTP interface."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qsl

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llmrec_peft.printable import one_line, quoted
from llmrec_peft.serving.http.gate.bodies import BodyError
from llmrec_peft.serving.http.schemas import Digest, Id, TenantOut

_TYPE = "application/x-www-form-urlencoded"
_FIELDS = 16
MOST_SHOWN = 100
"""Items of a list that the page shows."""


class Form(BaseModel):
    """What every form has in common; its values come as texts."""

    model_config = ConfigDict(extra="forbid")


class TryForm(Form):
    """Whom to recommend to."""

    user_id: Id
    k: Annotated[int, Field(ge=1, le=MOST_SHOWN)] = 10
    seen: bool = False


class WhyForm(Form):
    """The pair to explain."""

    user_id: Id
    item_id: Id


class ChangeForm(Form):
    """A change of a tenant.

    Attributes:
        expected: The tenant's versions as the person saw them, see `versions_of`.
    """

    expected: str


class SwapForm(ChangeForm):
    """Another run, for a part of the users in percent."""

    run: Annotated[str, Field(min_length=1, max_length=4_096)]
    digest: Digest | None = None
    percent: Annotated[float, Field(gt=0, le=100)] = 100.0
    keep_items: bool = False


class WeightForm(ChangeForm):
    """Another part of the users for the version on trial, in percent."""

    version: Digest
    percent: Annotated[float, Field(ge=0, le=100)]


class RollbackForm(ChangeForm):
    """The end of a trial, or the former version again."""

    keep_items: bool = False


class PinForm(ChangeForm):
    """Whether a tenant's versions stay in memory."""

    pinned: bool


Given = TypeVar("Given", bound=BaseModel)


async def read_form(request: Request, form: type[Given]) -> Given:
    """Return the fields of a form; a field that was left empty counts as absent.

    The gate has bounded the body's length and time.

    Raises:
        BodyError: If the body is no form, or a field is unknown, given twice, or wrong.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _TYPE:
        raise BodyError(415, f"a form of this page comes as {_TYPE}")
    body = await request.body()
    try:
        text = body.decode("ascii")
        pairs = parse_qsl(
            text, keep_blank_values=True, strict_parsing=bool(text), errors="strict", max_num_fields=_FIELDS
        )
    except ValueError:
        raise BodyError(400, "the body is no form that is read here") from None
    if len({name for name, _ in pairs}) < len(pairs):
        raise BodyError(400, "the form has a field twice")
    return checked(form, **{name: value for name, value in pairs if value})


def checked(kind: type[Given], **fields: Any) -> Given:
    """Return a message with these fields.

    Raises:
        BodyError: If one is wrong, which it names.
    """
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BodyError(422, f"{quoted(where)}: {one_line(first['msg'])}") from None


def versions_of(tenant: TenantOut) -> str:
    """Return which versions a tenant has, and the share of the one on trial, for `ChangeForm.expected`."""
    ones = (tenant.main, tenant.trial, tenant.former)
    return " ".join([*("-" if one is None else one.version for one in ones), f"{tenant.share:g}"])

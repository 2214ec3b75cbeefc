"""Calls: each request of the HTTP interface as a value, with the type of its answer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from llmrec_peft.errors import InputError
from llmrec_peft.printable import one_line, quoted
from llmrec_peft.serving.http import schemas

Answer = TypeVar("Answer", bound=BaseModel)
Body = TypeVar("Body", bound=BaseModel)
Method = Literal["GET", "POST", "PUT", "DELETE"]
_NAME: TypeAdapter[str] = TypeAdapter(schemas.TenantName)
_KEY_ID = re.compile(r"[0-9a-f]{8}")


@dataclass(frozen=True)
class Call(Generic[Answer]):
    """A request that is ready to be sent.

    Attributes:
        method: Method of HTTP.
        path: Path below the server's address.
        answer: Type of the answer's body; None if it has none.
        body: What is sent.
        query: Parameters of the address.
        repeatable: Whether it may be sent twice: the second one changes nothing.
    """

    method: Method
    path: str
    answer: type[Answer] | None
    body: BaseModel | None = None
    query: Mapping[str, str] | None = None
    repeatable: bool = True

    @property
    def content(self) -> bytes | None:
        """The body as JSON."""
        return None if self.body is None else self.body.model_dump_json(exclude_none=True).encode()


def recommend(tenant: str, users: str | Sequence[str], k: int = 10, seen: bool = False) -> Call[schemas.RecommendOut]:
    """Ask for the best items of one user or of several, see `Engine.ask`."""
    whom = {"user_id": users} if isinstance(users, str) else {"user_ids": list(users)}
    body = _checked(schemas.RecommendIn, tenant=tenant, k=k, seen=seen, **whom)
    return Call("POST", "/v1/recommend", schemas.RecommendOut, body)


def score(tenant: str, users: Sequence[str], items: Sequence[str]) -> Call[schemas.ScoreOut]:
    """Ask for the scores of pairs, see `Engine.score`."""
    body = _checked(schemas.ScoreIn, tenant=tenant, user_ids=list(users), item_ids=list(items))
    return Call("POST", "/v1/score", schemas.ScoreOut, body)


def explain(
    tenant: str, user: str, item: str, top: int = 5, words: Literal["leave-one-out", "none"] = "leave-one-out"
) -> Call[schemas.ExplainOut]:
    """Ask for the evidence of one score."""
    body = _checked(schemas.ExplainIn, tenant=tenant, user_id=user, item_id=item, top=top, words=words)
    return Call("POST", "/v1/explain", schemas.ExplainOut, body)


def add_items(tenant: str, items: Sequence[Mapping[str, Any]]) -> Call[schemas.TenantOut]:
    """Add new items, see `Engine.add_items`."""
    body = _checked(schemas.ItemsIn, tenant=tenant, items=[dict(row) for row in items])
    return Call("POST", "/v1/items", schemas.TenantOut, body, repeatable=False)


def send_events(tenant: str, events: Sequence[schemas.EventIn | Mapping[str, Any]]) -> Call[schemas.EventsOut]:
    """Send events; the call may be repeated if each of them has an ``event_id``."""
    plain = [one.model_dump() if isinstance(one, schemas.EventIn) else dict(one) for one in events]
    body = _checked(schemas.EventsIn, tenant=tenant, events=plain)
    named = all(event.event_id is not None for event in body.events)
    return Call("POST", "/v1/events", schemas.EventsOut, body, repeatable=named)


def events(tenant: str, after: int = 0, limit: int = 10_000) -> Call[schemas.StoredEventsOut]:
    """Ask for the events that follow a sequence number."""
    query = {"tenant": tenant, "after": str(after), "limit": str(limit)}
    return Call("GET", "/v1/events", schemas.StoredEventsOut, query=query)


def tenants() -> Call[schemas.TenantsOut]:
    """Ask for all tenants that the key may see."""
    return Call("GET", "/v1/tenants", schemas.TenantsOut)


def tenant(name: str) -> Call[schemas.TenantOut]:
    """Ask for one tenant."""
    return Call("GET", _of(name), schemas.TenantOut)


def put_tenant(
    name: str,
    run: str,
    digest: str | None = None,
    share: float = 1.0,
    keep_items: bool = True,
    queue_weight: float | None = None,
) -> Call[schemas.TenantOut]:
    """Register a run as a new tenant, or let it follow the tenant's present one, see `Engine.swap`."""
    given = {"run": run, "digest": digest, "share": share, "keep_items": keep_items, "queue_weight": queue_weight}
    return Call("PUT", _of(name), schemas.TenantOut, _checked(schemas.TenantIn, **given), repeatable=keep_items)


def remove_tenant(name: str) -> Call[BaseModel]:
    """Forget a tenant."""
    return Call("DELETE", _of(name), None)


def pin(name: str, pinned: bool = True) -> Call[schemas.TenantOut]:
    """Keep a tenant's versions in memory, or let them leave it."""
    return Call("POST", f"{_of(name)}/pin", schemas.TenantOut, _checked(schemas.PinIn, pinned=pinned))


def weight(name: str, version: str, share: float) -> Call[schemas.TenantOut]:
    """Let the version on trial answer another share of the users; with 1 it becomes the one that answers."""
    body = _checked(schemas.WeightIn, version=version, share=share)
    return Call("POST", f"{_of(name)}/weight", schemas.TenantOut, body, repeatable=share < 1)


def rollback(name: str, keep_items: bool = True) -> Call[schemas.TenantOut]:
    """End a trial, or bring the former version back."""
    body = _checked(schemas.RollbackIn, keep_items=keep_items)
    return Call("POST", f"{_of(name)}/rollback", schemas.TenantOut, body, repeatable=False)


def reload(name: str) -> Call[schemas.TenantOut]:
    """Load a tenant's versions, whatever failed before."""
    return Call("POST", f"{_of(name)}/reload", schemas.TenantOut)


def new_key(
    name: str,
    scopes: Sequence[schemas.ScopeName] = ("ask",),
    expires_s: float | None = None,
    label: str = "",
) -> Call[schemas.NewKeyOut]:
    """Make a key for a tenant."""
    body = _checked(schemas.KeyIn, scopes=list(scopes), expires_s=expires_s, label=label)
    return Call("POST", _keys(name), schemas.NewKeyOut, body, repeatable=False)


def new_admin_key(expires_s: float | None = None, label: str = "") -> Call[schemas.NewKeyOut]:
    """Make a further admin key."""
    body = _checked(schemas.AdminKeyIn, expires_s=expires_s, label=label)
    return Call("POST", _keys(None), schemas.NewKeyOut, body, repeatable=False)


def keys(name: str | None) -> Call[schemas.KeysOut]:
    """Ask for what is known of a tenant's keys, or of the admins' for None."""
    return Call("GET", _keys(name), schemas.KeysOut)


def end_key(name: str | None, key_id: str, after_s: float = 0.0) -> Call[BaseModel]:
    """End a key of a tenant, or of an admin for None, now or in some seconds."""
    if _KEY_ID.fullmatch(key_id) is None:
        raise InputError(f"{quoted(key_id)} is no id of a key: it has eight hexadecimal digits")
    return Call("DELETE", f"{_keys(name)}/{key_id}", None, query={"after_s": f"{after_s:g}"} if after_s else None)


def _keys(name: str | None) -> str:
    return "/v1/keys" if name is None else f"{_of(name)}/keys"


def _of(name: str) -> str:
    """Return a tenant's path; only names that need no escape are taken, so that none leads elsewhere."""
    try:
        return f"/v1/tenants/{_NAME.validate_python(name)}"
    except ValidationError:
        raise InputError(f"{quoted(name)} is no tenant's name: letters, digits, '.', '_' and '-'") from None


def _checked(kind: type[Body], **fields: Any) -> Body:
    """Make a body.

    Raises:
        InputError: If a field is not as the server takes it.
    """
    try:
        return kind(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "request"
        raise InputError(f"{where}: {one_line(first['msg'])}") from None

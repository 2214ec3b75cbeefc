"""Schemas: requests and answers of the HTTP interface, each field described and bounded."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

MOST_USERS, MOST_PAIRS, MOST_ITEMS, MOST_EVENTS, MOST_K = 4_096, 100_000, 10_000, 100_000, 10_000
"""What the schema allows; an operator's `BodyLimits` are usually smaller."""

TenantName = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        description="Letters, digits, `.`, `_` and `-`.",
        examples=["films"],
    ),
]
Id = Annotated[str, Field(min_length=1, max_length=512)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 in hexadecimal digits.")]
ScopeName = Literal["ask", "write", "manage"]
BasisName = Literal["personal", "popularity"]  # as in `answers`, which needs torch; clients do not


class Message(BaseModel):
    """What every body has in common: unknown fields are refused, and no text is taken for a number."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _few_names(cls, values: Any) -> Any:
        """Refuse at once what has more names than fields: an error for each name would take more than the message."""
        if isinstance(values, dict) and len(values) > len(cls.model_fields):
            raise ValueError(f"{len(values)} fields, where there are {len(cls.model_fields)}")
        return values


class IdentityOut(Message):
    """What an answer came from."""

    version: Annotated[str, Field(description="Digest of the version's manifest.")]
    state: Annotated[int, Field(description="How many events the version has taken note of.")]
    state_digest: Annotated[str, Field(description="Digest over the version and these events.")]


class RecommendIn(Message):
    """Whom to recommend to."""

    tenant: TenantName
    user_id: Annotated[Id | None, Field(description="One user.", examples=["1"])] = None
    user_ids: Annotated[
        Annotated[list[Id], Field(fail_fast=True)] | None,
        Field(min_length=1, max_length=MOST_USERS, description="Several users; instead of `user_id`."),
    ] = None
    k: Annotated[int, Field(ge=1, le=MOST_K, description="Items of each list.")] = 10
    seen: Annotated[bool, Field(description="Whether items of the user's history may come again.")] = False

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.user_id is None) == (self.user_ids is None):
            raise ValueError("give user_id, or user_ids for several users")
        return self

    @property
    def users(self) -> list[str]:
        """The users who are asked for."""
        return [self.user_id] if self.user_id is not None else list(self.user_ids or ())


class ItemOut(Message):
    """An item of a list."""

    item_id: str
    title: str
    score: float


class ListOut(IdentityOut):
    """The best items of one user, best first."""

    user_id: str
    basis: Annotated[BasisName, Field(description="`popularity` for a user whom training did not know.")]
    items: list[ItemOut]


class RecommendOut(Message):
    """A list for each user, in the order in which they were asked for."""

    tenant: str
    k: int
    seen: bool
    answers: list[ListOut]


class ScoreIn(Message):
    """Pairs to score: the users and the items, one after the other."""

    tenant: TenantName
    user_ids: Annotated[list[Id], Field(fail_fast=True, min_length=1, max_length=MOST_PAIRS, examples=[["1", "1"]])]
    item_ids: Annotated[list[Id], Field(fail_fast=True, min_length=1, max_length=MOST_PAIRS, examples=[["50", "100"]])]

    @model_validator(mode="after")
    def _pairs(self) -> Self:
        if len(self.user_ids) != len(self.item_ids):
            raise ValueError("user_ids and item_ids have the same length")
        return self


class ScoredPairOut(IdentityOut):
    """A pair and its score."""

    user_id: str
    item_id: str
    score: float
    basis: BasisName


class ScoreOut(Message):
    """Scores of pairs, in the order in which they were asked for."""

    tenant: str
    scores: list[ScoredPairOut]


class ExplainIn(Message):
    """A pair to explain."""

    tenant: TenantName
    user_id: Annotated[Id, Field(examples=["1"])]
    item_id: Annotated[Id, Field(examples=["50"])]
    top: Annotated[int, Field(ge=1, le=100, description="Pieces told of each kind, at most.")] = 5
    words: Annotated[
        Literal["leave-one-out", "none"],
        Field(description="How contributions of words are computed; `none` needs no language model."),
    ] = "leave-one-out"


class ExplainOut(IdentityOut):
    """The evidence of one score, see `llmrec explain --json`."""

    tenant: str
    user_id: str
    item_id: str
    explanation: dict[str, Any]


class ItemsIn(Message):
    """New items, which are scored by their texts."""

    tenant: TenantName
    items: Annotated[
        list[dict[str, Any]],
        Field(
            fail_fast=True,
            min_length=1,
            max_length=MOST_ITEMS,
            description="`item_id` and the columns that the run's template reads.",
            examples=[[{"item_id": "new-1", "title": "Brass Lanterns", "year": 1995, "genres": ["Crime"]}]],
        ),
    ]


class EventIn(Message):
    """Feedback on an item, or a new interaction."""

    user_id: Id
    item_id: Id
    label: Annotated[
        float | None, Field(allow_inf_nan=False, description="Stars, 1 for a click, 0 for a list that was left.")
    ] = None
    timestamp: Annotated[
        float | None, Field(ge=0, le=1e12, allow_inf_nan=False, description="Seconds since 1970; by default now.")
    ] = None
    event_id: Annotated[Id | None, Field(description="The sender's name of it: sent twice, it is kept once.")] = None


class EventsIn(Message):
    """What happened."""

    tenant: TenantName
    events: Annotated[list[EventIn], Field(fail_fast=True, min_length=1, max_length=MOST_EVENTS)]


class EventsOut(Message):
    """What is on disk now."""

    tenant: str
    stored: Annotated[int, Field(description="Events that were kept.")]
    repeated: Annotated[int, Field(description="Events whose `event_id` was kept before.")]
    last: Annotated[int, Field(description="Sequence number of the tenant's last event.")]


class StoredEventOut(EventIn):
    """An event with its sequence number."""

    sequence: int
    received: Annotated[float, Field(description="Seconds since 1970.")]


class StoredEventsOut(Message):
    """Events in the order of their sequence numbers."""

    tenant: str
    events: list[StoredEventOut]


class FailureOut(Message):
    """Why a version could not be loaded."""

    reason: str
    attempts: int
    next_try: float | None


class ConditionOut(Message):
    """Where a version is."""

    version: str
    tier: Literal["sealed", "loading", "ready", "failed"]
    pinned: bool
    nbytes: int
    failure: FailureOut | None


class TenantOut(Message):
    """What answers a tenant's users."""

    tenant: str
    main: IdentityOut
    trial: IdentityOut | None
    share: float
    former: IdentityOut | None
    notes: list[str]
    pinned: bool
    queue_weight: float
    conditions: list[ConditionOut]


class TenantsOut(Message):
    """Tenants in the order in which they were registered."""

    tenants: list[TenantOut]


class TenantIn(Message):
    """A run that is to answer a tenant's users."""

    run: Annotated[
        str, Field(min_length=1, max_length=4_096, description="A run folder below one of the server's roots.")
    ]
    digest: Digest | None = None
    share: Annotated[
        float, Field(gt=0, le=1, description="Below 1 the run is on trial for that share of the users.")
    ] = 1.0
    keep_items: Annotated[bool, Field(description="Whether items that were added stay.")] = True
    queue_weight: Annotated[
        float | None, Field(ge=0.01, le=100, description="The tenant's part of the machine beside others' 1.")
    ] = None


class PinIn(Message):
    """Whether a tenant's versions stay in memory."""

    pinned: bool = True


class WeightIn(Message):
    """Another share of the users for the version on trial; with 1 it becomes the one that answers."""

    version: Digest
    share: Annotated[float, Field(ge=0, le=1)]


class RollbackIn(Message):
    """Back to the version that answered before, or the end of a trial."""

    keep_items: bool = True


class KeyIn(Message):
    """A key for one tenant."""

    scopes: Annotated[list[ScopeName], Field(min_length=1, max_length=3)] = ["ask"]
    expires_s: Annotated[
        float | None, Field(gt=0, le=3.2e9, description="Seconds until it ends; by default never.")
    ] = None
    label: Annotated[str, Field(max_length=100)] = ""


class AdminKeyIn(Message):
    """A further admin key."""

    expires_s: Annotated[
        float | None, Field(gt=0, le=3.2e9, description="Seconds until it ends; by default never.")
    ] = None
    label: Annotated[str, Field(max_length=100)] = ""


class KeyOut(Message):
    """What is known of a key."""

    key_id: str
    tenant: str | None
    scopes: list[ScopeName]
    created: float
    expires: float | None
    label: str


class NewKeyOut(KeyOut):
    """A new key, which is told this once."""

    key: str


class KeysOut(Message):
    """Keys of a tenant."""

    keys: list[KeyOut]


class HealthOut(Message):
    """That all is well."""

    status: Literal["ok"]


class ProblemOut(Message):
    """Why a request was refused."""

    code: str
    message: str
    retry_after_s: float | None = None


class ErrorOut(Message):
    """A refusal."""

    error: ProblemOut

"""Vectors: a run's users and items as vectors whose inner product is its score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmrec_peft.backbone.vector_table import pieces, room
from llmrec_peft.data.batches import Batch
from llmrec_peft.errors import InputError
from llmrec_peft.heads.contract import Joined
from llmrec_peft.model.served_baseline import NAME
from llmrec_peft.run.tenant import Tenant

CHUNK = 4096
"""Items, and users, per chunk."""
TRIED = 64
"""Pairs on which the product is compared with the head's own score."""
TOLERANCE = 1e-4
"""Largest difference that counts as rounding, relative to 1 plus the score."""


@dataclass(frozen=True)
class ItemVectors:
    """Items of a run's catalogue, those that were added included.

    Attributes:
        ids: Item ids.
        titles: Their titles.
        vectors: float32 [n, width + 1]; the last dimension is the item's offset, which is the same for all users.
        normalized: Whether the vectors without their last dimension have length 1.
        unit: Unit of the product.
    """

    ids: tuple[str, ...]
    titles: tuple[str, ...]
    vectors: NDArray[np.float32]
    normalized: bool
    unit: str


@dataclass(frozen=True)
class UserVectors:
    """Users of a run.

    Attributes:
        ids: User ids.
        vectors: float32 [n, width + 1]; the last dimension is 1.
        constant: Term that all scores of a user share, float32 [n]: ⟨user, item⟩ + constant is the score (of a
            rating before it is clamped to the scale, of a click its log-odds). It changes no order.
        normalized: Whether the vectors without their last dimension have length 1.
        unit: Unit of the product.
    """

    ids: tuple[str, ...]
    vectors: NDArray[np.float32]
    constant: NDArray[np.float32]
    normalized: bool
    unit: str


@torch.no_grad()
def item_vectors(tenant: Tenant) -> ItemVectors:
    """Return vectors of all items of the catalogue.

    Raises:
        InputError: If the run's scores are not inner products of a user's and an item's vector.
    """
    _require_product(tenant)
    catalogue = tenant.catalogue
    count = len(catalogue.ids)
    vectors = np.empty((0, 0), np.float32)
    for at in range(0, count, CHUNK):
        side = _items(tenant, np.arange(at, min(count, at + CHUNK)))
        if at == 0:
            vectors = room(count, side.shape[1]).numpy()
        vectors[at : at + len(side)] = side.cpu().numpy()
    head = tenant.model.head
    return ItemVectors(tuple(catalogue.ids), tuple(catalogue.titles), vectors, _normalized(vectors), head.unit)


@torch.no_grad()
def user_vectors(tenant: Tenant, users: Sequence[str]) -> UserVectors:
    """Return vectors of some users; an unknown user gets those of the average user.

    Args:
        tenant: The run.
        users: User ids.

    Raises:
        InputError: If the run's scores are not inner products of a user's and an item's vector.
    """
    _require_product(tenant)
    index = tenant.vocabulary.user_indices(users)
    chunks = [_users(tenant, index[at : at + CHUNK]) for at in range(0, len(index), CHUNK)]
    width = _items(tenant, np.zeros(1, np.int64)).shape[1]
    vectors = (
        torch.cat([vectors for vectors, _ in chunks]).cpu().numpy() if chunks else np.empty((0, width), np.float32)
    )
    constant = torch.cat([own for _, own in chunks]).cpu().numpy() if chunks else np.empty(0, np.float32)
    return UserVectors(tuple(users), vectors, constant, _normalized(vectors), tenant.model.head.unit)


def _items(tenant: Tenant, rows: NDArray[np.int64]) -> Tensor:
    """Return the items' side as it enters the product, with offsets as the last dimension, [n, width + 1]."""
    model = tenant.model
    index = torch.from_numpy(tenant.catalogue.table_index[rows]).to(model.device)
    side = model.item_side(index, keys=torch.from_numpy(rows + 1).to(model.device))
    _, item = model.head.sides(_nobody(side), side)
    return _with_last(item.vector, item.offset)


def _pairs(tenant: Tenant, index: NDArray[np.int64], rows: NDArray[np.int64]) -> Batch:
    """Return pairs with their texts' vectors."""
    return tenant.model.with_texts(tenant.batch(index, rows))


def _users(tenant: Tenant, index: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Return the users' side as it enters the product, [n, width + 1], and the term that a user's scores share, [n]."""
    batch = _pairs(tenant, index, np.zeros(len(index), np.int64))
    side = tenant.model.user_side(batch)
    user, _ = tenant.model.head.sides(side, _nobody(side))
    vectors = _with_last(user.vector, torch.ones_like(user.offset))
    first = _items(tenant, np.zeros(1, np.int64))
    return vectors, tenant.model.raw(batch) - (vectors * first).sum(1)


def _nobody(side: Joined) -> Joined:
    """Return an empty other side, to compute one side only."""
    return Joined(None if side.vector is None else torch.zeros_like(side.vector), torch.zeros_like(side.offset))


def _with_last(vector: Tensor | None, last: Tensor) -> Tensor:
    return last[:, None] if vector is None else torch.cat([vector, last[:, None]], dim=1)


def _require_product(tenant: Tenant) -> None:
    """Refuse a run whose score is not an inner product.

    Raises:
        InputError: Naming the part that makes it impossible.
    """
    model, name = tenant.model, tenant.recipe.head.name
    if model.plan.prompt is not None:
        raise InputError(
            f"head {name} reads user and item as one prompt, and no product of two vectors gives its score; train one"
            " that does not (head.feed=pair), or head ranking, retrieval or rating"
        )
    rng = np.random.default_rng(0)
    users = rng.integers(0, tenant.vocabulary.num_users, TRIED)
    rows = rng.integers(0, len(tenant.catalogue.ids), TRIED)
    batch = _pairs(tenant, users, rows)
    crossed = [_pairs(tenant, u, r) for u, r in ((users, rows[::-1].copy()), (users[::-1].copy(), rows))]
    both = _pairs(tenant, users[::-1].copy(), rows[::-1].copy())
    for signal_name, signal in model.signals.items():
        together = signal.cross(batch, batch.item[:, None]) is not None
        given = [signal.offset(asked) for asked in (batch, both, *crossed)]
        if together or _depend(given):
            if signal_name == NAME:
                raise InputError(
                    "a baseline that reads histories is served beside the model, and no product of two vectors gives"
                    " its scores; train with training.choice=validation, so that the tuned model answers alone"
                )
            raise InputError(
                f"signal {signal_name} adds to a user and an item together, as its options are, and no product of two"
                " vectors gives that; train without it"
            )
    vectors, constant = _users(tenant, users)
    product = (vectors * _items(tenant, rows)).sum(1) + constant
    raw, scores = model.raw(batch), model(batch).scores
    off = (product - raw).abs() / (1.0 + raw.abs())
    falls = (-scores[raw.argsort()].diff()).clamp(min=0.0)
    if float(off.max()) > TOLERANCE or float(falls.max()) > TOLERANCE * (1.0 + float(scores.abs().max())):
        raise InputError(f"head {name}: its score does not follow the product of its two sides (TaskHead.sides)")


def _depend(given: Sequence[Tensor | None]) -> bool:
    """Return whether offsets of (u, i), (v, j), (u, j) and (v, i) are more than a user's plus an item's."""
    known = [offset for offset in given if offset is not None]
    if len(known) < len(given):
        return False
    rest = known[0] + known[1] - known[2] - known[3]
    return bool((rest.abs() > TOLERANCE * (1.0 + known[0].abs())).any())


def _normalized(vectors: NDArray[np.float32]) -> bool:
    if vectors.shape[1] == 1 or not len(vectors):
        return False
    return all(
        bool(np.allclose(np.linalg.norm(vectors[some, :-1], axis=1), 1.0, atol=1e-4)) for some in pieces(*vectors.shape)
    )

"""Vector precision: whether a run's vectors of texts are stored in bf16, which the best items of many users decide."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from llmrec_peft.run.tenant import Tenant

USERS, BEST = 200, 10
"""Users whose best items are compared, and how many of each."""
LEAST_BYTES = 1 << 20
"""Bytes of a table in fp32 below which halving it gains nothing."""


@dataclass(frozen=True)
class Precision:
    """How vectors are stored, and what was compared for it.

    Attributes:
        stored: Number format of the file.
        why: What decided, in a few words.
        users: Users whose best items were compared; 0 if none were.
        best: Items of each.
        differ: Users whose items or their order were others with vectors in bf16.
    """

    stored: Literal["fp32", "bf16"]
    why: str
    users: int = 0
    best: int = 0
    differ: int = 0

    def plain(self) -> dict[str, str | int]:
        """Return the fields as plain values."""
        return asdict(self)


def stored_precision(tenant: Tenant) -> Precision:
    """Compare the ten best items of 200 users, with vectors as they are and rounded to bf16.

    Args:
        tenant: A finished run, in evaluation.

    Returns:
        bf16 where every list has the same items in the same order, else fp32.
    """
    vectors = tenant.catalogue.vectors
    if vectors is None or tenant.encodes_to_score:
        return Precision("fp32", "no scores of stored vectors" if vectors is not None else "no vectors")
    if vectors.numel() * 4 < LEAST_BYTES:
        return Precision("fp32", f"less than {LEAST_BYTES >> 20} MiB")
    if tenant.vocabulary.num_users - 1 < USERS:
        return Precision("fp32", f"fewer than {USERS} users to compare")
    if shares_memory(tenant.item_side().vector, vectors):
        return Precision("fp32", "scores are products with the vectors themselves")
    users = np.linspace(1, tenant.vocabulary.num_users - 1, USERS).astype(np.int64)
    before = tenant.best_rows(users, BEST)
    after = tenant.with_vectors(vectors.bfloat16().float()).best_rows(users, BEST)
    differ = sum(not np.array_equal(one, other) for one, other in zip(before, after, strict=True))
    why = "the same best items in the same order" if differ == 0 else "other best items or another order"
    return Precision("fp32" if differ else "bf16", why, USERS, BEST, differ)


def shares_memory(side: Tensor | None, vectors: Tensor | None) -> bool:
    """Return whether the items' side of scores is the stored vectors themselves."""
    return side is not None and vectors is not None and side.data_ptr() == vectors.data_ptr()


def rounded(tenant: Tenant, precision: Precision) -> Tenant:
    """Return the run with its vectors as they will be read again."""
    vectors = tenant.catalogue.vectors
    if precision.stored == "fp32" or vectors is None:
        return tenant
    return tenant.with_vectors(vectors.to(torch.bfloat16))

"""Terms: a score as a sum over signals, as far as the fusion allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from llmrec_peft.heads.contract import Joined
from llmrec_peft.model.parts import Parts

if TYPE_CHECKING:
    from llmrec_peft.data.batches import Batch
    from llmrec_peft.model import RecModel

TOLERANCE = 1e-4
"""Largest difference between a sum of parts and the whole, relative to the whole, that counts as rounding."""


@dataclass(frozen=True)
class Terms:
    """A score as a sum.

    Attributes:
        base: What the head itself adds, by name, [B] each.
        alone: What each signal's offset adds, [B] each.
        products: What the product of one signal's user vector with one signal's item vector adds, [B] each, by both
            names. Empty if the fusion mixes signals, see `exact`.
        exact: Whether the terms add up to the score.
    """

    base: dict[str, Tensor]
    alone: dict[str, Tensor]
    products: dict[tuple[str, str], Tensor]
    exact: bool


def terms_of(model: RecModel, batch: Batch, parts: Parts) -> Terms:
    """Split the primary head's score into terms, as far as the fusion allows."""
    head, names, rows = model.head, list(model.signals), len(batch)
    user, item = model.joined(parts)
    nothing = Joined(None, torch.zeros(rows, device=batch.item.device))
    base = {name: term.detach().expand(rows) for name, term in head.base(batch).items()}
    none = head.raw(batch, nothing, nothing)
    alone = {}
    for name in names:
        offset = model.fusion.offset({name: parts.offsets[name]})
        if offset is not None:
            alone[name] = head.raw(batch, nothing, Joined(None, offset)) - none
    of_user, of_item = (_single(model, side, parts, rows) for side in ("user", "item"))
    scaled_user, scaled_item = head.sides(user, item)
    scale = _scale(user, scaled_user) * _scale(item, scaled_item)
    products = {
        (first, second): scale * (vector * other).sum(-1)
        for first, vector in of_user.items()
        for second, other in of_item.items()
        if model.fusion.meet(first, second)
    }
    whole = head.raw(batch, user, item)
    total = sum((*base.values(), *alone.values(), *products.values()), torch.zeros_like(whole))
    exact = bool(torch.allclose(total, whole, rtol=TOLERANCE, atol=TOLERANCE))
    return Terms(base, alone, products if exact else {}, exact)


def _single(model: RecModel, side: str, parts: Parts, rows: int) -> dict[str, Tensor]:
    """Return each signal's vector of one side as the fusion joins it without the other signals."""
    vectors = {}
    for name, vector in (parts.users if side == "user" else parts.items).items():
        if vector is not None:
            joined = model.fusion.join("user" if side == "user" else "item", {name: vector}, rows)
            assert joined is not None  # noqa: S101 - a vector went in
            vectors[name] = joined
    return vectors


def _scale(plain: Joined, scaled: Joined) -> Tensor:
    """Return the factor by which a head multiplied each row of one side."""
    if plain.vector is None or scaled.vector is None:
        return plain.offset.new_ones(len(plain.offset))
    scale: Tensor = scaled.vector.norm(dim=-1) / plain.vector.norm(dim=-1).clamp(min=1e-12)
    return scale

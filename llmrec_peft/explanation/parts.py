"""Parts: what each signal says of a pair, and how a head and a fusion make a score of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from llmrec_peft.heads.contract import Joined

if TYPE_CHECKING:
    from llmrec_peft.data.batches import Batch
    from llmrec_peft.model import RecModel

Vectors = Mapping[str, "Tensor | None"]
TOLERANCE = 1e-4
"""Largest difference between a sum of parts and the whole, relative to the whole, that counts as rounding."""


@dataclass(frozen=True)
class Parts:
    """What the signals say of some pairs.

    Attributes:
        users: User vector of each signal, [B, dim], or None.
        items: Item vector of each signal, [B, dim], or None.
        offsets: What each signal adds by itself, [B], or None.
    """

    users: Vectors
    items: Vectors
    offsets: Vectors

    def kept(self, masks: Mapping[str, Tensor]) -> Parts:
        """The same without whole signals in some rows; masks are 1 where a signal stays, [B], by its name."""

        def shown(values: Vectors) -> dict[str, Tensor | None]:
            return {
                name: value if value is None or name not in masks else value * _like(masks[name], value)
                for name, value in values.items()
            }

        return Parts(shown(self.users), shown(self.items), shown(self.offsets))


@dataclass(frozen=True)
class Terms:
    """A score as a sum.

    Attributes:
        base: What the head adds by itself, by name, [B] each.
        alone: What each signal adds by itself, [B] each.
        products: What the product of one signal's user vector with one signal's item vector adds, [B] each, by both
            names. Empty where the fusion mixes signals, see `exact`.
        exact: Whether the terms add up to the score.
    """

    base: dict[str, Tensor]
    alone: dict[str, Tensor]
    products: dict[tuple[str, str], Tensor]
    exact: bool


def parts_of(model: RecModel, batch: Batch) -> Parts:
    """Ask every signal about the pairs of a batch that holds everything they read."""
    users: dict[str, Tensor | None] = {}
    items: dict[str, Tensor | None] = {}
    offsets: dict[str, Tensor | None] = {}
    for name, signal in model.signals.items():  # as `RecModel` does: items first
        items[name] = signal.item(batch)
        users[name] = signal.user(batch)
        offset, cross = signal.offset(batch), signal.cross(batch, batch.item[:, None])
        if cross is not None:
            offset = cross.squeeze(1) if offset is None else offset + cross.squeeze(1)
        offsets[name] = offset
    return Parts(users, items, offsets)


def raw_scores(model: RecModel, batch: Batch, parts: Parts, head: str | None = None) -> Tensor:
    """Scores before they are clamped or calibrated, [B]; differentiable.

    Args:
        model: Signals, fusion and heads.
        batch: The pairs, with what the head itself reads.
        parts: What the signals say of them.
        head: Head that scores; the primary one by default.
    """
    chosen = model.head if head is None else model.heads[head]
    user, item = _joined(model, batch, parts)
    return chosen.raw(batch, user, item)


def terms_of(model: RecModel, batch: Batch, parts: Parts) -> Terms:
    """Take the primary head's score apart into terms, as far as the fusion lets signals stand apart."""
    head, names, rows = model.head, list(model.signals), len(batch)
    user, item = _joined(model, batch, parts)
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
    }
    whole = head.raw(batch, user, item)
    total = sum((*base.values(), *alone.values(), *products.values()), torch.zeros_like(whole))
    exact = bool(torch.allclose(total, whole, rtol=TOLERANCE, atol=TOLERANCE))
    return Terms(base, alone, products if exact else {}, exact)


def _joined(model: RecModel, batch: Batch, parts: Parts) -> tuple[Joined, Joined]:
    rows = len(batch)
    zero = torch.zeros(rows, device=batch.item.device)
    offset = model.fusion.offset(parts.offsets)
    user = Joined(model.fusion.join("user", parts.users, rows), zero)
    item = Joined(model.fusion.join("item", parts.items, rows), zero if offset is None else offset)
    return user, item


def _single(model: RecModel, side: str, parts: Parts, rows: int) -> dict[str, Tensor]:
    """Each signal's vector of one side as it comes out of the fusion when it alone goes in."""
    found = {}
    for name, vector in (parts.users if side == "user" else parts.items).items():
        if vector is not None:
            joined = model.fusion.join("user" if side == "user" else "item", {name: vector}, rows)
            assert joined is not None  # noqa: S101 - a vector went in
            found[name] = joined
    return found


def _scale(plain: Joined, scaled: Joined) -> Tensor:
    """What a head multiplied each row of one side by."""
    if plain.vector is None or scaled.vector is None:
        return plain.offset.new_ones(len(plain.offset))
    scale: Tensor = scaled.vector.norm(dim=-1) / plain.vector.norm(dim=-1).clamp(min=1e-12)
    return scale


def _like(mask: Tensor, value: Tensor) -> Tensor:
    return mask.reshape(-1, *[1] * (value.ndim - 1)).to(value.dtype)


def with_item(parts: Parts, name: str, vector: Tensor | None, offset: Tensor | None) -> Parts:
    """The same with another item vector and offset of one signal."""
    return replace(
        parts,
        items={**parts.items, name: parts.items[name] if vector is None else vector},
        offsets={**parts.offsets, name: parts.offsets[name] if offset is None else offset},
    )

"""Fusion: joins the signals' vectors of one side, and their offsets."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor, nn

Kind = Literal["sum", "mlp", "gated", "late"]
Shown = Mapping[str, Tensor]
"""Rows in which each signal is kept, bool [rows] by name; a signal without an entry is kept in all rows."""
GRID = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
"""Candidate weights of each signal in a late fusion."""


class Fusion(nn.Module):
    """Joins the signals' user vectors, item vectors and offsets.

    With u_s, i_s, o_s a signal's user vector, item vector and offset:

        sum    ⟨Σ u_s, Σ i_s⟩ + Σ o_s
        mlp    ⟨f(u_1 ‖ u_2 ‖ …), g(i_1 ‖ i_2 ‖ …)⟩ + Σ o_s, f and g networks with one hidden layer
        gated  ⟨Σ a_s u_s, Σ b_s i_s⟩ + Σ c_s o_s, with weights 2 σ(·) that start at 1 and are learnt
        late   Σ w_s (⟨u_s, i_s⟩ + o_s), each signal scoring by itself; w is chosen on validation

    In a sum, each signal's user vector is multiplied by every signal's item vector: the collaborative user vector by
    the text's item vector, for example, which matches items without interactions to tastes. In `late` it is not.
    Whole signals can be left out of an example at random in training, so that the others learn to do without.

    One signal can stand apart (`with_apart`): its vectors meet no other signal's and its offset counts whole, while
    all others together are multiplied by the rest r:

        r · (the score above, of the others) + ⟨u_apart, i_apart⟩ + o_apart
    """

    def __init__(
        self,
        kind: Kind,
        signals: Sequence[str],
        dim: int,
        hidden: int = 64,
        dropout: float = 0.0,
        signal_dropout: float = 0.0,
    ) -> None:
        """Make the trained parts.

        Args:
            kind: How signals are joined.
            signals: Their names, in the recipe's order.
            dim: Width of their vectors.
            hidden: Width of the networks' hidden layer (`mlp`).
            dropout: Dropout inside the networks (`mlp`).
            signal_dropout: Probability that a signal is left out of an example.
        """
        super().__init__()
        self.kind = kind
        self.names = list(signals)
        self._dim = dim
        self._signal_dropout = signal_dropout
        self._apart: tuple[str, int, float] | None = None
        count = len(self.names)
        if kind == "mlp":
            for side in ("user", "item"):
                first, second = nn.Linear(count * dim, hidden), nn.Linear(hidden, dim)
                self.add_module(f"{side}_network", nn.Sequential(first, nn.GELU(), nn.Dropout(dropout), second))
        elif kind == "gated":
            self.gates = nn.ParameterDict({part: nn.Parameter(torch.zeros(count)) for part in _PARTS})
        elif kind == "late":
            self.weights = nn.Parameter(torch.ones(count), requires_grad=False)

    def with_apart(self, name: str, width: int, rest: float) -> Fusion:
        """Return this fusion, its parameters shared, with one signal apart from the others.

        Args:
            name: Name of the signal.
            width: Width of its vectors; 0 if it has none.
            rest: Factor on the other signals' score.
        """
        other = copy.copy(self)
        other._apart = (name, width, rest)
        return other

    def meet(self, first: str, second: str) -> bool:
        """Return whether one signal's user vectors are multiplied by another's item vectors."""
        apart = None if self._apart is None else self._apart[0]
        return (first == apart) == (second == apart)

    def drawn(self, rows: int, device: torch.device) -> Shown:
        """Draw which signals are kept in each row of a training step, bool [rows] by name; empty if all are.

        A signal that is left out of an example must be left out of its vectors, offset and `cross` alike.
        """
        if not self.training or self._signal_dropout == 0.0:
            return {}
        return {name: torch.rand(rows, device=device) >= self._signal_dropout for name in self.names}

    def join(
        self,
        side: Literal["user", "item"],
        vectors: Mapping[str, Tensor | None],
        rows: int,
        shown: Shown = MappingProxyType({}),
    ) -> Tensor | None:
        """Join one side's vectors.

        Args:
            side: Side of the vectors.
            vectors: Vector of each signal, float32 [rows, dim], or None if it has none for this side.
            rows: Number of rows.
            shown: Result of `drawn` for these rows.

        Returns:
            float32 [rows, dim], [rows, signals · dim] for `late`, or None if no signal has a vector for it; columns
            of a signal apart follow.
        """
        if self._apart is not None:
            return self._beside(side, vectors, rows, shown)
        return self._joined(side, vectors, rows, shown)

    def _joined(
        self, side: Literal["user", "item"], vectors: Mapping[str, Tensor | None], rows: int, shown: Shown
    ) -> Tensor | None:
        found = {name: _kept(vector, shown.get(name)) for name, vector in vectors.items() if vector is not None}
        if not found:
            return None
        if self.kind in ("mlp", "late"):
            some = next(iter(found.values()))
            blocks = [found.get(name, some.new_zeros(rows, self._dim)) for name in self.names]
            if self.kind == "late":
                blocks = [w * block for w, block in zip(self._side_weights(side), blocks, strict=True)]
                return torch.cat(blocks, dim=-1)
            joined: Tensor = self.get_submodule(f"{side}_network")(torch.cat(blocks, dim=-1))
            return joined
        return self._summed(side, found)

    def _beside(
        self, side: Literal["user", "item"], vectors: Mapping[str, Tensor | None], rows: int, shown: Shown
    ) -> Tensor | None:
        """Join the other signals, multiplied by the rest on the user's side, and append the one apart."""
        assert self._apart is not None  # noqa: S101 - the caller asked
        name, width, rest = self._apart
        own = vectors.get(name)
        joined = self._joined(side, {other: v for other, v in vectors.items() if other != name}, rows, shown)
        if joined is not None and side == "user":
            joined = rest * joined
        if not width or (joined is None and own is None):
            return joined
        some = next(v for v in (joined, own) if v is not None)
        if joined is None:
            joined = some.new_zeros(rows, self._dim * (len(self.names) if self.kind == "late" else 1))
        return torch.cat([joined, some.new_zeros(rows, width) if own is None else own], dim=-1)

    def offset(self, offsets: Mapping[str, Tensor | None], shown: Shown = MappingProxyType({})) -> Tensor | None:
        """Join the signals' offsets, each of one shape, into that shape, or None."""
        present = {name: _kept(offset, shown.get(name)) for name, offset in offsets.items() if offset is not None}
        if self._apart is None:
            return self._summed("offset", present) if present else None
        name, _, rest = self._apart
        own = present.pop(name, None)
        others = rest * self._summed("offset", present) if present else None
        return own if others is None else others if own is None else others + own

    def report(self) -> dict[str, dict[str, float]]:
        """Return the weight of each signal, for `gated` by user, item and offset."""
        if self.kind == "gated":
            gates = {part: self._gates(part) or {} for part in _PARTS}
            return {part: {name: round(float(w.detach()), 4) for name, w in gates[part].items()} for part in _PARTS}
        if self.kind == "late":
            return {"score": {name: float(w) for name, w in zip(self.names, self.weights, strict=True)}}
        return {}

    def choose(self, figure: Callable[[], float], lower_is_better: bool, rounds: int = 2) -> float | None:
        """Choose a late fusion's weights by coordinate search.

        Args:
            figure: Computes the validation figure with the current weights.
            lower_is_better: Whether lower figures are better.
            rounds: Passes over the signals.

        Returns:
            The best figure; None for other kinds, which choose nothing.
        """
        if self.kind != "late":
            return None
        sign = 1.0 if lower_is_better else -1.0
        best = sign * figure()
        with torch.no_grad():
            for _ in range(rounds):
                for place in range(len(self.names)):
                    kept = float(self.weights[place])
                    for weight in GRID:
                        self.weights[place] = weight
                        value = sign * figure()
                        if value < best:
                            best, kept = value, weight
                    self.weights[place] = kept
        return sign * best

    def _summed(self, part: str, values: Mapping[str, Tensor]) -> Tensor:
        gates = self._gates(part)
        terms = [values[name] if gates is None else gates[name] * values[name] for name in values]
        return functools.reduce(torch.add, terms)

    def _side_weights(self, side: str) -> Sequence[Tensor | float]:
        """Return the weights of one side's vectors; a score's weight is put on the item's side alone."""
        return list(self.weights) if side == "item" else [1.0] * len(self.names)

    def _gates(self, part: str) -> dict[str, Tensor] | None:
        """Return the weight of each signal in one part; None if all are 1."""
        if self.kind == "gated":
            return dict(zip(self.names, 2.0 * self.gates[part].sigmoid(), strict=True))
        if self.kind == "late" and part == "offset":
            return dict(zip(self.names, self.weights, strict=True))
        return None


def _kept(values: Tensor, shown: Tensor | None) -> Tensor:
    """Return a signal's values, zero in rows in which it is left out."""
    return values if shown is None else values * shown.reshape(-1, *[1] * (values.ndim - 1)).to(values.dtype)


_PARTS = ("user", "item", "offset")

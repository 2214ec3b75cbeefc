"""Front: what stands before a text in a mixed pass, and the pass itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

MIXED: frozenset[str] = frozenset()
"""Kinds of `BatchedForm.front` that a mixed pass can hold; rows with another are run in passes of their own."""


@dataclass(frozen=True)
class FrontRows:
    """What stands before some rows of a pass.

    Attributes:
        kind: See `BatchedForm.front`.
        rows: Which rows of the pass, [n], each in at most one `FrontRows`.
        lengths: Tokens before each, [n].
        tensors: Tensors of the form's slots at `MODEL`, each [n, longest, …], with zeros behind a row's length.
    """

    kind: str
    rows: tuple[int, ...]
    lengths: tuple[int, ...]
    tensors: Mapping[str, Tensor]


def front_states(model: nn.Module, ids: Tensor, mask: Tensor, fronts: list[FrontRows]) -> Tensor:
    """Return the states of the texts' own tokens, [rows, tokens, width].

    Args:
        model: The bare transformer, hooks in place.
        ids: Token ids, padded on the right, int64 [rows, tokens].
        mask: 1 for tokens, 0 for padding, int64 [rows, tokens].
        fronts: What stands before the texts, of kinds in `MIXED`.
    """
    if fronts:
        raise ValueError(f"no mixed pass can hold {fronts[0].kind} before a text")
    states: Tensor = model(input_ids=ids, attention_mask=mask).last_hidden_state
    return states

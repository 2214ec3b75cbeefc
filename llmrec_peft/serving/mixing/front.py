"""Front: what stands before a text in a mixed pass, and the pass itself.

Rows have unequal numbers of virtual tokens, some none. Embeddings and text of a row are packed without a gap and padded
on the right, so that each token has the position that it has in a single run and causal masks need no further care.
Keys and values are padded on the left of the cache, where a mask hides what is not a row's own: they have the distance
from the text that they have alone, also in models with sliding windows. Every token sees itself, so no row of the
attention is without a key. Rows of all kinds share one pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from llmrec_peft.backbone.positions import first_position, token_room
from llmrec_peft.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn


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


def front_states(model: nn.Module, ids: Tensor, mask: Tensor, fronts: Sequence[FrontRows]) -> Tensor:
    """Return the states of the texts' own tokens, [rows, tokens, width]; those of padding are finite.

    Args:
        model: The bare transformer, hooks in place.
        ids: Token ids, padded on the right, int64 [rows, tokens].
        mask: 1 for tokens, 0 for padding, int64 [rows, tokens].
        fronts: What stands before the texts, of kinds that the model can hold (`front_refusal`).

    Raises:
        InputError: If a text and the embeddings before it are longer than the model's window.
    """
    embeddings = [one for one in fronts if one.kind == "embeddings"]
    keys = [one for one in fronts if one.kind == "keys"]
    packed = _Packed(model, mask, embeddings) if embeddings else None
    given: dict[str, Tensor] = {"input_ids": ids} if packed is None else {"inputs_embeds": packed.inputs(model, ids)}
    seen = mask if packed is None else packed.mask
    further: dict[str, Any] = {}
    if keys:
        # as in a single run: the text's positions are its own, as if nothing stood before it
        first = first_position(model)
        places = torch.arange(first, first + seen.shape[1], device=ids.device)
        further["position_ids"] = places.expand(len(ids), -1)
        own, further["past_key_values"] = _cache(keys, len(ids))
        seen = torch.cat([own.to(seen.dtype), seen], dim=1)
    states: Tensor = model(attention_mask=seen, **given, **further).last_hidden_state
    return states if packed is None else packed.texts(states)


def require_room(before: int, length: int, room: int | None) -> None:
    """Refuse a text that is longer than a model's window together with the embeddings before it.

    Args:
        before: Embeddings before the text.
        length: Tokens of the text.
        room: Tokens of the window; None where it has no end.

    Raises:
        InputError: With both numbers.
    """
    if room is not None and before + length > room:
        raise InputError(
            f"adapter.num_virtual_tokens: {before} and a text of {length} tokens are more than the model's window of"
            f" {room}: lower one, or views.item.max_length"
        )


class _Packed:
    """Each row's embeddings and text without a gap between them, padded on the right."""

    def __init__(self, model: nn.Module, mask: Tensor, fronts: Sequence[FrontRows]) -> None:
        rows, tokens = mask.shape
        self._fronts = fronts
        self._longest = max(max(one.lengths) for one in fronts)
        self._before = _lengths(fronts, rows, mask.device)
        width = tokens + self._longest
        room = token_room(model)
        if room is not None and width > room:
            width = self._within(room, mask)
        places = torch.arange(width, device=mask.device)
        text = places - self._before[:, None]  # place of a token in its text; below 0 in what stands before it
        self._from = torch.where(text < 0, places, self._longest + text.clamp(max=tokens - 1))
        own = mask.gather(1, text.clamp(0, tokens - 1))
        self.mask = torch.where(text < 0, 1, torch.where(text < tokens, own, 0))
        self._texts = (self._before[:, None] + torch.arange(tokens, device=mask.device)).clamp(max=width - 1)

    def inputs(self, model: nn.Module, ids: Tensor) -> Tensor:
        """Return what goes into the model instead of token ids, [rows, tokens before and in the text, width]."""
        embedded: Tensor = model.get_input_embeddings()(ids)  # type: ignore[operator]
        before = embedded.new_zeros(len(ids), self._longest, embedded.shape[2])
        for one in self._fronts:
            tensor = one.tensors["embeddings"]
            index = torch.tensor(one.rows, device=ids.device)
            before[index, : tensor.shape[1]] = tensor.to(embedded)
        return _chosen(torch.cat([before, embedded], dim=1), self._from)

    def texts(self, states: Tensor) -> Tensor:
        """Return the states of the texts' own tokens."""
        return _chosen(states, self._texts)

    def _within(self, room: int, mask: Tensor) -> int:
        """Return the tokens of the longest row, which has to be within the model's window."""
        before, texts = self._before.tolist(), mask.sum(1).tolist()
        for tokens, length in zip(before, texts, strict=True):
            if tokens:
                require_room(tokens, length, room)
        return int(max(tokens + length for tokens, length in zip(before, texts, strict=True)))


def _cache(fronts: Sequence[FrontRows], rows: int) -> tuple[Tensor, Any]:
    """Return which keys are a row's own, bool [rows, longest], and a cache of each layer's keys and values."""
    from transformers import DynamicCache

    some = fronts[0].tensors["keys"]
    longest = max(max(one.lengths) for one in fronts)
    before = _lengths(fronts, rows, some.device)
    places = torch.arange(longest, device=some.device) - (longest - before[:, None])
    both = []
    for name in ("keys", "values"):
        whole = some.new_zeros(rows, longest, *some.shape[2:])
        for one in fronts:
            index = torch.tensor(one.rows, device=some.device)
            whole[index, : one.tensors[name].shape[1]] = one.tensors[name].to(whole)
        moved = _chosen(whole.flatten(2), places.clamp(min=0)).view_as(whole)
        both.append(moved.permute(2, 0, 3, 1, 4))  # [depth, rows, kv_heads, longest, head_dim]
    return places >= 0, DynamicCache(list(zip(*both, strict=True)))


def _lengths(fronts: Sequence[FrontRows], rows: int, device: torch.device) -> Tensor:
    """Return the tokens before each row of the pass, int64 [rows]."""
    lengths = [0] * rows
    for one in fronts:
        for row, length in zip(one.rows, one.lengths, strict=True):
            lengths[row] = length
    return torch.tensor(lengths, device=device)


def _chosen(values: Tensor, places: Tensor) -> Tensor:
    """Return each row's values at its places, [rows, places, width], of [rows, tokens, width]."""
    return values.gather(1, places[:, :, None].expand(-1, -1, values.shape[2]))

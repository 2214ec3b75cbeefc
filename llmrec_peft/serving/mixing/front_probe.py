"""Probe: whether texts of one pass, with unequal fronts, get from a model the states that each has alone.

Positions, masks and caches differ from architecture to architecture, and a model that ignores one of them answers all
the same. So each model is asked once, with a few tokens, before its rows share a pass.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import torch

from llmrec_peft.backbone.positions import first_position
from llmrec_peft.serving.mixing.front import FrontRows, front_states

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn

    from llmrec_peft.backbone.load import Backbone

CLEARLY = 4.0
"""What stands before a text has to move its states by so many times the distance between the two passes."""
NEAR, NEAR_ROUNDED = 1e-3, 0.1
"""Largest distance as a share of the states' norm, in fp32 and where states are rounded."""
_TEXTS = (3, 6, 4, 5, 2)
"""Tokens of the texts."""
_EMBEDDINGS = {0: 3, 1: 1}
_KEYS = {2: 1, 3: 4}
"""Virtual tokens before some of the texts, by row; nothing stands before the others."""
_SPREAD = 0.5
"""Standard deviation of keys and values: at 1, SmolLM2's states in bf16 are off by 0.066 from rounding alone,
and at 0.1 those of MiniLM move by no more than 0.04."""
_OWN_CACHES = ("gemma2", "gemma3_text", "gemma4")
"""Parts of names of architectures for which PEFT fills a cache layer by layer."""
_asked: weakref.WeakKeyDictionary[nn.Module, dict[str, str | None]] = weakref.WeakKeyDictionary()


def front_refusal(backbone: Backbone, kind: str) -> str | None:
    """Return why no mixed pass through this model can hold a kind of front; None if it can.

    Args:
        backbone: The bare base. It is asked once for each kind.
        kind: ``embeddings`` or ``keys``; the latter are asked for together with embeddings, where these can be held.
    """
    known = _asked.setdefault(backbone.model, {})
    if kind not in known:
        known[kind] = _found(backbone, kind)
    return known[kind]


@torch.no_grad()
def _found(backbone: Backbone, kind: str) -> str | None:
    name = backbone.shapes.model_type
    if kind == "keys" and any(part in name for part in _OWN_CACHES):
        return f"the layers of {name} keep caches of unlike kinds"
    kinds = {kind} if kind == "embeddings" or front_refusal(backbone, "embeddings") else {"embeddings", "keys"}
    try:
        distance, moved = _distances(backbone, kinds)
    except torch.OutOfMemoryError:
        raise
    except (TypeError, ValueError, RuntimeError, IndexError, KeyError, AttributeError) as error:
        said = (str(error).splitlines() or [""])[0]
        return f"a mixed pass through {name} fails with {kind} before a text: {type(error).__name__}: {said}"
    rounded = backbone.identity.quantization != "none" or backbone.identity.compute != "fp32"
    if not distance <= (NEAR_ROUNDED if rounded else NEAR) or not moved > CLEARLY * distance:
        return (
            f"in {name}, states of texts with {kind} before them are off by {distance:.2g} in a mixed pass,"
            f" and by {moved:.2g} without them"
        )
    return None


def _distances(backbone: Backbone, kinds: set[str]) -> tuple[float, float]:
    """Return the largest distance of a text's states in one pass and alone, and the smallest that its front makes."""
    model, rows = backbone.model, len(_TEXTS)
    ids = _ids(backbone).to(backbone.device)
    mask = torch.tensor([[1] * n + [0] * (max(_TEXTS) - n) for n in _TEXTS], device=ids.device)
    fronts = list(_fronts(backbone, kinds, ids))
    mixed, bare = front_states(model, ids, mask, fronts), front_states(model, ids, mask, [])
    apart, moved = [], []
    for row in range(rows):
        own = next((one for one in fronts if row in one.rows), None)
        text = ids[row : row + 1, : _TEXTS[row]]
        alone = _alone(model, text, own, row)
        apart.append(_distance(mixed[row, : _TEXTS[row]], alone))
        if own is not None:
            moved.append(_distance(bare[row, : _TEXTS[row]], alone))
    return max(apart), min(moved)


def _alone(model: nn.Module, text: Tensor, front: FrontRows | None, row: int) -> Tensor:
    """Return the states of one text as a single run computes them, [tokens, width]."""
    from transformers import DynamicCache

    if front is None:
        return _states(model, input_ids=text, attention_mask=torch.ones_like(text))
    at = front.rows.index(row)
    count = front.lengths[at]
    mask = text.new_ones(1, count + text.shape[1])
    if front.kind == "embeddings":
        embedded = model.get_input_embeddings()(text)  # type: ignore[operator]
        embedded = torch.cat([front.tensors["embeddings"][at : at + 1, :count].to(embedded), embedded], dim=1)
        return _states(model, inputs_embeds=embedded, attention_mask=mask)[count:]
    both = (front.tensors[name][at : at + 1, :count].permute(2, 0, 3, 1, 4) for name in ("keys", "values"))
    first = first_position(model)
    places = torch.arange(first, first + text.shape[1], device=text.device)[None]
    cache = DynamicCache(list(zip(*both, strict=True)))
    return _states(model, input_ids=text, attention_mask=mask, position_ids=places, past_key_values=cache)


def _fronts(backbone: Backbone, kinds: set[str], ids: Tensor) -> Iterator[FrontRows]:
    """Yield what stands before the texts: embeddings of tokens, and random keys and values."""
    model, shapes = backbone.model, backbone.shapes
    if "embeddings" in kinds:
        embedded = model.get_input_embeddings()(ids.flip(0, 1))  # type: ignore[operator]
        yield _front_rows("embeddings", _EMBEDDINGS, {"embeddings": embedded})
    if "keys" in kinds:
        random = torch.Generator().manual_seed(0)
        size = (len(ids), ids.shape[1], shapes.depth, shapes.kv_heads, shapes.head_dim)
        dtype: Any = model.dtype
        drawn = {
            name: (_SPREAD * torch.randn(size, generator=random)).to(ids.device, dtype) for name in ("keys", "values")
        }
        yield _front_rows("keys", _KEYS, drawn)


def _front_rows(kind: str, lengths: dict[int, int], tensors: dict[str, Tensor]) -> FrontRows:
    longest = max(lengths.values())
    cut = {name: tensor[list(lengths), :longest].clone() for name, tensor in tensors.items()}
    for tensor in cut.values():
        for at, length in enumerate(lengths.values()):
            tensor[at, length:] = 0
    return FrontRows(kind, tuple(lengths), tuple(lengths.values()), cut)


def _ids(backbone: Backbone) -> Tensor:
    """Return token ids, int64 [rows, tokens], spread over the vocabulary, padded on the right."""
    table: Any = backbone.model.get_input_embeddings()  # type: ignore[operator]
    count, width = int(table.num_embeddings), max(_TEXTS)
    usual = [(at * 7919 + 13) % count for at in range(4 * len(_TEXTS) * width)]
    some = iter([one for one in usual if one != backbone.pad_id])
    rows = [[next(some) for _ in range(length)] for length in _TEXTS]
    return torch.tensor([row + [backbone.pad_id] * (width - len(row)) for row in rows])


def _states(model: nn.Module, **given: Any) -> Tensor:
    states: Tensor = model(**given).last_hidden_state[0]
    return states


def _distance(states: Tensor, others: Tensor) -> float:
    """Return the distance as a share of the second's norm; NaN where one is not finite."""
    states, others = states.float(), others.float()
    return float((states - others).norm() / others.norm())

"""Low-rank rows of a mixed batch: each row's adapter adds B A x to a linear layer's output."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar

from llmrec_peft.backbone.batched import BatchedForm, SavedTensors, Slot
from llmrec_peft.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from llmrec_peft.backbone.load import Backbone

Factors = Callable[[SavedTensors, "Backbone"], Mapping[str, "tuple[Tensor, Tensor]"]]
"""Makes A [rank, in] and B [out, rank], all scales multiplied in, of each site from an adapter's saved tensors."""
_INSIDE = "base_model.model."
"""What PEFT writes before the name of a module inside the bare transformer."""
_BLOCK = 1 << 21
"""Bytes of a block of states in fp32."""


class LowRank(BatchedForm):
    """y + B A x with y the layer's output; A [rank, in] and B [out, rank] are each adapter's own.

    Every method whose update of a weight is a product of two thin matrices is computed by this form, so that rows of
    different methods share two multiplications. They take rank · (in + out) multiply-adds a token.
    """

    ragged: ClassVar[frozenset[str]] = frozenset({"down", "up"})
    by_token: ClassVar[bool] = True

    def __init__(self, factors: Factors, rounded: bool = False) -> None:
        """Set what makes the factors, and whether B A x is rounded to the format of y before it is added.

        PEFT does so in LoRA's and AdaLoRA's layers on quantized weights. To do otherwise there would differ from a
        pass of one adapter as much as another batch shape does (cosine 0.99987 on SmolLM2 in nf4, computed in bf16).
        """
        self._factors, self._rounded = factors, rounded

    @property
    def key(self) -> tuple[object, ...]:
        """The form's name and how it rounds: scales are in the tensors."""
        return ("low-rank", self._rounded)

    def slots(self, saved: SavedTensors, backbone: Backbone) -> dict[str, Slot]:
        """Return ``down`` A [rank, in] and ``up`` Bᵀ [rank, out] of each site."""
        return {site: Slot(low_rank_tensors(a, b)) for site, (a, b) in self._factors(saved, backbone).items()}

    def behind(self, inputs: Tensor, output: Tensor, slot: Mapping[str, Tensor]) -> Tensor:
        """Return y + B A x in the format of `output`."""
        return plus_low_rank(inputs, output, slot, self._rounded)


def low_rank_tensors(a: Tensor, b: Tensor) -> dict[str, Tensor]:
    """Return a slot's ``down`` A [rank, in] and ``up`` Bᵀ [rank, out] of A [rank, in] and B [out, rank], in fp32.

    PEFT keeps and multiplies them in fp32 on a base in bf16 too. In bf16, states of a tiny Llama with random adapters
    have a cosine of 0.9998 with PEFT's, and of 0.99999 in fp32.
    """
    return {"down": a.detach().float().contiguous(), "up": b.detach().float().T.contiguous()}


def plus_low_rank(inputs: Tensor, output: Tensor, slot: Mapping[str, Tensor], rounded: bool = False) -> Tensor:
    """Return `output` + `inputs` A B with each row's ``down`` A [rows, rank, in] and ``up`` B [rows, rank, out].

    Unless gradients are recorded, the sum is written into `output`.

    Args:
        inputs: [rows, tokens, in].
        output: [rows, tokens, out].
        slot: ``down`` and ``up``, whose number format the product is computed in.
        rounded: Whether the product is rounded to the format of `output` before it is added, and not the sum.

    Returns:
        [rows, tokens, out] in the format of `output`.
    """
    import torch

    down, up = slot["down"].transpose(1, 2), slot["up"]
    if torch.is_grad_enabled():
        inner = inputs.to(up.dtype) @ down
        if output.dtype == up.dtype:
            return output.baddbmm(inner, up)
        added = inner @ up
        return output + added.to(output.dtype) if rounded else (output + added).to(output.dtype)
    if output.dtype == inputs.dtype == up.dtype:
        return output.baddbmm_(inputs @ down, up)
    for own, read, first, second in _blocks(output, inputs, down, up):
        inner = read.to(up.dtype) @ first
        if rounded:
            own.add_(torch.bmm(inner, second).to(output.dtype))
        else:
            own.copy_(own.to(up.dtype).baddbmm_(inner, second))
    return output


def _blocks(
    output: Tensor, inputs: Tensor, down: Tensor, up: Tensor
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Divide rows and tokens so that a block of states in fp32 stays in a processor's cache; on a GPU there is one.

    A large tensor that lives for one line costs more than the arithmetic on it where its memory comes from the system
    and goes back, page by page: with states of MiniLM's feed-forward layers, 16 rows of 49 tokens in bf16, a sum in
    fp32 took 8.8 ms in one piece and 1.0 ms in blocks.

    Args:
        output: [rows, tokens, out].
        inputs: [rows, tokens, in].
        down: [rows, in, rank].
        up: [rows, rank, out].
    """
    rows, tokens, width = *output.shape[:2], max(output.shape[2], inputs.shape[2])
    room = _BLOCK // max(1, 4 * width)
    if output.device.type != "cpu" or rows * tokens <= room:
        yield output, inputs, down, up
        return
    step = max(1, room // max(1, tokens))
    length = tokens if step > 1 else max(1, min(tokens, room))
    for row in range(0, rows, step):
        own = slice(row, row + step)
        for token in range(0, tokens, length):
            at = (own, slice(token, token + length))
            yield output[at], inputs[at], down[own], up[own]


def saved_by_site(saved: SavedTensors, *parts: str) -> dict[str, tuple[Tensor, ...]]:
    """Return an adapter's tensors by the module they belong to, of PEFT's names ``base_model.model.SITE.PART``.

    Args:
        saved: The adapter's tensors.
        parts: Ends of their names, such as ``lora_A.weight``. A module counts if it has the first of them.

    Returns:
        The tensors of all parts, in their order, by site.

    Raises:
        InputError: If a module has the first part and lacks another.
    """
    found: dict[str, tuple[Tensor, ...]] = {}
    for name in saved:
        if not (name.startswith(_INSIDE) and name.endswith(f".{parts[0]}")):
            continue
        module = name.removesuffix(parts[0])
        for part in parts:
            if f"{module}{part}" not in saved:
                raise InputError(f"the adapter has {name} and no {module}{part}")
        found[module.removeprefix(_INSIDE).rstrip(".")] = tuple(saved[f"{module}{part}"] for part in parts)
    return found

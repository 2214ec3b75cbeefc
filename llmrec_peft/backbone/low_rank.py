"""Low-rank rows of a mixed batch: each row's adapter adds B A x to a linear layer's output."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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


class LowRank(BatchedForm):
    """y + B A x with y the layer's output; A [rank, in] and B [out, rank] are each adapter's own.

    Every method whose update of a weight is a product of two thin matrices is computed by this form, so that rows of
    different methods share two multiplications. They take rank · (in + out) multiply-adds a token.
    """

    ragged: ClassVar[frozenset[str]] = frozenset({"down", "up"})

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

    Args:
        inputs: [rows, tokens, in].
        output: [rows, tokens, out].
        slot: ``down`` and ``up``, whose number format the product is computed in.
        rounded: Whether the product is rounded to the format of `output` before it is added, and not the sum.

    Returns:
        [rows, tokens, out] in the format of `output`.
    """
    down, up = slot["down"], slot["up"]
    inner = inputs.to(down.dtype) @ down.transpose(1, 2)
    if output.dtype == up.dtype:
        return output.baddbmm(inner, up)
    added = inner @ up
    return output + added.to(output.dtype) if rounded else (output + added).to(output.dtype)


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

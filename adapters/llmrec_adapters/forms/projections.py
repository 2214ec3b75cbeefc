"""Shared projections: one pair of frozen matrices for all layers and all rows, with vectors a row around them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from llmrec_adapters.forms.sites import tensors_by_site
from llmrec_peft.plugins import BatchedForm, InputError, SavedTensors, Slot

if TYPE_CHECKING:
    from torch import Tensor

    from llmrec_peft.plugins import Backbone, ModuleShape

_DOWN, _UP = "base_model.vera_A", "base_model.vera_B"


class SharedProjections(BatchedForm):
    """W x + b ⊙ B (d ⊙ A x) with A, B held once by the form, in fp32. Slot: ``inner`` d [rank], ``outer`` b [out].

    A and B are known when the file has been read; only adapters with the same bytes of both are computed together.
    """

    def __init__(self, rank: int, seed: int, modules: Sequence[ModuleShape]) -> None:
        """Set by what A and B are drawn where the file does not hold them.

        Args:
            rank: Rows of A and columns of B.
            seed: Seed of the generator.
            modules: The adapted layers; A is as wide and B as high as the largest of them.
        """
        self._shapes = (
            (rank, max(module.inputs for module in modules)),
            (max(module.outputs for module in modules), rank),
        )
        self._seed, self._first = seed, modules[0].name
        self._pair: tuple[Tensor, Tensor] | None = None
        self._digest = ""

    @property
    def key(self) -> tuple[object, ...]:
        """The digest of A and B, which `slots` reads."""
        if self._pair is None:
            raise RuntimeError("the key of shared projections is known after `slots`")
        return "shared projections", self._digest

    def slots(self, saved: SavedTensors, backbone: Backbone) -> dict[str, Slot]:
        """Return the vectors, and keep A and B on the base's device."""
        stored = _DOWN in saved and _UP in saved
        down, up = (saved[_DOWN].float(), saved[_UP].float()) if stored else self._drawn(backbone)
        if (tuple(down.shape), tuple(up.shape)) != self._shapes:
            raise InputError(f"{_DOWN}, {_UP}: shapes {list(down.shape)}, {list(up.shape)}, not {self._shapes}")
        self._digest = _digest(down, up)
        self._pair = (down.to(backbone.device), up.to(backbone.device))
        found = tensors_by_site(saved, "vera_lambda_d", "vera_lambda_b")
        return {
            site: Slot({"inner": tensors["vera_lambda_d"], "outer": tensors["vera_lambda_b"]})
            for site, tensors in found.items()
        }

    @property
    def shared(self) -> Mapping[str, Tensor]:
        """A and B."""
        return {} if self._pair is None else dict(zip(("down", "up"), self._pair, strict=True))

    def share(self, tensors: Mapping[str, Tensor]) -> None:
        """Read A and B of an adapter that has the same ones."""
        self._pair = (tensors["down"], tensors["up"])

    def behind(self, inputs: Tensor, output: Tensor, slot: Mapping[str, Tensor]) -> Tensor:
        """Add each row's update; a layer smaller than the largest takes the first columns of A and rows of B."""
        assert self._pair is not None  # noqa: S101 - whoever has slots has called `slots`
        down, up = self._pair
        inner = F.linear(inputs.to(down.dtype), down[:, : inputs.shape[-1]]) * slot["inner"].unsqueeze(1)
        added = F.linear(inner, up[: output.shape[-1]]) * slot["outer"].unsqueeze(1)
        return (output + added).to(output.dtype)

    def _drawn(self, backbone: Backbone) -> tuple[Tensor, Tensor]:
        """Draw A and B, rounded as PEFT does: to the number format of the base's weights, or of its 4-bit products."""
        module: Any = backbone.model.get_submodule(self._first)
        held = getattr(module, "compute_dtype", None) or module.weight.dtype
        held = held if held.is_floating_point else torch.float32
        down, up = drawn(self._shapes, self._seed)
        return down.to(held).float(), up.to(held).float()


def drawn(shapes: Sequence[tuple[int, int]], seed: int) -> tuple[Tensor, Tensor]:
    """Draw A and B as PEFT does: uniform within ±√(6 / columns), one after the other from one generator."""
    generator = torch.Generator("cpu").manual_seed(seed)
    first, second = (
        torch.empty(shape).uniform_(-math.sqrt(6 / shape[1]), math.sqrt(6 / shape[1]), generator=generator)
        for shape in shapes
    )
    return first, second


def _digest(*tensors: Tensor) -> str:
    hashed = hashlib.sha256()
    for tensor in tensors:
        hashed.update(repr(tuple(tensor.shape)).encode())
        hashed.update(tensor.cpu().contiguous().numpy().tobytes())
    return hashed.hexdigest()

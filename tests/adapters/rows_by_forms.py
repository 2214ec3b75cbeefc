"""Rows by forms: saved adapters of which each row of a pass has its own, and what each text is alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from llmrec_peft.backbone.batched import BatchedForm, Slot, filled
from llmrec_peft.backbone.load import Backbone
from llmrec_peft.serving.mixing.passes import mixed_states
from llmrec_peft.serving.mixing.slots import Slots

TEXTS = ([45, 51, 77, 60, 91], [71, 46, 83, 55, 90, 62, 48, 77, 99], [85, 66, 41], [58, 93, 47, 72, 80, 44, 69])
"""Token ids of texts of unlike lengths."""


@dataclass(frozen=True)
class Saved:
    """A saved adapter.

    Attributes:
        method: Its method, with its options.
        folder: Folder of its two files.
    """

    method: Any
    folder: Path

    def mixing(self, backbone: Backbone) -> tuple[BatchedForm, dict[str, Slot]]:
        """Return its form on a bare base, and its slots; every tensor of its file was read."""
        backbone.detach()
        form = self.method.batched(backbone)
        assert form is not None
        return form, filled(form, load_file(self.folder / "adapter_model.safetensors"), backbone, self.folder.name)

    @torch.no_grad()
    def alone(self, backbone: Backbone, text: Sequence[int], beside: Sequence[Sequence[int]] = ()) -> Tensor:
        """Return states of one text by the adapter attached in the usual way: [tokens, width].

        Args:
            backbone: The base.
            text: The text; unpadded, if it is alone.
            beside: Texts of the same adapter in the same pass.
        """
        backbone.detach()
        model = self.method.load(backbone, self.folder).eval()
        states: Tensor = model(**padded([text, *beside])).last_hidden_state[0, : len(text)]
        backbone.detach()
        return states


def stirred(method: Any, backbone: Backbone, folder: Path, seed: int, spread: float = 0.2) -> Saved:
    """Save an adapter whose trained parameters are the fresh ones plus noise."""
    backbone.detach()
    model = method.attach(backbone)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(spread * torch.randn(parameter.shape, generator=generator).to(parameter.dtype))
    folder.mkdir()
    method.save(model, backbone, folder)
    backbone.detach()
    return Saved(method, folder)


def padded(texts: Sequence[Sequence[int]]) -> dict[str, Tensor]:
    """Return texts padded on the right, and their mask."""
    longest = max(map(len, texts))
    ids = torch.tensor([[*text, *[0] * (longest - len(text))] for text in texts])
    mask = torch.tensor([[1] * len(text) + [0] * (longest - len(text)) for text in texts])
    return {"input_ids": ids, "attention_mask": mask}


@torch.no_grad()
def mixed(
    backbone: Backbone,
    rows: Sequence[tuple[BatchedForm, dict[str, Slot]] | None],
    texts: Sequence[Sequence[int]] = TEXTS,
) -> list[Tensor]:
    """Return states of texts in one pass of the engine's, each row changed by the slots beside it: [tokens, width]."""
    backbone.detach()
    slots = Slots(64 << 20, backbone.device, capacity=len(rows))
    seats = {id(row): slots.add(*row) for row in rows if row is not None}
    given = padded(texts)
    chosen = [None if row is None else seats[id(row)] for row in rows]
    states = mixed_states(backbone, slots, given["input_ids"], given["attention_mask"], chosen)
    return [state[: len(text)] for state, text in zip(states, texts, strict=True)]


def drift(found: Tensor, expected: Tensor) -> float:
    """Return ‖found − expected‖ / ‖expected‖, both finite."""
    assert found.isfinite().all()
    assert expected.isfinite().all()
    return float((found.float() - expected.float()).norm() / expected.float().norm())


def apart(found: Tensor, expected: Tensor) -> float:
    """Return the largest 1 − cosine of two states of a token; both are finite."""
    assert found.isfinite().all()
    assert expected.isfinite().all()
    return float((1 - torch.nn.functional.cosine_similarity(found.double(), expected.double(), dim=-1)).max())

"""A pool of unlike adapters on a tiny base, with what each text has under each of them alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from llmrec_peft import registry
from llmrec_peft.backbone.encoder import Reading, TextEncoder
from llmrec_peft.backbone.load import Backbone, load_backbone
from llmrec_peft.data.tokens import TokenTable
from llmrec_peft.options import validated
from llmrec_peft.serving.mixing.mixed_encoder import MixedRow, mixed_vectors
from llmrec_peft.serving.mixing.saved import mixed_form, read_slots
from llmrec_peft.serving.mixing.slots import Seat, Slots
from llmrec_peft.testing.adapters.suite import section_of

ADAPTERS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("lora", {"rank": 4}),
    ("lora", {"rank": 6, "layers": "top-1", "rslora": True}),
    ("lora", {"rank": 16, "targets": "all-linear", "alpha": 8.0}),
    ("adalora", {"rank": 4, "initial_rank": 6}),
    ("loha", {"rank": 3, "layers": "top-2"}),
    ("dora", {"rank": 5}),
    ("bottleneck", {"size": 5}),
    ("bottleneck", {"size": 12, "layers": "top-1"}),
    ("ia3", {}),
    ("vera", {"rank": 16}),
    ("vera", {"rank": 16, "seed": 1}),
    ("bitfit", {}),
    ("layernorm", {}),
    ("oft", {"block_size": 8}),
    ("prompt", {"num_virtual_tokens": 3}),
    ("prefix", {"num_virtual_tokens": 5}),
    ("prefix", {"num_virtual_tokens": 2}),
    ("none", {}),
)
"""Methods and options; those that a base cannot have are left out."""
READINGS = (Reading("mean", False), Reading("last-token", True), Reading("max", False))


@dataclass
class Pool:
    """Adapters in slots, texts, and the vector of each text under each adapter alone, unpadded."""

    backbone: Backbone
    slots: Slots
    names: list[str] = field(default_factory=list)
    seats: list[Seat | None] = field(default_factory=list)
    texts: list[list[int]] = field(default_factory=list)
    single: list[list[Tensor]] = field(default_factory=list)
    """States of each text by adapter, alone and unpadded, [tokens, width]."""
    usual: list[dict[Reading, Tensor]] = field(default_factory=list)
    """Vectors of all texts by adapter and reading, as a single run's encoder gives them, [texts, width]."""

    def alone(self, adapter: int, text: int, reading: Reading) -> Tensor:
        states = self.single[adapter][text][None]
        return reading.vectors(states, torch.ones(states.shape[:2], dtype=torch.int64))[0]

    @torch.no_grad()
    def mixed(self, rows: Sequence[tuple[int, int, Reading]], size: int = 64) -> list[Tensor]:
        asked = [MixedRow(self.seats[adapter], self.texts[text], reading) for adapter, text, reading in rows]
        self.backbone.detach()
        return mixed_vectors(self.backbone, self.slots, asked, size)


def saved(backbone: Backbone, method: Any, folder: Path, seed: int) -> Path:
    """Save fresh modules moved by noise."""
    backbone.detach()
    torch.manual_seed(seed)
    model = method.attach(backbone)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn(parameter.shape).to(parameter))
    folder.mkdir()
    method.save(model, backbone, folder)
    backbone.detach()
    return folder


@torch.no_grad()
def make_pool(name: str, precision: str, folder: Path) -> Pool:
    backbone = load_backbone(section_of(name, precision), torch.device("cpu"))
    pool = Pool(backbone, Slots(64 << 20, backbone.device))
    draw = np.random.default_rng(0)
    pool.texts = [draw.integers(5, 900, length).tolist() for length in (1, 2, 3, 7, 8, 12, 17, 26)]
    frozen, tokens = list(backbone.model.modules()), TokenTable.of_rows(pool.texts, backbone.pad_id)
    for at, (method_name, options) in enumerate((*ADAPTERS, ("", {}))):
        model: Any = backbone.model
        seat = None
        if method_name:
            cls = registry.get("adapters", method_name)
            method = cls(validated(cls.Config, options, "adapter"))
            if method.refusal(backbone.facts, "none") is not None:
                continue
            place = saved(backbone, method, folder / str(at), at)
            form = mixed_form(method, backbone)
            assert form is not None, f"{method_name} shares passes"
            seat = pool.slots.add(form, read_slots(method, form, place, backbone, method_name))
            model = method.load(backbone, place).eval()
        pool.names.append(f"{method_name} {options}")
        pool.seats.append(seat)
        states = []
        for text in pool.texts:
            ids = torch.tensor([text])
            states.append(model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0].float())
        pool.single.append(states)
        encoder = TextEncoder(model, frozen, "mean", False).eval()
        pool.usual.append({reading: encoder.encode_as(tokens, reading) for reading in READINGS})
        backbone.detach()
    return pool

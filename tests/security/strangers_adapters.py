"""Saved adapters of every method over a tiny base in memory, and edits of their files that a stranger could make."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save_file

from llmrec_peft import registry
from llmrec_peft.backbone.load import Backbone, load_backbone
from llmrec_peft.backbone.preflight import refusal
from llmrec_peft.backbone.tensor_files import read_texts
from llmrec_peft.recipe.sections import BackboneSection
from llmrec_peft.testing.adapters.backbones import make_tiny

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in registry.plugins("adapters")},
    "lora-pissa": ("lora", {"start": "pissa", "rslora": True, "rank": 6}),
    "adalora-as-lora": ("adalora", {"save_as_lora": True}),
    "prefix-projection": ("prefix", {"projection": True, "hidden": 5}),
    "bottleneck-parallel": ("bottleneck", {"placement": "houlsby", "mode": "parallel", "size": 3}),
    "vera-without": ("vera", {"save_projection": False, "rank": 8}),
}
"""Every registered method, and those options with which one saves other files."""


@dataclass
class SavedAdapters:
    """A tiny base in memory and one folder for each adapter that was saved on it."""

    backbone: Backbone
    folder: Path

    @property
    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())

    def method(self, name: str) -> Any:
        method, options = VARIANTS[name]
        plugin = registry.get("adapters", method)
        return plugin(plugin.Config(**options))

    def copy(self, name: str, to: Path) -> Path:
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(self.folder / name, to)
        return to

    def base_bytes(self) -> dict[str, torch.Tensor]:
        """Bytes of the base's parameters and buffers, as the model has them now."""
        model = self.backbone.model
        tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        return {name: tensor.detach().reshape(-1).view(torch.uint8) for name, tensor in tensors.items()}

    def states(self, model: Any) -> torch.Tensor:
        ids = torch.arange(40, 64).reshape(3, 8)
        with torch.no_grad():
            states: torch.Tensor = model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
        return states

    @cached_property
    def _before(self) -> dict[str, torch.Tensor]:
        return {name: tensor.clone() for name, tensor in self.base_bytes().items()}

    @contextmanager
    def untouched(self) -> Iterator[None]:
        """Check that the block leaves the base's modules and bytes as they were."""
        modules = list(self.backbone.model.modules())
        before = self._before
        yield
        assert list(self.backbone.model.modules()) == modules, "the base has other modules than before"
        now = self.base_bytes()
        assert now.keys() == before.keys(), "the base has other tensors than before"
        moved = [name for name, tensor in before.items() if not torch.equal(tensor, now[name])]
        assert not moved, f"the base has other bytes than before in {', '.join(moved)}"


def saved_adapters(folder: Path, base: str = "tiny-bert") -> SavedAdapters:
    """Save an adapter of every method that this base takes, with drawn parameters."""
    section = BackboneSection(name=str(make_tiny(base, folder / base)), precision="fp32")
    saved = SavedAdapters(load_backbone(section, torch.device("cpu")), folder / "saved")
    backbone = saved.backbone
    for name in VARIANTS:
        method = saved.method(name)
        if refusal(VARIANTS[name][0], method.config, backbone.facts, "none"):
            continue
        model = method.attach(backbone)
        torch.manual_seed(len(name))
        for parameter in model.parameters():
            if parameter.requires_grad:
                torch.nn.init.normal_(parameter, std=0.1)
        (saved.folder / name).mkdir(parents=True)
        method.save(model, backbone, saved.folder / name)
        backbone.detach()
    return saved


def edit_config(folder: Path, **fields: Any) -> None:
    """Write other values into the configuration."""
    path = folder / CONFIG
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **fields}), encoding="utf-8")


def edit_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    """Change the tensors of the file; its metadata stays."""
    path = folder / WEIGHTS
    texts, tensors = read_texts(path), load(path.read_bytes())
    change(tensors)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata=texts)

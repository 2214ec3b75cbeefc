"""Adapter methods that each break one rule, and a sound one that they are made from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from llmrec_adapters.lora import Lora
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from llmrec_peft.backbone.batched import SavedTensors
from llmrec_peft.backbone.load import Backbone
from llmrec_peft.backbone.low_rank import LowRank, saved_by_site
from llmrec_peft.backbone.shapes import ModelShapes


class Sound(Lora):
    """LoRA as it is."""

    summary = "sound"


class NotIdentity(Sound):
    """B is drawn like A, so that a fresh adapter changes the states."""

    def attach(self, backbone: Backbone) -> nn.Module:
        model = super().attach(backbone)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(parameter, std=0.1)
        return model


class FalselyNoIdentity(Sound):
    """Starts as identity and says that it does not."""

    capabilities = replace(Lora.capabilities, starts_as_identity=False)


class WritesIntoBase(Sound):
    """Nudges a frozen weight after a step."""

    def after_step(self, model: nn.Module, step: int, total_steps: int) -> None:
        with torch.no_grad():
            next(p for n, p in model.named_parameters() if "layer.3.output.dense.weight" in n).add_(1e-3)


class TrainsTheBase(Sound):
    """Leaves a parameter of the base trainable."""

    def attach(self, backbone: Backbone) -> nn.Module:
        model = super().attach(backbone)
        next(p for n, p in model.named_parameters() if "layer.3.output.dense.bias" in n).requires_grad_(True)
        return model


class IdleParameter(Sound):
    """Has a trainable parameter that nothing computes with."""

    def attach(self, backbone: Backbone) -> nn.Module:
        model = super().attach(backbone)
        model.register_parameter("idle", nn.Parameter(torch.zeros(3)))
        return model


class WrongCount(Sound):
    """Forgets one matrix in the formula."""

    def parameter_count(self, shapes: ModelShapes) -> int:
        return super().parameter_count(shapes) - self.config.rank


class LowestTooHigh(Sound):
    """Adapts all layers and says that layer 2 is the lowest."""

    def __init__(self, config: Any) -> None:
        super().__init__(config.model_copy(update={"layers": "all"}))

    def lowest_layer(self, backbone: Backbone) -> int | None:
        return 2


class LowestTooLow(Sound):
    """Adapts the top layers and says that it reaches down to layer 1."""

    def lowest_layer(self, backbone: Backbone) -> int | None:
        return 1


class ForgetsState(Sound):
    """Multiplies the rate by something that it counts but does not save."""

    remembers = False

    def attach(self, backbone: Backbone) -> nn.Module:
        self.steps = torch.zeros(1)
        return super().attach(backbone)

    def after_step(self, model: nn.Module, step: int, total_steps: int) -> None:
        self.steps += 1
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_A" in name:
                    parameter.mul_(1.0 - 0.01 * float(self.steps))

    def state(self, model: nn.Module) -> dict[str, Tensor]:
        return {"steps": self.steps} if self.remembers else {}

    def load_state(self, model: nn.Module, state: Mapping[str, Tensor]) -> None:
        if self.remembers:
            self.steps = state["steps"].clone()


class RemembersState(ForgetsState):
    """The same with its state saved: sound."""

    remembers = True


class LosesTensor(Sound):
    """Leaves a tensor out of the file and fills it with zeros on loading."""

    def save(self, model: nn.Module, backbone: Backbone, folder: Path) -> None:
        super().save(model, backbone, folder)
        path = folder / "adapter_model.safetensors"
        tensors = load_file(path)
        self._rewrite(
            path, {k: t for k, t in tensors.items() if k != max(tensors)}, max(tensors), tensors[max(tensors)]
        )

    def load(self, backbone: Backbone, folder: Path) -> nn.Module:
        path = folder / "adapter_model.safetensors"
        kept = path.read_bytes()
        lost = json.loads((folder.parent / "lost.json").read_text())
        tensors = load_file(path)
        try:
            self._rewrite(path, {**tensors, lost["name"]: torch.zeros(lost["shape"])}, lost["name"], None)
            return super().load(backbone, folder)
        finally:
            path.write_bytes(kept)

    def _rewrite(self, path: Path, tensors: dict[str, Tensor], name: str, lost: Tensor | None) -> None:
        from safetensors import safe_open

        with safe_open(path, "pt") as file:
            metadata = file.metadata()
        save_file(tensors, path, metadata=metadata)
        if lost is not None:
            text = json.dumps({"name": name, "shape": list(lost.shape)})
            (path.parent.parent / "lost.json").write_text(text, encoding="utf-8")


class SavesPickle(Sound):
    """Leaves a pickle beside the safetensors."""

    def save(self, model: nn.Module, backbone: Backbone, folder: Path) -> None:
        super().save(model, backbone, folder)
        torch.save({}, folder / "extra.pt")


class LoadsAnything(Sound):
    """Takes whatever tensors the file holds."""

    def load(self, backbone: Backbone, folder: Path) -> nn.Module:
        model = self.attach(backbone)
        with torch.no_grad():
            for name, tensor in load_file(folder / "adapter_model.safetensors").items():
                inside = name.replace(".weight", ".default.weight")
                own = dict(model.named_parameters()).get(inside)
                if own is not None and own.shape == tensor.shape:
                    own.copy_(tensor)
        return model


class UnknownToPeft(Sound):
    """Writes a configuration that stock peft reads otherwise than meant."""

    def save(self, model: nn.Module, backbone: Backbone, folder: Path) -> None:
        super().save(model, backbone, folder)
        path = folder / "adapter_config.json"
        config = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps({**config, "note_alpha": config["lora_alpha"], "lora_alpha": 1.0}), encoding="utf-8")

    def load(self, backbone: Backbone, folder: Path) -> nn.Module:
        path = folder / "adapter_config.json"
        kept = path.read_text(encoding="utf-8")
        config = json.loads(kept)
        alpha = config.pop("note_alpha")
        try:
            path.write_text(json.dumps({**config, "lora_alpha": alpha}), encoding="utf-8")
            return super().load(backbone, folder)
        finally:
            path.write_text(kept, encoding="utf-8")


class NotSeeded(Sound):
    """Draws from a generator of its own."""

    def attach(self, backbone: Backbone) -> nn.Module:
        model = super().attach(backbone)
        generator = torch.Generator()
        generator.seed()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_A" in name:
                    parameter.add_(0.01 * torch.randn(parameter.shape, generator=generator))
        return model


class LearnsNothing(Sound):
    """Takes every step back."""

    def after_step(self, model: nn.Module, step: int, total_steps: int) -> None:
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_B" in name:
                    parameter.zero_()


class MergesWrongly(Sound):
    """Drops the adapter instead of folding it in."""

    def merge(self, model: nn.Module, backbone: Backbone) -> nn.Module:
        backbone.detach()
        return backbone.model


class MergesInSilence(Sound):
    """Says that it cannot be merged and merges."""

    capabilities = replace(Lora.capabilities, mergeable=False)

    def merge(self, model: nn.Module, backbone: Backbone) -> nn.Module:
        return backbone.model


class RefusesWhatWorks(Sound):
    """Says that it does not work in encoders."""

    capabilities = replace(Lora.capabilities, encoder=False)


class AttachRaises(RefusesWhatWorks):
    """Says so and raises; plain peft with its configuration works all the same."""

    def attach(self, backbone: Backbone) -> nn.Module:
        raise RuntimeError("no")


class Impossible(AttachRaises):
    """Says so and is right: its configuration does not work in plain peft either."""

    def peft_config(self, backbone: Backbone) -> Any:
        raise RuntimeError("no")


class MixesWithoutItsScale(Sound):
    """Forgets the factor alpha / rank in mixed batches."""

    def batched(self, backbone: Backbone) -> LowRank:
        def factors(saved: SavedTensors, _base: Backbone) -> dict[str, tuple[Tensor, ...]]:
            return saved_by_site(saved, "lora_A.weight", "lora_B.weight")

        return LowRank(factors)


class MixesHalfOfItself(Sound):
    """Has no site for half of its tensors."""

    def batched(self, backbone: Backbone) -> LowRank:
        def factors(saved: SavedTensors, base: Backbone) -> dict[str, tuple[Tensor, Tensor]]:
            kept = sorted(saved)[len(saved) // 2 :]
            return self._factors(SavedTensors({name: saved[name] for name in kept}), base)

        return LowRank(factors)


class MixesNothing(Sound):
    """Has a form that leaves every row as it is."""

    def batched(self, backbone: Backbone) -> LowRank:
        class Idle(LowRank):
            def behind(self, inputs: Tensor, output: Tensor, slot: Mapping[str, Tensor]) -> Tensor:
                return output

        return Idle(self._factors)

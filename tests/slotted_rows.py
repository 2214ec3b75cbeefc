"""Rows with adapters of their own in one pass, by hooks: the least that the forms of mixed batches need to be run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from llmrec_peft import registry
from llmrec_peft.backbone.batched import BatchedForm, Slot, filled
from llmrec_peft.backbone.load import Backbone
from llmrec_peft.options import validated

TEXTS = (
    "A short one.",
    "The probe sent pictures of a distant moon, and nobody on the ground believed them.",
    "Fry the onions until they are golden.",
    "Lemon and butter go well with trout, and with little else.",
)
SPREAD = 0.15


@dataclass
class SavedAdapter:
    """An adapter's method and folder, and what its form makes of the file."""

    method: Any
    folder: Path
    form: BatchedForm
    slots: dict[str, Slot]


def make_method(name: str, options: Mapping[str, Any]) -> Any:
    """Return a registered method with options."""
    method = registry.get("adapters", name)
    return method(validated(method.Config, dict(options), "adapter"))


def saved_adapter(backbone: Backbone, method: Any, folder: Path, seed: int) -> SavedAdapter:
    """Attach an adapter, move its parameters by random numbers, save it, and fill its slots from the file."""
    folder.mkdir()
    torch.manual_seed(seed)
    try:
        model = method.attach(backbone)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn_like(parameter) * SPREAD)
                if "lora_E" in name:  # AdaLoRA's singular values: unlike numbers of them are pruned
                    parameter[: int(torch.randint(0, len(parameter), ()))] = 0.0
        method.save(model, backbone, folder)
    finally:
        backbone.detach()
    form = method.batched(backbone)
    tensors = load_file(folder / "adapter_model.safetensors")
    return SavedAdapter(method, folder, form, filled(form, tensors, backbone, str(folder)))


def tokens_of(backbone: Backbone) -> list[list[int]]:
    """Return the token ids of the texts, of unequal lengths."""
    return backbone.tokenize(list(TEXTS), 32)


def alone(backbone: Backbone, adapter: SavedAdapter | None, ids: list[int]) -> Tensor:
    """Return the states of one text by the usual way: loaded, unpadded, in a pass of its own."""
    try:
        model = backbone.model if adapter is None else adapter.method.load(backbone, adapter.folder).eval()
        return states_of(model, torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.long))[0]
    finally:
        backbone.detach()


def together(backbone: Backbone, rows: Sequence[SavedAdapter | None], ids: Sequence[list[int]]) -> list[Tensor]:
    """Return the states of texts in one padded pass, each row changed by its adapter's slots.

    Args:
        backbone: The bare base.
        rows: The adapter of each row; None for the base alone.
        ids: Token ids of each row.
    """
    modules = dict(backbone.model.named_modules())
    read: dict[str, Tensor] = {}
    hooks = []
    adapters = [adapter for adapter in rows if adapter is not None]
    sites = dict.fromkeys(site for adapter in adapters for site in adapter.slots)
    sources = {slot.reads or site for adapter in adapters for site, slot in adapter.slots.items()}

    def remember(name: str) -> Any:
        def hook(_module: nn.Module, args: tuple[Any, ...]) -> None:
            read[name] = args[0]

        return hook

    def before(site: str) -> Any:
        def hook(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            inputs = args[0].clone()
            for form, at, slot, _ in groups(site):
                inputs[at] = form.before(inputs[at], slot)
            return (inputs, *args[1:])

        return hook

    def behind(site: str) -> Any:
        def hook(_module: nn.Module, _args: Any, output: Tensor) -> Tensor:
            changed = output.clone()
            for form, at, slot, reads in groups(site):
                changed[at] = form.behind(read[reads][at], output[at], slot)
            return changed

        return hook

    def groups(site: str) -> list[tuple[BatchedForm, Tensor, dict[str, Tensor], str]]:
        """Return the rows with a slot at a site, by key, with their padded tensors."""
        by_key: dict[Any, list[int]] = {}
        for at, adapter in enumerate(rows):
            if adapter is not None and site in adapter.slots:
                by_key.setdefault((adapter.form.key, adapter.slots[site].reads), []).append(at)
        found = []
        for (_, reads), at in by_key.items():
            some = [adapter for adapter in (rows[row] for row in at) if adapter is not None]
            form, slots = some[0].form, [adapter.slots[site].tensors for adapter in some]
            stacked = {name: _stacked([slot[name] for slot in slots], name in form.ragged) for name in slots[0]}
            found.append((form, torch.tensor(at), stacked, reads or site))
        return found

    try:
        for name in sources:
            hooks.append(modules[name].register_forward_pre_hook(remember(name)))
        for site in sites:
            hooks.append(modules[site].register_forward_pre_hook(before(site)))
            hooks.append(modules[site].register_forward_hook(behind(site)))
        longest = max(map(len, ids))
        padded = torch.tensor([[*row, *[backbone.pad_id] * (longest - len(row))] for row in ids])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids])
        states = states_of(backbone.model, padded, mask)
    finally:
        for hook in hooks:
            hook.remove()
    return [one[: len(row)] for one, row in zip(states, ids, strict=True)]


def _stacked(tensors: Sequence[Tensor], ragged: bool) -> Tensor:
    """Stack tensors, padded with zeros along their first axis if they are ragged."""
    if ragged:
        longest = max(map(len, tensors))
        tensors = [torch.cat([one, one.new_zeros(longest - len(one), *one.shape[1:])]) for one in tensors]
    return torch.stack(list(tensors))


@torch.no_grad()
def states_of(model: Any, ids: Tensor, mask: Tensor) -> Tensor:
    """Return a model's last states of tokens [rows, length], float32 [rows, length, width]."""
    states: Tensor = model(input_ids=ids, attention_mask=mask).last_hidden_state
    return states.float()

"""Rows by forms: a small runner of mixed batches for the tests of forms, by hooks on a bare model's modules."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from llmrec_peft.backbone.batched import BatchedForm, Slot, filled
from llmrec_peft.backbone.load import Backbone

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
    def alone(self, backbone: Backbone, text: Sequence[int]) -> Tensor:
        """Return states of one text, unpadded, by the adapter attached in the usual way: [tokens, width]."""
        backbone.detach()
        model = self.method.load(backbone, self.folder).eval()
        states: Tensor = model(**padded([text])).last_hidden_state[0]
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
def mixed(backbone: Backbone, rows: Sequence[tuple[BatchedForm, dict[str, Slot]]], texts: Any = TEXTS) -> list[Tensor]:
    """Return states of texts in one pass, each row changed by the slots beside it: [tokens, width] a text."""
    backbone.detach()
    with _hooks(backbone, rows):
        states = backbone.model(**padded(texts)).last_hidden_state
    return [state[: len(text)] for state, text in zip(states, texts, strict=True)]


def drift(found: Tensor, expected: Tensor) -> float:
    """Return ‖found − expected‖ / ‖expected‖, both finite."""
    assert found.isfinite().all()
    assert expected.isfinite().all()
    return float((found.float() - expected.float()).norm() / expected.float().norm())


@contextlib.contextmanager
def _hooks(backbone: Backbone, rows: Sequence[tuple[BatchedForm, dict[str, Slot]]]) -> Iterator[None]:
    """Change rows inside the block: at each site those of one key together."""
    read: dict[str, Tensor] = {}
    handles = []

    def catch(name: str) -> Any:
        return lambda _module, args: read.update({name: args[0].clone()})

    def before(site: str) -> Any:
        def hook(_module: Any, args: Any) -> Any:
            changed = args[0].clone()
            for form, chosen, slot, _ in groups(site):
                changed[chosen] = form.before(args[0][chosen], slot)
            return (changed, *args[1:])

        return hook

    def behind(site: str) -> Any:
        def hook(_module: Any, _args: Any, output: Tensor) -> Tensor:
            changed = output.clone()
            for form, chosen, slot, source in groups(site):
                changed[chosen] = form.behind(read[source][chosen], output[chosen], slot)
            return changed

        return hook

    def groups(site: str) -> Iterator[tuple[BatchedForm, list[int], dict[str, Tensor], str]]:
        found: dict[Any, list[int]] = {}
        for at, (form, slots) in enumerate(rows):
            if site in slots:
                found.setdefault(form.key, []).append(at)
        for chosen in found.values():
            form, slots = rows[chosen[0]]
            slots_of_rows = [rows[at][1][site] for at in chosen]
            names = slots[site].tensors
            assert all(slot.tensors.keys() == names.keys() for slot in slots_of_rows)
            gathered = {n: _stacked([s.tensors[n] for s in slots_of_rows], n in form.ragged) for n in names}
            yield form, chosen, gathered, slots[site].reads or site

    sites = {site for _, slots in rows for site in slots}
    sources = sites | {slot.reads for _, slots in rows for slot in slots.values() if slot.reads}
    try:
        for name in sources:
            handles.append(backbone.model.get_submodule(name).register_forward_pre_hook(catch(name)))
        for site in sites:
            module = backbone.model.get_submodule(site)
            handles += [module.register_forward_pre_hook(before(site)), module.register_forward_hook(behind(site))]
        yield
    finally:
        for handle in handles:
            handle.remove()


def _stacked(tensors: list[Tensor], ragged: bool) -> Tensor:
    if ragged:
        longest = max(map(len, tensors))
        tensors = [torch.cat([t, t.new_zeros(longest - len(t), *t.shape[1:])]) for t in tensors]
    return torch.stack(tensors)

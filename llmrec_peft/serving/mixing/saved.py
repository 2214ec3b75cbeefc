"""A saved adapter as what it fills a slot with: checked by its method, then read by its form."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec_peft.backbone.batched import MODEL, BatchedForm, Slot, filled
from llmrec_peft.backbone.tensor_files import read_tensors
from llmrec_peft.backbone.through_peft.files import WEIGHTS
from llmrec_peft.serving.mixing.front_probe import front_refusal

if TYPE_CHECKING:
    from llmrec_peft.backbone.adapter import AdapterMethod
    from llmrec_peft.backbone.load import Backbone


def grouped_because(method: AdapterMethod[Any], backbone: Backbone) -> str | None:
    """Return why rows of a method's adapters are run in passes of their own; None if they share passes.

    On a base in int8 all are: bitsandbytes finds the outlier columns of a pass in all of its rows together, so that a
    tenant's vector would depend on other tenants' texts and adapters. 1 - cosine with the single run was up to 0.0027
    on MiniLM, for rows without any adapter too.

    Args:
        method: The method with the adapter's options.
        backbone: The bare base.
    """
    if backbone.identity.quantization == "int8":
        return "in int8 a row's vector depends on all rows of its pass"
    form = method.batched(backbone)
    if form is None:
        return method.grouped_because
    return None if form.front is None else front_refusal(backbone, form.front)


def mixed_form(method: AdapterMethod[Any], backbone: Backbone) -> BatchedForm | None:
    """Return the form by which rows of a method's adapters share a pass; None if they are run in passes of their own.

    Args:
        method: The method with the adapter's options.
        backbone: The bare base.
    """
    return None if grouped_because(method, backbone) is not None else method.batched(backbone)


def read_slots(
    method: AdapterMethod[Any], form: BatchedForm, folder: Path, backbone: Backbone, where: str, checked: bool = False
) -> dict[str, Slot]:
    """Return what a saved adapter fills a slot with, by site.

    The method itself loads the adapter once, so that its configuration, names, shapes and numbers are checked as for a
    single run; then the base is bare again. This takes most of the time (LoRA on MiniLM's query and value: 100 of
    108 ms), and the same bytes need it once.

    Args:
        method: The method with the adapter's options.
        form: Its form.
        folder: Folder of the two files, which nobody else can change.
        backbone: The bare base.
        where: The adapter's name in messages.
        checked: Whether the method has loaded the same bytes on this base before.

    Raises:
        InputError: If the files do not fit the base or the options, or a tensor finds no site.
    """
    if not checked:
        try:
            method.load(backbone, folder)
        finally:
            backbone.detach()
    path = folder / WEIGHTS
    tensors = {name: tensor.to(backbone.device) for name, tensor in read_tensors(path).items()} if path.exists() else {}
    slots = filled(form, tensors, backbone, where)
    if form.front is None and MODEL in slots:
        raise ValueError(f"{where}: its form has a slot for the whole model, but nothing that stands before a text")
    return slots

"""AdapterStart: the trained parts of an adapter in a folder, with which another training's adapter begins."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from llmrec_peft import registry
from llmrec_peft.backbone.shared import APART
from llmrec_peft.backbone.through_peft.files import CONFIG, WEIGHTS
from llmrec_peft.errors import InputError
from llmrec_peft.identity import file_digest, values_digest
from llmrec_peft.printable import shown
from llmrec_peft.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from llmrec_peft.backbone.load import Backbone


def start_digest(folder: Path) -> str:
    """Return the digest of an adapter's two files.

    Raises:
        InputError: If one is not there.
    """
    missing = [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise InputError(f"{shown(folder)} holds no adapter to begin with: {missing[0]} is missing")
    return values_digest([file_digest(folder / name) for name in (CONFIG, WEIGHTS)])


def start_tensors(folder: Path, bare: Backbone, recipe: Recipe, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the values with which an adapter's trained parameters begin.

    Args:
        folder: Folder of the adapter's two files.
        bare: The base without an adapter, with a module tree of its own: the adapter stays inside.
        recipe: Recipe of the training, whose method and options the files have to name.
        own: The training's own trained parameters, by their names in the encoder.

    Raises:
        InputError: If the adapter is another's, of another base, or has other parameters.
    """
    if bare.identity.quantization == APART:
        raise InputError(f"{shown(folder)}: no training begins with an adapter on a base in {APART}")
    method = registry.get("adapters", recipe.adapter.method)(recipe.adapter.config)
    loaded = method.load(bare, folder)
    found = {f"model.{name}": one.detach() for name, one in loaded.named_parameters() if one.requires_grad}
    if {name: one.shape for name, one in found.items()} != {name: one.shape for name, one in own.items()}:
        raise InputError(f"{shown(folder)}: its adapter has other parameters than the one to be trained")
    return {name: found[name].to(one.dtype).clone() for name, one in own.items()}

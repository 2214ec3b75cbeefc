"""The two files of an adapter in PEFT's layout: written with the base's hash, read with every field checked."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec_peft.backbone.tensor_files import read_stored, read_tensors, require_numbers, require_tensors, write_tensors
from llmrec_peft.backbone.tensor_header import Header
from llmrec_peft.backbone.through_peft.indices import DTYPE as INDICES
from llmrec_peft.backbone.through_peft.indices import are_indices
from llmrec_peft.backbone.through_peft.stored_config import CONFIG, Learned, json_text, read_config
from llmrec_peft.errors import InputError
from llmrec_peft.options import Options
from llmrec_peft.strict_json import parse_json

if TYPE_CHECKING:
    from torch import Tensor

    from llmrec_peft.backbone.load import Backbone

__all__ = [
    "BASE",
    "CONFIG",
    "WEIGHTS",
    "read_adapter",
    "read_weights",
    "require_tensors",
    "require_weights",
    "write_adapter",
]

WEIGHTS = "adapter_model.safetensors"
BASE = "llmrec_base"
"""Key of the safetensors metadata with the base's identity; stock PEFT ignores it."""
LARGEST = 65_504.0
"""Largest number of an adapter, by magnitude: that of half precision, in which no larger one could be served."""
_DTYPES = ("F32", "F16", "BF16")
_WHAT = "adapter tensor"


def write_adapter(folder: Path, backbone: Backbone, config: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Write ``adapter_config.json`` and ``adapter_model.safetensors``.

    The base is recorded by Hub id and commit, never by a local path, and by the hash of its weights in the header of
    the tensors' file.

    Args:
        folder: Folder to write to.
        backbone: The base that the adapter was trained on.
        config: Fields of PEFT's configuration; the base's name and revision are filled in.
        tensors: The adapter's tensors by PEFT's names.

    Raises:
        InputError: If one of them holds NaN, infinity or a number above `LARGEST`, so that no file is written that
            could not be read.
    """
    for name, tensor in tensors.items():
        if not _largest(tensor) <= LARGEST:
            raise InputError(
                f"{_WHAT} {name} holds {_largest(tensor):.3g}: training went astray;"
                " a lower training.adapter.learning_rate, or a lower scale of the adapter, keeps it finite"
            )
    named = {
        **config,
        "base_model_name_or_path": backbone.identity.name,
        "revision": backbone.identity.revision,
    }
    (folder / CONFIG).write_text(json_text(named) + "\n", encoding="utf-8")
    metadata = {"format": "pt", BASE: json.dumps(backbone.identity.plain(), sort_keys=True)}
    write_tensors(folder / WEIGHTS, tensors, metadata)


def read_adapter(
    folder: Path,
    backbone: Backbone,
    config: Mapping[str, Any],
    own: Mapping[str, Tensor],
    learned: type[Options] = Learned,
) -> tuple[Options, dict[str, Tensor]]:
    """Read and check the two files of a method that makes its own modules without PEFT.

    Args:
        folder: Folder of the files.
        backbone: The base that the adapter will be attached to.
        config: The fields that the method would write to ``adapter_config.json`` for its options; the file has to say
            the same.
        own: Tensors of the method's fresh modules by name; the file has to have these, in these shapes.
        learned: Fields of the configuration that training decides and no option: they may differ within their bounds.

    Returns:
        The fields of `learned`, and the tensors by name.

    Raises:
        InputError: Naming the field or tensor that is wrong.
    """
    found = read_config(folder, backbone, config, learned)
    require_weights(folder, backbone)
    return found, read_weights(folder, own)


def require_weights(folder: Path, backbone: Backbone, indices: str | None = None) -> None:
    """Refuse weights that are not there, are pickled, of another base, or no floating numbers; reads the header alone.

    Args:
        folder: Folder of the file.
        backbone: The base.
        indices: End of the names of tensors that hold indices, int32, and no floating numbers.

    Raises:
        InputError: If they are.
    """
    path = folder / WEIGHTS
    if not path.exists():
        pickles = sorted(p.name for p in folder.glob("adapter_model.*") if p.suffix in (".bin", ".pt", ".pth", ".pkl"))
        hint = f" (pickled weights are not loaded: {', '.join(pickles)})" if pickles else ""
        raise InputError(f"{folder} holds no {WEIGHTS}{hint}")
    header = read_stored(path)
    _require_base(path, header, backbone)
    for name, stored in header.tensors.items():
        allowed = (INDICES,) if are_indices(name, indices) else _DTYPES
        if stored.dtype not in allowed:
            raise InputError(f"{folder}: {_WHAT} {name!r} holds {stored.dtype}, not numbers of {', '.join(allowed)}")


def read_weights(folder: Path, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Read the adapter's tensors, whose names and shapes have to be those of `own`.

    Indices are held against the weights that they point into by `require_indices`.

    Raises:
        InputError: Naming the tensor that is missing, unknown, of another shape, not finite, or above `LARGEST`.
    """
    tensors = read_tensors(folder / WEIGHTS, own, _WHAT)
    require_numbers(folder, own, tensors, _WHAT)
    for name, tensor in tensors.items():
        largest = _largest(tensor)
        if largest > LARGEST:
            raise InputError(
                f"{folder}: {_WHAT} {name} holds {largest:.3g}, above the {LARGEST:,.0f} of half precision"
            )
    return tensors


def _largest(tensor: Tensor) -> float:
    """Return the largest magnitude of floating numbers, NaN if there is one; 0 for indices."""
    return float(tensor.detach().abs().max()) if tensor.numel() and tensor.is_floating_point() else 0.0


def _require_base(path: Path, header: Header, backbone: Backbone) -> None:
    try:
        digest = parse_json(header.texts.get(BASE, "{}").encode(), str(path)).get("weights_sha256")
    except (InputError, AttributeError, UnicodeError):
        digest = None
    identity = backbone.identity
    if not isinstance(digest, str) or not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise InputError(f"{path}: names no base model by hash (metadata {BASE!r}), so it cannot be verified")
    if digest != identity.weights_sha256:
        raise InputError(
            f"{path}: was trained on a base with weights {digest[:12]}…, not {identity.weights_sha256[:12]}…"
        )

"""The two files of an adapter in PEFT's layout: written with the base's hash, read with every field checked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec_peft.backbone.tensor_files import read_tensors, write_tensors
from llmrec_peft.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from llmrec_peft.backbone.load import Backbone

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
BASE = "llmrec_base"
"""Key of the safetensors metadata with the base's identity; stock PEFT ignores it."""


def write_adapter(folder: Path, backbone: Backbone, config: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Write ``adapter_config.json`` and ``adapter_model.safetensors``.

    The base is recorded by Hub id and commit, never by a local path, and by the hash of its weights in the header of
    the tensors' file.

    Args:
        folder: Folder to write to.
        backbone: The base that the adapter was trained on.
        config: Fields of PEFT's configuration; the base's name and revision are filled in.
        tensors: The adapter's tensors by PEFT's names.
    """
    named = {
        **config,
        "base_model_name_or_path": backbone.identity.name,
        "revision": backbone.identity.revision,
    }
    text = json.dumps(named, indent=2, sort_keys=True, default=_listed)
    (folder / CONFIG).write_text(text + "\n", encoding="utf-8")
    metadata = {"format": "pt", BASE: json.dumps(backbone.identity.plain(), sort_keys=True)}
    write_tensors(folder / WEIGHTS, tensors, metadata)


def read_adapter(
    folder: Path, backbone: Backbone, peft_types: Sequence[str]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read and check the two files before anything is attached.

    Args:
        folder: Folder of the files.
        backbone: The base that the adapter will be attached to.
        peft_types: Values of ``peft_type`` that the method accepts.

    Returns:
        The configuration's fields, and the tensors by PEFT's names.

    Raises:
        InputError: Naming the field or tensor that is wrong.
    """
    config = _read_config(folder, peft_types)
    path = folder / WEIGHTS
    if not path.is_file():
        pickles = sorted(p.name for p in folder.glob("adapter_model.*") if p.suffix in (".bin", ".pt", ".pth", ".pkl"))
        hint = f" (pickled weights are not loaded: {', '.join(pickles)})" if pickles else ""
        raise InputError(f"{folder} holds no {WEIGHTS}{hint}")
    tensors = read_tensors(path)
    _require_base(path, config, backbone)
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise InputError(f"{folder}: adapter tensor {name} holds {tensor.dtype}, not numbers to compute with")
        if not bool(tensor.isfinite().all()):
            raise InputError(f"{folder}: adapter tensor {name} holds NaN or infinity")
    return config, tensors


def require_tensors(folder: Path, own: dict[str, Tensor], read: dict[str, Tensor]) -> None:
    """Refuse tensors that are not exactly those of the attached modules.

    Args:
        folder: Folder that the tensors were read from, for the message.
        own: Tensors of the attached modules by name.
        read: Tensors that were read.

    Raises:
        InputError: Naming the one that is missing, unknown or of another shape.
    """
    for name in sorted(own.keys() ^ read.keys()):
        raise InputError(f"{folder}: adapter tensor {name} is {'missing' if name in own else 'unknown'}")
    for name, tensor in read.items():
        if tensor.shape != own[name].shape:
            raise InputError(
                f"{folder}: adapter tensor {name} has shape {list(tensor.shape)}, not {list(own[name].shape)}"
            )


def _read_config(folder: Path, peft_types: Sequence[str]) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: unreadable ({str(error).splitlines()[0]})") from None
    if not isinstance(config, dict):
        raise InputError(f"{path}: not an adapter's configuration")
    if config.get("peft_type") not in peft_types:
        raise InputError(f"{path}: peft_type is {config.get('peft_type')!r}, not {' or '.join(peft_types)}")
    return config


def _require_base(path: Path, config: dict[str, Any], backbone: Backbone) -> None:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
    try:
        base = json.loads(metadata.get(BASE, "{}"))
        digest = base.get("weights_sha256")
    except (ValueError, AttributeError):
        digest = None
    identity = backbone.identity
    if not digest:
        raise InputError(f"{path}: names no base model by hash (metadata {BASE!r}), so it cannot be verified")
    if digest != identity.weights_sha256:
        raise InputError(
            f"{path}: was trained on a base with weights {str(digest)[:12]}…, not {identity.weights_sha256[:12]}…"
        )
    if identity.revision is not None:
        for field, expected in (("base_model_name_or_path", identity.name), ("revision", identity.revision)):
            if config.get(field) != expected:
                raise InputError(f"{path.with_name(CONFIG)}: {field} is {config.get(field)!r}, not {expected!r}")


def _listed(value: Any) -> Any:
    """Return sets and enums as JSON has them."""
    if isinstance(value, set | frozenset):
        return sorted(value)
    return getattr(value, "value", None) or str(value)

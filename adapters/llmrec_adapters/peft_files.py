"""Save and load what PEFT attached, in PEFT's own files, with the base model named and every tensor checked."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from llmrec_peft.artifact.tensors import read_tensors
from llmrec_peft.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from llmrec_peft.backbone.load import Backbone


def attach_peft(model: nn.Module, config: Any) -> nn.Module:
    """`peft.get_peft_model` without its notice about a name that transformers is about to change."""
    from peft import get_peft_model

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
        attached: nn.Module = get_peft_model(model, config)
    return attached


def save_peft(model: nn.Module, backbone: Backbone, folder: Path) -> None:
    """Write ``adapter_config.json`` and ``adapter_model.safetensors``.

    The base is recorded by Hub id and commit, never by a path of this machine: PEFT would write the folder
    that the weights were loaded from.
    """
    peft_model = cast(Any, model)
    for config in peft_model.peft_config.values():
        config.base_model_name_or_path = backbone.identity.name
        config.revision = backbone.identity.revision
    peft_model.save_pretrained(folder, safe_serialization=True, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)


def load_peft(backbone: Backbone, folder: Path) -> nn.Module:
    """Attach what `save_peft` wrote.

    Raises:
        InputError: When tensors are missing, unknown or of another shape.
    """
    from peft import PeftConfig, get_peft_model_state_dict, set_peft_model_state_dict

    config = PeftConfig.from_pretrained(folder)
    config.inference_mode = False
    config.base_model_name_or_path = None  # verified by digest; PEFT would warn that the folder has another name
    model = attach_peft(backbone.model, config)
    tensors = read_tensors(folder / "adapter_model.safetensors")
    own = get_peft_model_state_dict(model, save_embedding_layers=False)
    for name in sorted(own.keys() ^ tensors.keys()):
        raise InputError(f"{folder}: adapter tensor {name} is {'missing' if name in own else 'unknown'}")
    for name, tensor in tensors.items():
        if tensor.shape != own[name].shape:
            raise InputError(
                f"{folder}: adapter tensor {name} has shape {list(tensor.shape)}, not {list(own[name].shape)}"
            )
        if not bool(tensor.isfinite().all()):
            raise InputError(f"{folder}: adapter tensor {name} holds NaN or infinity")
    set_peft_model_state_dict(model, tensors)
    return model

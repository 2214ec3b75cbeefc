"""The file of a run folder from which a later training goes on: trained parts before they were folded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from llmrec_peft.backbone.tensor_bytes import tensors_in
from llmrec_peft.backbone.tensor_files import write_tensors
from llmrec_peft.errors import InputError
from llmrec_peft.run.signal_files import SIGNAL_NAMES, signal_names

if TYPE_CHECKING:
    from torch import Tensor

    from llmrec_peft.model import RecModel
    from llmrec_peft.model.warm_start import Names


def write_trained(path: Path, tensors: Mapping[str, Tensor], model: RecModel) -> None:
    """Write what a later training begins with.

    Args:
        path: The file.
        tensors: Result of `llmrec_peft.model.warm_start.trained_tensors`.
        model: The model that they are of, whose signals name what their rows stand for.
    """
    names = {name: named for name, signal in model.signals.items() if (named := signal.names())}
    write_tensors(path, dict(tensors), {SIGNAL_NAMES: json.dumps(names, ensure_ascii=False)})


def read_trained(path: Path, content: bytearray) -> tuple[dict[str, Tensor], Names]:
    """Read what `write_trained` wrote.

    Args:
        path: The file, for messages.
        content: Its bytes, verified.

    Returns:
        Tensors by name, and the signals' names of their rows.

    Raises:
        InputError: If it is no such file, or a number in it is not finite.
    """
    tensors, texts = tensors_in(content, path)
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise InputError(f"{path}: tensor {name} holds NaN or infinity")
    return tensors, signal_names(texts, path)

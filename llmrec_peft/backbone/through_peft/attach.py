"""Attach, save and load an adapter by `peft`; a failure leaves the base unchanged."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec_peft.backbone.through_peft.files import CONFIG, read_adapter, require_tensors, write_adapter
from llmrec_peft.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from llmrec_peft.backbone.load import Backbone

RANK_FIELDS = ("r", "init_r", "target_r")
"""Fields of PEFT's configurations that hold ranks."""


@contextmanager
def whole_or_bare(backbone: Backbone) -> Iterator[None]:
    """Restore the base if attaching fails inside the block."""
    try:
        yield
    except BaseException:
        backbone.detach()
        raise


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Hide PEFT's notices about intended settings from the terminal."""
    with warnings.catch_warnings():
        for message in (
            ".*is_gradient_checkpointing.*",
            ".*fan_in_fan_out is set to.*",
            ".*Adapter .default. was active which is now deleted.*",
            ".*invalid shape.*",
            ".*rank_pattern keys did not match.*",
            ".*may get different generations due to rounding errors.*",
        ):
            warnings.filterwarnings("ignore", message=message)
        yield


def attach_peft(model: nn.Module, config: Any) -> nn.Module:
    """Attach an adapter to a model by `peft.get_peft_model`, without PEFT's notices.

    On quantized weights PEFT's AdaLoRA (int8) and (IA)³ (nf4) layers return fp32 for a bf16 input, which the attention
    after them refuses; there every layer's output is cast back to its input's number format.

    Args:
        model: The frozen transformer.
        config: A `PeftConfig`.

    Returns:
        The `PeftModel`.
    """
    from peft import get_peft_model
    from peft.tuners.tuners_utils import BaseTunerLayer

    with quiet_peft():
        attached: nn.Module = get_peft_model(model, config)
    if getattr(model, "is_quantized", False):
        for module in attached.modules():
            if isinstance(module, BaseTunerLayer):
                module.register_forward_hook(_in_the_input_format)
    return attached


def save_peft(peft_model: Any, backbone: Backbone, folder: Path, **changed: Any) -> None:
    """Write the two files of an adapter attached by PEFT.

    Args:
        peft_model: The `PeftModel`.
        backbone: Its base.
        folder: Folder to write to.
        changed: Fields of the configuration that get another value in the file.
    """
    from peft import get_peft_model_state_dict

    tensors = get_peft_model_state_dict(peft_model, save_embedding_layers=False)
    config = {**peft_model.peft_config["default"].to_dict(), "inference_mode": True, **changed}
    write_adapter(folder, backbone, config, tensors)


def load_peft(
    backbone: Backbone, folder: Path, peft_types: Sequence[str], rank_fields: Sequence[str] = RANK_FIELDS
) -> nn.Module:
    """Attach what `save_peft` wrote; it is trainable, like a fresh adapter.

    Args:
        backbone: The base.
        folder: Folder of the two files.
        peft_types: Values of ``peft_type`` that the method accepts.
        rank_fields: Fields of the configuration that contain ranks; each must be 1 to 2 · width if it is there.

    Returns:
        The `PeftModel`.

    Raises:
        InputError: If a field or a tensor does not fit; the base stays unchanged.
    """
    from peft import get_peft_model_state_dict, set_peft_model_state_dict
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    plain, tensors = read_adapter(folder, backbone, peft_types)
    _require_ranks(folder, plain, rank_fields, backbone.width)
    with whole_or_bare(backbone):
        try:
            with quiet_peft():
                config = PEFT_TYPE_TO_CONFIG_MAPPING[plain["peft_type"]].from_peft_type(**plain)
                config.inference_mode = False
                config.base_model_name_or_path = None  # verified by hash; PEFT would warn about the folder's name
                model = attach_peft(backbone.model, config)
        except (ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
            raise InputError(f"{folder / CONFIG}: {str(error).strip().splitlines()[0]}") from error
        own = get_peft_model_state_dict(model, save_embedding_layers=False)
        require_tensors(folder, own, tensors)
        set_peft_model_state_dict(model, tensors)
    return model


def _in_the_input_format(_layer: Any, args: tuple[Any, ...], output: Any) -> Any:
    return output.to(args[0].dtype) if args and output.is_floating_point() and output.dtype != args[0].dtype else output


def _require_ranks(folder: Path, config: dict[str, Any], fields: Sequence[str], width: int) -> None:
    for field in fields:
        rank = config.get(field)
        if rank is None:
            continue
        if not isinstance(rank, int) or isinstance(rank, bool) or not 1 <= rank <= 2 * width:
            raise InputError(f"{folder / CONFIG}: {field} is {rank!r}, not a rank from 1 to {2 * width}")

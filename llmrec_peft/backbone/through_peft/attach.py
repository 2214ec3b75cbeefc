"""Attach, save and load an adapter by `peft`; a failure leaves the base unchanged, as does every file."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec_peft.backbone.through_peft.files import LARGEST, read_weights, require_weights, write_adapter
from llmrec_peft.backbone.through_peft.indices import require_indices
from llmrec_peft.backbone.through_peft.stored_config import CONFIG, Learned, plain_config, read_config
from llmrec_peft.errors import InputError
from llmrec_peft.options import Options

if TYPE_CHECKING:
    from peft import PeftConfig
    from torch import Tensor, nn

    from llmrec_peft.backbone.load import Backbone


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

    Raises:
        InputError: If a scale is not finite or too large.
    """
    from peft import get_peft_model
    from peft.tuners.tuners_utils import BaseTunerLayer

    with quiet_peft():
        attached: nn.Module = get_peft_model(model, config)
    _require_scales(attached)
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
    backbone: Backbone,
    folder: Path,
    config: PeftConfig,
    learned: type[Options] = Learned,
    attach: Callable[[nn.Module, PeftConfig], nn.Module] = attach_peft,
    indices: str | None = None,
) -> nn.Module:
    """Attach what `save_peft` wrote; it is trainable, like a fresh adapter.

    The modules are made from our own configuration, never from the file's, which has to say the same. Of the file only
    the fields of `learned` and the tensors are taken, the latter after their names and shapes were found to be exactly
    those of the modules, and none of them the base's own.

    Args:
        backbone: The base.
        folder: Folder of the two files.
        config: The configuration that the method saves for the recipe's options.
        learned: Fields of the configuration that training decides and no option; they are taken from the file.
        attach: Makes the modules in a model.
        indices: End of the names of tensors that hold indices, `PeftMethod.indices`.

    Returns:
        The `PeftModel`.

    Raises:
        InputError: If a field or a tensor does not fit; the base stays unchanged.
    """
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    found = read_config(folder, backbone, plain_config(config), learned)
    require_weights(folder, backbone, indices)
    _ = backbone.shapes  # of the bare model: they are read once
    for name in learned.model_fields:
        setattr(config, name, getattr(found, name))
    config.inference_mode = False
    config.base_model_name_or_path = None  # verified by hash; PEFT would warn about the folder's name
    # not its state_dict: that of a quantized layer is made for the occasion, and its memory is soon another tensor's
    of_base = _storages({**dict(backbone.model.named_parameters()), **dict(backbone.model.named_buffers())})
    with whole_or_bare(backbone):
        try:
            with quiet_peft():
                model = attach(backbone.model, config)
        except (ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
            raise InputError(f"{folder / CONFIG}: {str(error).strip().splitlines()[0]}") from error
        own = get_peft_model_state_dict(model, save_embedding_layers=False)
        for name, tensor in own.items():
            if _storages({name: tensor}) & of_base:
                raise InputError(f"{folder}: {name} is a tensor of the base, which an adapter may not write")
        tensors = read_weights(folder, own)
        if indices is not None:
            require_indices(folder, backbone, tensors, indices)
        set_peft_model_state_dict(model, tensors)
    return model


def _storages(tensors: Mapping[str, Tensor]) -> set[int]:
    """Return where the bytes of tensors lie."""
    return {tensor.untyped_storage().data_ptr() for tensor in tensors.values() if tensor.numel()}


def _in_the_input_format(_layer: Any, args: tuple[Any, ...], output: Any) -> Any:
    return output.to(args[0].dtype) if args and output.is_floating_point() and output.dtype != args[0].dtype else output


def _require_scales(attached: nn.Module) -> None:
    """Refuse a factor on an adapter's output that is not finite or beyond `LARGEST`: an answer would be none.

    Raises:
        InputError: Naming the layer.
    """
    for name, module in attached.named_modules():
        scales = getattr(module, "scaling", None)
        for scale in scales.values() if isinstance(scales, dict) else ():
            if not abs(float(scale)) <= LARGEST:
                raise InputError(f"adapter: the scale of {name} is {float(scale):.3g}, beyond {LARGEST:,.0f}")

"""The two files of an adapter, in PEFT's layout: written with the base named by hash, read with every field checked."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec_peft.artifact.tensors import read_tensors, write_tensors
from llmrec_peft.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from llmrec_peft.backbone.load import Backbone

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
BASE = "llmrec_base"
"""Key of the safetensors metadata that holds the base's identity; stock PEFT reads past it."""


def write_adapter(folder: Path, backbone: Backbone, config: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Write ``adapter_config.json`` and ``adapter_model.safetensors``.

    The base is recorded by Hub id and commit, never by a path that weights were loaded from, and by the hash
    of its weights in the header of the tensors' file.
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


def save_peft(peft_model: Any, backbone: Backbone, folder: Path, **changed: Any) -> None:
    """Write what PEFT attached.

    Args:
        peft_model: The `PeftModel`.
        backbone: Its base.
        folder: Where to.
        changed: Fields of the configuration to write otherwise.
    """
    from peft import get_peft_model_state_dict

    tensors = get_peft_model_state_dict(peft_model, save_embedding_layers=False)
    config = {**peft_model.peft_config["default"].to_dict(), "inference_mode": True, **changed}
    write_adapter(folder, backbone, config, tensors)


def read_adapter(
    folder: Path, backbone: Backbone, peft_types: Sequence[str]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read and check the two files before anything is attached.

    Args:
        folder: Where they lie.
        backbone: The base that they are to go into.
        peft_types: Values of ``peft_type`` that will do.

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


def require_tensors(folder: Path, own: dict[str, Tensor], found: dict[str, Tensor]) -> None:
    """Refuse tensors that are not exactly those of the attached modules.

    Raises:
        InputError: Naming the one that is missing, unknown or of another shape.
    """
    for name in sorted(own.keys() ^ found.keys()):
        raise InputError(f"{folder}: adapter tensor {name} is {'missing' if name in own else 'unknown'}")
    for name, tensor in found.items():
        if tensor.shape != own[name].shape:
            raise InputError(
                f"{folder}: adapter tensor {name} has shape {list(tensor.shape)}, not {list(own[name].shape)}"
            )


@contextmanager
def whole_or_bare(backbone: Backbone) -> Iterator[None]:
    """Inside the block something is attached; when that fails, the base is put back as it was."""
    try:
        yield
    except BaseException:
        backbone.detach()
        raise


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Keep PEFT's notices about things that were decided on purpose off the terminal."""
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
    """`peft.get_peft_model` without its notices, and with layers that answer in the number format they were asked in.

    On quantized weights PEFT's AdaLoRA (int8) and (IA)³ (nf4) layers answer a bf16 input in fp32, which the
    attention behind them refuses.
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


def load_peft(backbone: Backbone, folder: Path, peft_types: Sequence[str]) -> nn.Module:
    """Attach what `save_peft` wrote; trainable, as a fresh adapter is.

    Raises:
        InputError: When a field or a tensor does not fit; the base stays as it was.
    """
    from peft import get_peft_model_state_dict, set_peft_model_state_dict
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    plain, tensors = read_adapter(folder, backbone, peft_types)
    _require_ranks(folder, plain, backbone.width)
    with whole_or_bare(backbone):
        try:
            with quiet_peft():
                config = PEFT_TYPE_TO_CONFIG_MAPPING[plain["peft_type"]].from_peft_type(**plain)
                config.inference_mode = False
                config.base_model_name_or_path = None  # verified by hash; PEFT would warn of the folder's name
                model = attach_peft(backbone.model, config)
        except (ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
            raise InputError(f"{folder / CONFIG}: {str(error).strip().splitlines()[0]}") from error
        own = get_peft_model_state_dict(model, save_embedding_layers=False)
        require_tensors(folder, own, tensors)
        set_peft_model_state_dict(model, tensors)
    return model


def _in_the_input_format(_layer: Any, args: tuple[Any, ...], output: Any) -> Any:
    return output.to(args[0].dtype) if args and output.is_floating_point() and output.dtype != args[0].dtype else output


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


def _require_ranks(folder: Path, config: dict[str, Any], width: int) -> None:
    for field in ("r", "init_r", "target_r"):
        rank = config.get(field)
        if rank is None or (field == "r" and config["peft_type"] == "OFT"):  # there it is a number of blocks
            continue
        if not isinstance(rank, int) or isinstance(rank, bool) or not 1 <= rank <= 2 * width:
            raise InputError(f"{folder / CONFIG}: {field} is {rank!r}, not a rank from 1 to {2 * width}")


def _listed(value: Any) -> Any:
    """Sets and enums as JSON has them."""
    if isinstance(value, set | frozenset):
        return sorted(value)
    return getattr(value, "value", None) or str(value)

"""Complete: a model is loaded only if every one of its tensors comes from its files."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec_peft.errors import InputError

if TYPE_CHECKING:
    from torch import nn

_UNUSED = "pooler."
"""What a bare model computes leaves the pooler out; where a model cannot be made without, it is never read."""
_DEEPEST = 1024
"""Layers, at most; the deepest published models have about 130."""
_LARGEST_PRODUCT = 200_000
"""Layers times any other number of parts, at most: each part may be a module that is made."""
_PARTS = re.compile(r"(heads?|layers?|groups?|experts?|blocks|stages|group_num)$")
"""Fields of a configuration that count parts."""
_SPARE = 1 << 24
"""Numbers that a model may hold beyond four times those in its files: buffers that are computed, 4-bit weights."""


def load_complete(auto: Any, folder: Path, name: str, **options: Any) -> Any:
    """Load a model by one of transformers' Auto classes and refuse one that is not wholly in its files.

    transformers completes a model with random numbers and only logs it; two loads then answer differently.

    Args:
        auto: `AutoModel` or one of its kin.
        folder: Folder of the model, or of its GGUF file.
        name: Name of the model, for messages.
        options: Further arguments of ``from_pretrained``.

    Raises:
        InputError: If tensors are missing, have other shapes, or belong to modules that have no place for them.
    """
    model, report = auto.from_pretrained(folder, output_loading_info=True, ignore_mismatched_sizes=True, **options)
    require_complete(model, report, name)
    return model


def require_complete(model: nn.Module, report: Any, name: str) -> None:
    """Refuse a model by the report of its loading.

    Args:
        model: The loaded model.
        report: Names that transformers returns with ``output_loading_info``.
        name: Name of the model, for messages.

    Raises:
        InputError: Naming the number of tensors that are wrong and the first of them.
    """
    if getattr(model, "_hf_peft_config_loaded", False):
        raise InputError(f"backbone {name}: an adapter beside its weights was attached")
    unexpected = sorted(report["unexpected_keys"])
    missing = sorted(key for key in report["missing_keys"] if not key.startswith(_UNUSED))
    if missing:
        total = len(model.state_dict())
        raise InputError(
            f"backbone {name}: {len(missing)} of the model's {total} tensors are not in its files and would be random"
            f" numbers; the first is {missing[0]}{_kept_as(missing[0], unexpected)}"
        )
    for key, found, asked in sorted(report["mismatched_keys"]):
        raise InputError(
            f"backbone {name}: {len(report['mismatched_keys'])} tensor(s) have another shape in the files than"
            f" config.json asks for; the first is {key}: {list(found)}, not {list(asked)}"
        )
    errors = list(report.get("error_msgs") or ())
    if errors:
        raise InputError(f"backbone {name}: its weights could not be loaded: {str(errors[0]).strip().splitlines()[0]}")
    ignored = _ignored(model, unexpected)
    if ignored:
        raise InputError(
            f"backbone {name}: {len(ignored)} tensor(s) of its files belong to modules that, by config.json, have no"
            f" place for them; the first is {ignored[0]}"
        )


def require_sizes(model: nn.Module, stored: int, name: str) -> None:
    """Refuse a model, made on the meta device, that is much larger than its files, before memory is taken for it.

    Args:
        model: The model that the configuration asks for.
        stored: Numbers in its weight files.
        name: Name of the model, for messages.

    Raises:
        InputError: If its configuration asks for more than four times the numbers that the files hold.
    """
    asked = sum(tensor.numel() for tensor in (*model.parameters(), *model.buffers()))
    if asked > 4 * stored + _SPARE:
        raise InputError(
            f"backbone {name}: config.json asks for a model of {asked:,} numbers, its files hold {stored:,}: they are"
            " not of one model"
        )


def require_parts(config: Mapping[str, Any], depth: int, tensors: int | None, name: str) -> None:
    """Refuse a configuration that asks for more layers or parts than its files can fill, before one is made.

    Args:
        config: Parsed ``config.json``.
        depth: Number of layers by it.
        tensors: Number of tensors in its weight files; None where they are not read.
        name: Name of the model, for messages.

    Raises:
        InputError: Naming the field.
    """
    most = _DEEPEST if tensors is None else min(tensors, _DEEPEST)
    if not 0 < depth <= most:
        raise InputError(
            f"backbone {name}: config.json asks for {depth:,} layers, its files could fill {most:,} at most"
        )
    for field, value in config.items():
        if _PARTS.search(field) and isinstance(value, int) and not 0 <= value * depth <= _LARGEST_PRODUCT:
            raise InputError(
                f"backbone {name}: config.json: {field} is {value:,}, which no model of {depth} layers has"
            )


def _ignored(model: nn.Module, unexpected: Collection[str]) -> list[str]:
    """Return the names of tensors in files whose module is in the model and has parameters, but not this one."""
    modules = {path for path, module in model.named_modules() if module._parameters}
    prefix = f"{getattr(model, 'base_model_prefix', '')}."
    return [key for key in unexpected if key.removeprefix(prefix).rpartition(".")[0] in modules]


def _kept_as(missing: str, unexpected: Collection[str]) -> str:
    """Say under which longer name the files hold a tensor, as a wrapper saves it."""
    longer = [key for key in unexpected if key.endswith(f".{missing}")]
    return f" (the files call it {longer[0]}: save the model without its wrapper)" if longer else ""

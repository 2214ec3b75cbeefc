"""Base weights: the safetensors files of a base model, what they hold, and their digest."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path

from llmrec_peft.backbone.base_files import content_digest, read_config, require_base_file
from llmrec_peft.backbone.remembered import remembered
from llmrec_peft.errors import InputError, reason_of
from llmrec_peft.identity import files_digest

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
_SHARD = re.compile(r"^model-\d+-of-\d+\.safetensors$")
LARGEST_HEADER = 1 << 24
"""Bytes of the header of a safetensors file, and of an index; 100,000 tensors need about 12 MB."""


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files that transformers loads from a folder, by name.

    Raises:
        InputError: If there are none (a pickle is never loaded), if a single file lies beside shards, or if the index
            and the shards do not agree.
    """
    single, index = folder / WEIGHTS, folder / INDEX
    present = sorted(path.name for path in folder.glob("*.safetensors"))
    if index.exists():
        shards = _indexed(folder, index)
        if single.exists() and shards != [single]:
            raise InputError(
                f"backbone: {folder} holds {WEIGHTS} and {INDEX}, which names {len(shards)} other file(s): the single"
                " file would be loaded and the shards ignored; remove the one that is not meant"
            )
        return shards
    if single.exists():
        stray = [name for name in present if _SHARD.match(name)]
        if stray:
            raise InputError(
                f"backbone: {folder} holds {WEIGHTS} and shards ({stray[0]}) without {INDEX}: remove what is not meant"
            )
        return [single]
    if not present:
        raise InputError(f"backbone: {folder} holds no *.safetensors weights (pickled weights are not loaded)")
    raise InputError(f"backbone: {folder} holds {present[0]}, but neither {WEIGHTS} nor {INDEX}, which are loaded")


def weights_digest(folder: Path) -> str:
    """Return the digest over the weight files of a folder.

    Raises:
        InputError: As `weight_files` does.
    """
    files = weight_files(folder)
    for path in files:
        require_weights(path)
    digests = {path.name: content_digest(path) for path in files}
    return next(iter(digests.values())) if len(digests) == 1 else files_digest(digests)


def require_weights(path: Path) -> None:
    """Refuse a safetensors file that holds a number that is none; each file is searched once.

    Raises:
        InputError: Naming the first tensor with NaN or infinity; or if it is no safetensors file.
    """
    tensor = remembered(path, "not finite", _first_not_finite)
    if tensor:
        raise InputError(f"backbone: {path}: tensor {tensor} holds NaN or infinity; the model would answer nothing")


def stored_sizes(files: Iterable[Path]) -> tuple[int, int]:
    """Return how many tensors weight files hold, and how many numbers.

    Raises:
        InputError: If one is no safetensors file.
    """
    shapes = [shape for path in files for shape in tensor_shapes(path).values()]
    return len(shapes), sum(math.prod(shape) for shape in shapes)


def tensor_shapes(path: Path) -> dict[str, list[int]]:
    """Return the shape of each tensor of a safetensors file, from its header.

    Raises:
        InputError: If it is no safetensors file, or its header is larger than `LARGEST_HEADER`.
    """
    from safetensors import SafetensorError, safe_open

    require_base_file(path)
    try:
        with path.open("rb") as file:
            first = file.read(8)
        length = struct.unpack("<Q", first)[0] if len(first) == 8 else 0  # noqa: PLR2004 - the header's length
        if not 0 < length <= LARGEST_HEADER:
            raise InputError(f"backbone: {path} is no safetensors file: its header would have {length:,} bytes")
        with safe_open(path, "pt") as tensors:
            return {name: list(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError) as error:
        raise InputError(f"backbone: {path} is no safetensors file ({reason_of(error)})") from None


def _indexed(folder: Path, index: Path) -> list[Path]:
    """Return the shards that an index names, each checked to hold nothing else than the index says."""
    found = read_config(index, LARGEST_HEADER).get("weight_map")
    if not isinstance(found, Mapping) or not found:
        raise InputError(f"backbone: {index} has no weight_map")
    named: dict[str, set[str]] = {}
    for tensor, name in found.items():
        if not isinstance(name, str) or not name.endswith(".safetensors") or Path(name).name != name:
            raise InputError(f"backbone: {index} names {str(name)[:80]!r}, which is no safetensors file beside it")
        named.setdefault(name, set()).add(tensor)
    absent = sorted(name for name in named if not (folder / name).exists())
    if absent:
        raise InputError(
            f"backbone: {index} names {absent[0]}, which is not there ({len(absent)} of {len(named)} shards)"
        )
    for name, tensors in sorted(named.items()):
        held = tensor_shapes(folder / name).keys()
        for tensor in sorted(held - tensors):  # what is named and absent is said when the model lacks it
            raise InputError(f"backbone: tensor {tensor[:120]} lies in {folder / name}, where {index.name} has it not")
    return [folder / name for name in sorted(named)]


def _first_not_finite(path: Path) -> str:
    """Return the name of the first tensor with NaN or infinity; nothing if there is none."""
    import torch
    from safetensors import safe_open

    with_shape = tensor_shapes(path)
    with safe_open(path, "pt") as tensors:
        for name in with_shape:
            tensor = tensors.get_tensor(name)
            if not tensor.is_floating_point():
                continue
            if tensor.element_size() == 1:  # eight-bit floats have no sums
                tensor = tensor.float()
            # a sum is seven times as fast as looking at each number; only where it overflows are they looked at
            if not bool(torch.isfinite(tensor.sum(dtype=torch.float32))) and not bool(tensor.isfinite().all()):
                return name[:200]
    return ""

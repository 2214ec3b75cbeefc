"""Base files: what of a model's folder is read, what must not lie there, and the digests that identify it."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from llmrec_peft.backbone.json_file import LARGEST, first_line, read_json, require_readable
from llmrec_peft.backbone.remembered import remembered
from llmrec_peft.errors import InputError
from llmrec_peft.identity import file_digest, files_digest, values_digest

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
CONFIG = "config.json"
_SHARD = re.compile(r"^model-\d+-of-\d+\.safetensors$")
_SHA256 = re.compile(r"^[0-9a-f]{64}$")
_TOKENIZER = re.compile(
    r"^(tokenizer.*\.json|special_tokens_map\.json|added_tokens\.json|(\w+_)?vocab\.(txt|json|bpe)|merges\.txt"
    r"|bpe\.codes|dict\.txt|tekken\.json|chat_template\.(json|jinja)|.+\.(model|tiktoken|vocab))$"
)
_MODULES = re.compile(r"^(modules\.json|config_sentence_transformers\.json|sentence_\w+_config\.json)$")
_MODULE_FOLDER = re.compile(r"^\d+_\w+$")
_READ = frozenset(".json .txt .model .jinja .safetensors .py .tiktoken .codes .bpe .vocab".split())
"""Endings of files that transformers or sentence-transformers may open."""
_LARGEST = {".safetensors": 1 << 50, ".py": 1 << 24}
_LARGEST_OTHER = 1 << 28
"""Bytes of a tokenizer's file, at most; the largest published ones have about 40 MB."""
_MOST = 256
"""Files beside the weights that identify a base, at most: a run's manifest names each."""
LARGEST_HEADER = 1 << 24
"""Bytes of the header of a safetensors file, at most; 100,000 tensors need about 12 MB."""
_PASSING = frozenset({"transformers_version", "_name_or_path", "_commit_hash", "__version__"})
"""Fields of a configuration that say who wrote it and change no answer."""
_PLAIN = frozenset({CONFIG, "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "modules.json"})
"""JSON files whose content counts and not how it is written."""


def read_object(path: Path, limit: int = LARGEST) -> dict[str, Any]:
    """Read a JSON object from a regular file of at most `limit` bytes.

    Raises:
        InputError: If it is missing, too large, no regular file or no JSON object.
    """
    values: dict[str, Any] = read_json(path, dict, limit)
    return values


def require_base_folder(folder: Path) -> None:
    """Refuse a folder that is a run, holds an adapter, or holds something else than files where files are read.

    transformers attaches an adapter that it finds beside a model's weights, so that the bare model would be a tuned
    one.

    Raises:
        InputError: Naming what lies there.
    """
    if (folder / "adapter_config.json").exists():
        if (folder / "manifest.json").exists() and not (folder / CONFIG).exists():
            raise InputError(f"backbone.name: {folder} is a run folder, not a base model: give the base it names")
        raise InputError(
            f"backbone: {folder} holds an adapter beside its weights (adapter_config.json), which would be attached as"
            " if it were part of the base: move the adapter's files into a folder of their own"
        )
    try:
        for path in sorted(folder.iterdir()):
            if path.suffix in _READ:
                require_readable(path, _LARGEST.get(path.suffix, _LARGEST_OTHER))
    except OSError as error:
        raise InputError(f"backbone: {folder} cannot be read ({error.strerror})") from None


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


def content_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, computed once for each state of a large file."""
    digest = remembered(path, "sha256", file_digest)
    return digest if _SHA256.match(digest) else file_digest(path)


def identity_files(folder: Path) -> dict[str, str]:
    """Return the digest of every file of a base, beside its weights, that can change an answer.

    These are its configuration, the tokenizer's files, the files of sentence-transformers with those in module folders
    such as ``1_Pooling``, and Python code that the configuration names. Of configurations the content counts, without
    the fields that only say which library wrote them.

    Args:
        folder: Folder of the base.

    Returns:
        SHA-256 by path below the folder.

    Raises:
        InputError: If a file cannot be read, or there are more than 256.
    """
    runs_code = (folder / CONFIG).exists() and "auto_map" in read_object(folder / CONFIG)
    paths = [path for path in folder.iterdir() if _identifies(path) or (runs_code and path.suffix == ".py")]
    paths += (folder / "additional_chat_templates").glob("*.jinja")
    for inner in folder.iterdir():
        if _MODULE_FOLDER.match(inner.name) and inner.is_dir():
            paths += [path for path in inner.rglob("*") if path.suffix in _READ and not path.is_dir()]
    if len(paths) > _MOST:
        raise InputError(f"backbone: {folder} holds {len(paths):,} files beside its weights, more than any model has")
    digests = {}
    for path in sorted(paths):
        require_readable(path, _LARGEST.get(path.suffix, _LARGEST_OTHER))
        digests[path.relative_to(folder).as_posix()] = _digest(path)
    return digests


def stored_sizes(files: Iterable[Path]) -> tuple[int, int]:
    """Return how many tensors weight files hold, and how many numbers.

    Raises:
        InputError: If one is no safetensors file.
    """
    shapes = [shape for path in files for shape in tensor_shapes(path).values()]
    total = 0
    for shape in shapes:
        size = 1
        for side in shape:
            size *= side
        total += size
    return len(shapes), total


def tensor_shapes(path: Path) -> dict[str, list[int]]:
    """Return the shape of each tensor of a safetensors file, from its header.

    Raises:
        InputError: If it is no safetensors file, or its header is larger than `LARGEST_HEADER`.
    """
    from safetensors import SafetensorError, safe_open

    require_readable(path, _LARGEST[".safetensors"])
    try:
        with path.open("rb") as file:
            first = file.read(8)
        length = struct.unpack("<Q", first)[0] if len(first) == 8 else 0  # noqa: PLR2004 - the header's length
        if not 0 < length <= LARGEST_HEADER:
            raise InputError(f"backbone: {path} is no safetensors file: its header would have {length:,} bytes")
        with safe_open(path, "pt") as tensors:
            return {name: list(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError) as error:
        raise InputError(f"backbone: {path} is no safetensors file ({first_line(error)})") from None


def _identifies(path: Path) -> bool:
    name = path.name
    return name == CONFIG or bool(_TOKENIZER.match(name) or _MODULES.match(name))


def _digest(path: Path) -> str:
    if path.name in _PLAIN or _MODULES.match(path.name) or (path.parent.name[:1].isdigit() and path.suffix == ".json"):
        try:
            values: Any = json.loads(path.read_bytes())
            if isinstance(values, dict):
                values = {key: value for key, value in values.items() if key not in _PASSING}
            return values_digest(values)
        except (ValueError, RecursionError, OSError):
            pass  # broken, or with Infinity in it: known by its bytes
    return content_digest(path)


def _indexed(folder: Path, index: Path) -> list[Path]:
    """Return the shards that an index names, each checked to hold nothing else than the index says."""
    found = read_object(index, LARGEST_HEADER).get("weight_map")
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

"""Content digests of files, tensors and values, independent of their names; and the version of this package."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

__version__ = "0.1.0"
"""Version of this package, which run folders record; the same as in ``pyproject.toml``."""


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_digest(files: Mapping[str, str]) -> str:
    """Return one digest of several files, from their names and digests, in any order."""
    return values_digest(dict(sorted(files.items())))


def values_digest(values: Any) -> str:
    """Return the SHA-256 of plain values (numbers, strings, lists, mappings) in canonical JSON."""
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def arrays_digest(arrays: Iterable[NDArray[Any]]) -> str:
    """Return the SHA-256 of dtypes, shapes and bytes of arrays in their order."""
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(f"{array.dtype.str}|{array.shape}|".encode())
        sha.update(array.data if array.flags.c_contiguous else array.tobytes())
    return sha.hexdigest()


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of names, dtypes, shapes and bytes of tensors, in any order and on any device."""
    import torch

    sha = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        sha.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        sha.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()

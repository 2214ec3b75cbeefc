"""Item matrix: the items' side of all scores, stored with a run so that no process computes it anew."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from llmrec_peft.artifact.manifest import is_there
from llmrec_peft.artifact.sealed import SealedFolder
from llmrec_peft.backbone.tensor_bytes import tensors_in
from llmrec_peft.backbone.tensor_files import is_finite, write_tensors
from llmrec_peft.errors import InputError
from llmrec_peft.heads.contract import Joined
from llmrec_peft.known_contents import is_known
from llmrec_peft.run.vector_precision import shares_memory

if TYPE_CHECKING:
    from llmrec_peft.run.tenant import Tenant

FILE = "item_matrix.safetensors"
CLOSE = 1e-3
"""How far a stored row may be from the computed one, relative to 1 plus its size."""


def write_item_matrix(path: Path, tenant: Tenant) -> bool:
    """Write the items' side, unless there is none, it is computed from texts, or it is the stored vectors themselves.

    Returns:
        Whether it was written.
    """
    if tenant.encodes_to_score:
        return False
    side, vectors = tenant.item_side(), tenant.catalogue.vectors
    if side.vector is None or shares_memory(side.vector, vectors):
        return False
    write_tensors(path, {"vector": side.vector, "offset": side.offset})
    return True


def read_item_matrix(sealed: SealedFolder, items: int, room: int) -> Joined | None:
    """Read the items' side; None for a run that has none stored. The tensors share the memory of the file's bytes.

    Args:
        sealed: Run folder.
        items: Items of the catalogue.
        room: Bytes that the file can have.

    Raises:
        InputError: If the file is missing, changed, or holds no finite float32 row for each item.
    """
    path = sealed.folder / FILE
    if FILE not in sealed.manifest.files and not is_there(path):
        return None
    tensors, _ = tensors_in(sealed.stored(FILE, room), path)
    if sorted(tensors) != ["offset", "vector"]:
        raise InputError(f"{path}: its tensors are {', '.join(map(repr, sorted(tensors)))[:60]}, not offset and vector")
    for name, sides in (("vector", 2), ("offset", 1)):
        tensor = tensors[name]
        if tensor.dtype != torch.float32 or tensor.ndim != sides or len(tensor) != items:
            kind = f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
            raise InputError(f"{path}: tensor {name} is {kind}, not float32 of one row for each of {items} items")
        if not (is_known() or is_finite(tensor)):
            raise InputError(f"{path}: tensor {name} holds NaN or infinity")
    return Joined(tensors["vector"], tensors["offset"])


def require_rows(stored: Joined, computed: Joined, rows: torch.Tensor) -> None:
    """Refuse a stored side of which some rows are not those that the run's signals give.

    Args:
        stored: The whole side.
        computed: What was computed for some rows.
        rows: These rows, int64 [n].

    Raises:
        InputError: If widths or numbers differ.
    """
    pairs = [(None if stored.vector is None else stored.vector[rows], computed.vector)]
    pairs.append((stored.offset[rows], computed.offset))
    for one, other in pairs:
        if one is None or other is None or one.shape != other.shape or not torch.allclose(one, other, CLOSE, CLOSE):
            raise InputError(f"{FILE}: its rows are not those that the run's signals give")

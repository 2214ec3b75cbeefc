"""``catalogue.safetensors``: ids, titles, columns and popularity, used where they lie in the file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.artifact.manifest import limit_of
from llmrec_peft.artifact.object_rows import as_texts
from llmrec_peft.artifact.sealed import Content, read_content
from llmrec_peft.backbone.tensor_bytes import tensors_in
from llmrec_peft.data.column_types import ColumnType
from llmrec_peft.data.text_column import TextColumn, require_texts
from llmrec_peft.data.vocabulary import Vocabulary
from llmrec_peft.errors import InputError
from llmrec_peft.known_contents import is_known

if TYPE_CHECKING:
    from torch import Tensor

    from llmrec_peft.artifact.tables import ItemTable

FILE = "catalogue.safetensors"
TYPES = "column_types"
"""Key in the header for the types of the owner's columns of items, as JSON."""
_COLUMNS = "columns"
"""Texts of the owner's columns of items, a JSON object each: only where prompts name them."""
_IDS = {"users": True, "items": True, "titles": False, _COLUMNS: False}
"""Columns of texts, and whether they are ids, which are distinct and have a sorted index."""
_DTYPES = {"offsets": np.int64, "content": np.uint8, "order": np.int32}


class CatalogueFile(NamedTuple):
    """What the file holds.

    Attributes:
        vocabulary: Users and items.
        titles: Title of each item.
        popularity: Training interactions of each item, int64 [items].
        types: Types of the owner's columns of items; None if they are not known.
        columns: The owner's columns of each item as JSON; None where prompts do not name them, and in runs written
            before, whose table of texts has them.
    """

    vocabulary: Vocabulary
    titles: Sequence[str]
    popularity: NDArray[np.int64]
    types: Mapping[str, ColumnType] | None
    columns: Sequence[str] | None = None


def write_catalogue(path: Path, vocabulary: Vocabulary, items: ItemTable) -> None:
    """Write ids in the order of their indices, each with a sorted index, and titles, popularity and columns of items.

    Args:
        path: The file.
        vocabulary: Users and items.
        items: Titles, popularity, columns and their types; their texts are written by `write_items`.

    Raises:
        InputError: For a text that UTF-8 cannot write.
    """
    import torch

    from llmrec_peft.backbone.tensor_files import write_tensors

    tensors = {"popularity": torch.from_numpy(np.array(items.popularity, np.int64))}
    texts = {"users": vocabulary.users, "items": vocabulary.items, "titles": items.titles}
    if items.columns:
        texts[_COLUMNS] = as_texts(items.columns)
    for name, values in texts.items():
        column = TextColumn.of(values, sort=_IDS[name])
        parts = {"offsets": column.offsets, "content": column.content, "order": column.order}
        tensors |= {f"{name}.{part}": torch.from_numpy(np.array(a)) for part, a in parts.items() if a is not None}
    told = None
    if items.types is not None:
        plain = {name: column.plain() for name, column in items.types.items()}
        told = {TYPES: json.dumps(plain, ensure_ascii=False)}
    write_tensors(path, tensors, told)


def read_catalogue(path: Path, content: Content = None) -> CatalogueFile:
    """Read what `write_catalogue` wrote; columns and numbers share the memory of the file's bytes.

    Args:
        path: The file.
        content: Its bytes, if they were read already.

    Raises:
        InputError: If it is no such file: a tensor is missing, unknown or of another kind, offsets or an index are
            out of bounds, a text is not UTF-8, or an id is empty or stands twice.
    """
    tensors, told = tensors_in(read_content(path, limit_of(path.name)) if content is None else content, path)
    there = [name for name in _IDS if name != _COLUMNS or any(one.startswith(f"{_COLUMNS}.") for one in tensors)]
    names = {f"{name}.{part}" for name in there for part in _DTYPES if _IDS[name] or part != "order"}
    for name in sorted({*names, "popularity"} ^ tensors.keys()):
        raise InputError(f"{path}: tensor {name} is {'unknown' if name in tensors else 'missing'}")
    columns = {name: _column(path, name, tensors) for name in there}
    popularity = _array(path, "popularity", tensors["popularity"], np.int64)
    items = len(columns["items"])
    for name, column in {**columns, "popularity": popularity}.items():
        if name not in ("users", "items") and len(column) != items:
            raise InputError(f"{path}: {len(column)} {name} for {items} items")
    if not is_known() and len(popularity) and int(popularity.min()) < 0:
        raise InputError(f"{path}: popularity: {popularity.min()} interactions")
    vocabulary = Vocabulary(columns["users"], columns["items"])
    return CatalogueFile(vocabulary, columns["titles"], popularity, _types(path, told), columns.get(_COLUMNS))


def read_vocabulary(path: Path, content: Content = None) -> Vocabulary:
    """Read the ids of users and items, see `read_catalogue`."""
    return read_catalogue(path, content).vocabulary


def _types(path: Path, told: Mapping[str, str]) -> dict[str, ColumnType] | None:
    """Read the types of the owner's columns from the header; None if it has none."""
    if TYPES not in told:
        return None
    try:
        plain = dict(json.loads(told[TYPES]))
        return {str(name): ColumnType.from_plain(values) for name, values in plain.items()}
    except (ValueError, TypeError, RecursionError):
        raise InputError(f"{path}: {TYPES} in its header are no types of columns") from None


def _column(path: Path, name: str, tensors: Mapping[str, Tensor]) -> TextColumn:
    """Return a checked column of texts."""
    parts = {
        part: _array(path, f"{name}.{part}", tensors[f"{name}.{part}"], kind)
        for part, kind in _DTYPES.items()
        if f"{name}.{part}" in tensors
    }
    if not len(parts["offsets"]):
        raise InputError(f"{path}: {name}: its offsets are missing")
    column = TextColumn(parts["offsets"], parts["content"], parts.get("order"))
    wrong = None if is_known() else require_texts(column, distinct=_IDS[name])
    if wrong is not None:
        raise InputError(f"{path}: {name}: {wrong}")
    return column


def _array(path: Path, name: str, tensor: Tensor, kind: Any) -> NDArray[Any]:
    dtype = str(tensor.dtype).removeprefix("torch.")
    if tensor.ndim != 1 or dtype != np.dtype(kind).name:
        found = f"{dtype} {list(tensor.shape)}"
        raise InputError(f"{path}: tensor {name} is {found}, not {np.dtype(kind).name} [n]")
    array: NDArray[Any] = tensor.numpy()
    return array

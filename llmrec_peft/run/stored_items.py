"""Stored items: texts and columns of a run's items, read from its folder when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, Generic, TypeVar, overload

from llmrec_peft.artifact.catalogue_file import CatalogueFile
from llmrec_peft.artifact.sealed import SealedFolder
from llmrec_peft.artifact.tables import ItemTable, read_item_columns, read_item_texts, table_of
from llmrec_peft.data.vocabulary import Vocabulary

T = TypeVar("T")
FILE = "items.parquet"


class Deferred(Sequence[T], Generic[T]):
    """A sequence of known length whose values are read when the first of them is asked for."""

    def __init__(self, length: int, read: Callable[[], Sequence[T]]) -> None:
        """Set how many values there are, and what reads them."""
        self._length, self._read = length, read

    @cached_property
    def _values(self) -> Sequence[T]:
        return self._read()

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, at: int) -> T: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[T]: ...
    def __getitem__(self, at: int | slice) -> T | Sequence[T]:
        """Return a value, or several."""
        return self._values[at]


def stored_items(sealed: SealedFolder, catalogue: CatalogueFile, columns: bool) -> ItemTable:
    """Return a run's items; texts are read when they are asked for, and verified then.

    Args:
        sealed: Run folder.
        catalogue: Its catalogue.
        columns: Whether prompts name the owner's columns, which are read now.

    Raises:
        InputError: If the file is missing or changed, or columns are needed and are not there.
    """
    vocabulary = catalogue.vocabulary
    rows: Sequence[Mapping[str, Any]] = ()
    if columns:
        rows = read_item_columns(table_of(sealed.folder / FILE, sealed.content(FILE)), vocabulary)
    else:
        sealed.verify([FILE])
    texts = Deferred(len(vocabulary.items), partial(_texts, sealed, vocabulary))
    return ItemTable(catalogue.titles, texts, catalogue.popularity, rows, catalogue.types)


def _texts(sealed: SealedFolder, vocabulary: Vocabulary) -> Sequence[str]:
    return read_item_texts(table_of(sealed.folder / FILE, sealed.content(FILE)), vocabulary)

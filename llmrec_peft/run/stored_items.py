"""Stored items: texts and columns of a run's items, read from its folder when they are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from llmrec_peft.artifact.catalogue_file import FILE as CATALOGUE
from llmrec_peft.artifact.catalogue_file import CatalogueFile
from llmrec_peft.artifact.deferred import Deferred
from llmrec_peft.artifact.object_rows import ObjectRows, require_objects
from llmrec_peft.artifact.sealed import Content, SealedFolder
from llmrec_peft.artifact.tables import ItemTable, read_item_texts, table_of
from llmrec_peft.data.vocabulary import Vocabulary
from llmrec_peft.errors import InputError
from llmrec_peft.known_contents import is_known

FILE = "items.parquet"


def stored_items(sealed: SealedFolder, catalogue: CatalogueFile, columns: bool) -> ItemTable:
    """Return a run's items; texts are read when they are asked for, and verified then.

    Args:
        sealed: Run folder.
        catalogue: Its catalogue.
        columns: Whether prompts name the owner's columns; a row of them is parsed when it is asked for.

    Raises:
        InputError: If the file is missing or changed, or a row of columns is no JSON object of bounded size.
    """
    vocabulary = catalogue.vocabulary
    rows: Sequence[Mapping[str, Any]] = ()
    if columns and catalogue.columns is None:
        rows = _rows_of_table(sealed, catalogue)
    else:
        sealed.verify([FILE])
    if columns and catalogue.columns is not None:
        if not is_known():
            require_objects(catalogue.columns, lambda reason: InputError(f"{sealed.folder / CATALOGUE}: {reason}"))
        rows = ObjectRows(catalogue.columns)
    texts = Deferred(len(vocabulary.items), partial(_texts, sealed, vocabulary))
    return ItemTable(catalogue.titles, texts, catalogue.popularity, rows, catalogue.types)


def _texts(sealed: SealedFolder, vocabulary: Vocabulary) -> Sequence[str]:
    return read_item_texts(table_of(sealed.folder / FILE, sealed.content(FILE)), vocabulary)


def _rows_of_table(sealed: SealedFolder, catalogue: CatalogueFile) -> Sequence[Mapping[str, Any]]:
    """Return the columns of a run that has them in its table of texts, as runs had them before; empty without any."""
    content, vocabulary = sealed.stored(FILE), catalogue.vocabulary
    table = table_of(sealed.folder / FILE, content)
    if "columns" not in table:
        return ()
    texts = Deferred(len(vocabulary.items), partial(_columns, sealed.folder / FILE, content, vocabulary))
    if not is_known():
        require_objects(texts, table.wrong)
    return ObjectRows(texts)


def _columns(path: Path, content: Content, vocabulary: Vocabulary) -> Sequence[str]:
    return read_item_texts(table_of(path, content), vocabulary, "columns")

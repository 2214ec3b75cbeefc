"""Files: a reader of a user's own files; the recipe says how they are written and what their columns are."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from pydantic import Field, field_validator

from llmrec_peft.custom.bad_rows import without_bad_rows
from llmrec_peft.custom.columns import (
    TABLES,
    FrameColumns,
    GraphColumns,
    InteractionColumns,
    ItemColumns,
    LinkColumns,
    Meaning,
    UserColumns,
)
from llmrec_peft.custom.tables import Tables, as_dataset
from llmrec_peft.data.dataset import RecDataset
from llmrec_peft.data.source import Reader
from llmrec_peft.errors import InputError
from llmrec_peft.options import Options
from llmrec_peft.printable import quoted, shown
from llmrec_peft.progress import SILENT, Progress
from llmrec_peft.tabular.form import FileForm
from llmrec_peft.tabular.read import read_table
from llmrec_peft.tabular.table_read import TableRead

if TYPE_CHECKING:
    import pyarrow as pa


class OwnFile(FileForm):
    """How one file is written, and where it lies."""

    file: str = Field(min_length=1, max_length=1000)
    """Name of the file, relative to `data.path`; it may not lead out of that folder."""

    @field_validator("file")
    @classmethod
    def _inside(cls, value: str) -> str:
        parts = Path(value).parts
        if Path(value).is_absolute() or ".." in parts or "\0" in value or not parts:
            raise ValueError(f"{quoted(value, 60)} leads out of data.path: name a file below it")
        return value


class InteractionsFile(InteractionColumns, OwnFile):
    """The file of interactions and its columns."""


class ItemsFile(ItemColumns, OwnFile):
    """The file of items and its columns."""


class UsersFile(UserColumns, OwnFile):
    """The file of users and its columns."""


class GraphFile(GraphColumns, OwnFile):
    """The file of triples and its columns."""


class LinksFile(LinkColumns, OwnFile):
    """The file of links and its columns."""


class FilesOptions(Meaning):
    """What the files are. `llmrec init custom` writes all of it."""

    interactions: InteractionsFile
    """One row for each rating, click or other interaction."""
    items: ItemsFile | None = None
    """One row for each item; null where there is no such file."""
    users: UsersFile | None = None
    """One row for each user; null where there is no such file."""
    graph: GraphFile | None = None
    """One row for each triple of a knowledge graph; null where there is none."""
    graph_links: LinksFile | None = None
    """One row for each item that an entity of the graph stands for; null where entities bear ids of items."""
    skip_bad: int = Field(default=0, ge=0)
    """Rows of each file at most that may be bad: unreadable, or with a value that is no number, time, click, id or list
    where the recipe says so, or no rating of the scale. They are left out and listed. One more is an error."""


class Files(Reader):
    """A user's own files: delimited text, JSON lines or Parquet, plain or compressed.

    ``llmrec init custom --interactions FILE [--items FILE] [--users FILE] [--graph FILE]`` writes a recipe of it in
    which each guess stands with its evidence. Files are named relative to the folder `data.path`.
    """

    summary: ClassVar[str] = "files of your own; llmrec init custom writes the recipe"
    Config: ClassVar[type[Options]] = FilesOptions

    def read(self, path: Path, graph: Path | None) -> RecDataset:
        """Read the files that the options name, below the folder `path`.

        Raises:
            InputError: Naming file, line and column of what cannot be read.
        """
        if graph is not None:
            raise InputError("data.graph: the reader of your own files finds a graph in data.options.graph")
        options = cast(FilesOptions, self.options)
        columns = FrameColumns.model_construct(**{name: getattr(options, name) for name in FrameColumns.model_fields})
        read, called, notes = {}, {}, []
        for table in TABLES:
            own: OwnFile | None = getattr(options, table)
            if own is None:
                continue
            file = file_below(path, own.file, f"data.options.{table}.file")
            found = read_own(file, own, options.skip_bad)
            found = without_bad_rows(file, own, found, table, columns, options.skip_bad)
            read[table], called[table] = found.table, own.file
            notes += _left_out(found, own.file)
        tables = Tables.of(read, called)
        return as_dataset(Path(options.interactions.file).name.split(".")[0], tables, columns, tuple(notes))

    def no_path(self, name: str) -> str:
        """Say where the folder of the files is given."""
        return "data.path: name the folder that your files lie in, in the recipe or by --data DIR"


def read_own(file: Path, form: FileForm, skip_bad: int, progress: Progress = SILENT) -> TableRead:
    """Read a table as texts, numbers with points.

    Args:
        file: The file.
        form: Its form.
        skip_bad: Rows that may be unreadable.
        progress: Where it is shown how far the reading is.

    Raises:
        InputError: Naming file, line and column of what cannot be read.
    """
    found = read_table(file, form, skip_bad=skip_bad, progress=progress)
    return replace(found, table=_with_points(found.table, form))


def _with_points(table: pa.Table, form: FileForm) -> pa.Table:
    """Return a table whose numbers have points, where the file writes 3,5: columns that hold such numbers or nearly."""
    import pyarrow.compute as pc

    if form.decimal == "." or form.format != "delimited":
        return table
    for at, name in enumerate(table.column_names):
        texts = pc.utf8_trim_whitespace(table.column(at))
        fits = pc.match_substring_regex(texts, r"^(?:[+-]?\d+(?:,\d+)?)?$")
        if (pc.mean(fits.cast("float64")).as_py() or 0.0) >= _NEARLY_ALL:
            table = table.set_column(at, name, pc.if_else(fits, pc.replace_substring(texts, ",", "."), texts))
    return table


def file_below(folder: Path, name: str, field: str) -> Path:
    """Return the file of a name below a folder.

    Raises:
        InputError: If there is no such file, or it lies elsewhere, through a link too.
    """
    file = folder / name
    if not os.path.lexists(file):
        raise InputError(
            f"{field}: {shown(file)} is missing; data.path is relative to where llmrec is called, --data DIR names"
            " another folder"
        )
    try:
        leaves = not file.resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError):
        leaves = True
    if leaves:
        raise InputError(f"{field}: {quoted(name, 60)} leads out of {shown(folder)}: name a file below it")
    return file


_LISTED = 5
_NEARLY_ALL = 0.95


def _left_out(found: TableRead, called: str) -> list[str]:
    """Say which rows were bad."""
    if not found.bad:
        return []
    rows = "; ".join(f"{bad.place}: {bad.reason}" for bad in found.bad[:_LISTED])
    more = f"; and {len(found.bad) - _LISTED} more" if len(found.bad) > _LISTED else ""
    return [f"{len(found.bad)} bad rows of {called} were left out ({rows}{more})"]

"""Files of MIND: where they lie, their columns, and how a wrong cell is named by file, line and column."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from llmrec_peft.plugins import FileForm, InputError, lines_of_rows, read_table
from llmrec_recipes.text_files import required_file

if TYPE_CHECKING:
    import pyarrow as pa

BEHAVIORS = "behaviors.tsv"
NEWS = "news.tsv"
COLUMNS = {
    BEHAVIORS: ("impression_id", "user_id", "time", "history", "impressions"),
    NEWS: (
        *("news_id", "category", "subcategory", "title", "abstract", "url"),
        *("title_entities", "abstract_entities"),
    ),
}


def file_of(folder: Path, name: str) -> Path:
    """Return the path of a file, plain or packed as ``NAME.gz``.

    Raises:
        InputError: When neither is there, or it is empty.
    """
    packed = folder / f"{name}.gz"
    return required_file(folder, packed.name if packed.is_file() and not (folder / name).is_file() else name)


def holds_behaviors(folder: Path) -> bool:
    """Return whether a folder has a file of behaviors, plain or packed."""
    return any((folder / name).is_file() for name in (BEHAVIORS, f"{BEHAVIORS}.gz"))


def folders_of(path: Path) -> dict[str, Path]:
    """Return the folders by part: ``train`` and ``test`` (MIND's dev), or ``""`` alone for one that nothing divides.

    The published archives unpack into ``MINDsmall_train`` and ``MINDsmall_dev``, or the same of ``MINDlarge``. A folder
    of ``MINDlarge_test`` has no clicks and is passed over.

    Raises:
        InputError: If there is no such folder, or several could be meant.
    """
    if holds_behaviors(path) or not path.is_dir():
        return {"": path}
    inside = sorted(one for one in path.iterdir() if one.is_dir() and holds_behaviors(one))
    found: dict[str, Path] = {}
    for part, words in {"train": ("train",), "test": ("dev", "valid")}.items():
        named = [one for one in inside if any(word in one.name.lower() for word in words)]
        if len(named) > 1:
            raise InputError(
                f"{path}: {named[0].name!r:.60} and {named[1].name!r:.60} could both be {words[0]}: name a folder with"
                " one of them"
            )
        if named:
            found[part] = named[0]
    if "train" in found and "test" in found:
        return found
    if not found:
        return {"": path}  # the missing file is then named
    missing = "dev" if "train" in found else "train"
    raise InputError(
        f"{path}: no folder {missing} with {BEHAVIORS} beside {next(iter(found.values())).name!r:.60}; to divide that"
        " folder by time, name it alone"
    )


class MindFile:
    """One file, read into columns of texts.

    Attributes:
        path: The file.
        table: Its rows.
    """

    def __init__(self, folder: Path, name: str) -> None:
        """Read the file.

        Raises:
            InputError: Naming file, line and column of what cannot be read.
        """
        self.path = file_of(folder, name)
        packed = "gzip" if self.path.suffix == ".gz" else "none"
        self._form = FileForm.model_validate(
            {"delimiter": "\t", "quote": "none", "header": False, "columns": COLUMNS[name], "compression": packed}
        )
        self.table: pa.Table = read_table(self.path, self._form).table
        if not self.table.num_rows:
            raise InputError(f"{self.path}: the file has no line")

    def column(self, name: str) -> pa.ChunkedArray:
        """Return a column of texts."""
        return self.table.column(name)

    def refuse(self, row: int, column: str, why: str) -> NoReturn:
        """Raise the error for a cell.

        Args:
            row: Its row, from 0.
            column: Its column.
            why: What is wrong with it, and what belongs there.
        """
        line = lines_of_rows(self.path, self._form, [row])[0]
        raise InputError(f"{self.path}, line {line}, column {column!r}: {why}")

    def require_ids(self, column: str, distinct: bool) -> None:
        """Refuse ids that are empty or hold blanks, or, if asked for, that are there twice."""
        import numpy as np
        from pyarrow import compute

        values = self.column(column)
        wrong = compute.index(compute.match_substring_regex(values, r"^\S+$"), False).as_py()
        if wrong >= 0:
            self.refuse(wrong, column, "an id without blanks belongs here")
        if distinct and len(compute.unique(values)) < len(values):
            codes = values.combine_chunks().dictionary_encode().indices.to_numpy()
            _, first, place = np.unique(codes, return_index=True, return_inverse=True)
            row = int(np.flatnonzero(first[place] != np.arange(len(codes)))[0])
            self.refuse(row, column, "this id is there twice: keep one of the lines")

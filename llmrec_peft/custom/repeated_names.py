"""Repeated names: of two columns that are called alike and differ, none is read as user, item, label, time or id."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from llmrec_peft.custom.columns import FrameColumns
from llmrec_peft.errors import InputError
from llmrec_peft.printable import quoted
from llmrec_peft.tabular.delimited import columns_of
from llmrec_peft.tabular.sniff import Sniffed
from llmrec_peft.tabular.table_read import TableRead

_OPTIONS = {
    "interactions": {"user": "user_column", "item": "item_column", "label": "rating_column", "time": "time_column"},
    "items": {"id": "items_id_column", "title": "title_column"},
    "users": {"id": "users_id_column"},
}
"""Options that say which column has a role, by table and role."""


def require_one_meaning(
    table: str, path: Path, form: Sniffed, read: TableRead, columns: FrameColumns, given: Collection[str]
) -> None:
    """Refuse a file whose header has the name of a column twice, where it matters which of them is read.

    Args:
        table: ``interactions``, ``items`` or ``users``; others have no such columns.
        path: The file.
        form: How it is written; columns that have no name of their own have one made of their number.
        read: Its rows.
        columns: What its columns were taken for.
        given: Options that the user gave.

    Raises:
        InputError: Naming both columns, and the option that chooses one.
    """
    if "columns" not in form.unsure:
        return
    taken = getattr(columns, table, None)
    names = [cell.strip() for cell in columns_of(path, form.form).header or ()]
    for role, option in _OPTIONS.get(table, {}).items():
        name = getattr(taken, role, None)
        if option in given or name is None:
            continue
        same = [called for called, own in zip(form.form.columns or (), names, strict=False) if own == name]
        first = read.table.column(name)
        other = next(
            (called for called in same if called != name and not read.table.column(called).equals(first)), None
        )
        if other is not None:
            shown = f"--{option.replace('_', '-')}"
            raise InputError(
                f"{path.name}: two columns are called {quoted(name, 60)} and differ: rename one of them, or say"
                f" {shown} {quoted(name, 60)} for the first or {shown} {quoted(other, 60)} for the other"
            )

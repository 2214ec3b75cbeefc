"""Names for the columns of a delimited file, and its first rows as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import count

import pyarrow as pa

from llmrec_peft.printable import quoted
from llmrec_peft.tabular.form import FileForm
from llmrec_peft.tabular.guess import Guess


def column_names(rows: Sequence[Sequence[str]], header: bool) -> Guess:
    """Return names where the file does not give every column one of its own; None where it does.

    Args:
        rows: Its first rows, the header included.
        header: Whether the first of them is one.
    """
    if not header:
        width = Counter(map(len, rows)).most_common(1)[0][0]
        names = tuple(f"column_{at + 1}" for at in range(width))
        return Guess(names, "the file names no columns, so they are numbered")
    own = [cell.strip() for cell in rows[0]]
    if all(own) and len(set(own)) == len(own):
        return Guess(None, "the header names them")
    names = _numbered(own)
    twice = next((at for at, name in enumerate(own) if name and name in own[:at]), None)
    if twice is None:
        return Guess(names, "the header leaves a name out, so such columns are numbered")
    return Guess(names, f"the header has {quoted(own[twice], 40)} twice: the later one is {names[twice]}", sure=False)


def _numbered(own: Sequence[str]) -> tuple[str, ...]:
    """Return names, in which a missing or repeated one is replaced by the number of its column.

    >>> _numbered(["", "user", "user"])
    ('column_1', 'user', 'column_3')
    """
    taken, names = set(own), list[str]()
    seen: set[str] = set()
    for at, name in enumerate(own, 1):
        if name and name not in seen:
            seen.add(name)
            names.append(name)
            continue
        spare = next(f"column_{at}{'_' * more}" for more in count() if f"column_{at}{'_' * more}" not in taken)
        taken.add(spare)
        names.append(spare)
    return tuple(names)


def table_of(rows: Sequence[Sequence[str]], form: FileForm, most: int) -> pa.Table:
    """Return at most `most` rows as a table of texts; those that are too short or long are left out."""
    header = rows[0] if form.header else None
    names = form.columns or tuple(cell.strip() for cell in rows[0])
    below = rows[int(form.header) :][:most]
    right = [row for row in below if len(row) == len(names) and row != header]
    columns = list(zip(*right, strict=True)) or [()] * len(names)
    return pa.table([pa.array(column, pa.string()) for column in columns], names=list(names))

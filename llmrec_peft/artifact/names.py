"""Names of the runs that are updated from one another: RUN, RUN-u1, RUN-u2, …"""

from __future__ import annotations

import re
from pathlib import Path

_UPDATED = re.compile(r"(.+)-u(\d{1,6})")


def first_name(name: str) -> str:
    """Return the name of the run that a run of some name was updated from in the beginning.

    >>> first_name("films-u9"), first_name("films")
    ('films', 'films')
    """
    found = _UPDATED.fullmatch(name)
    return name if found is None else found[1]


def next_folder(run: Path) -> Path:
    """Return where the run that is updated from another is written by default.

    >>> str(next_folder(Path("runs/films"))), str(next_folder(Path("runs/films-u9")))
    ('runs/films-u1', 'runs/films-u10')
    """
    found = _UPDATED.fullmatch(run.name)
    return run.with_name(f"{first_name(run.name)}-u{1 if found is None else int(found[2]) + 1}")

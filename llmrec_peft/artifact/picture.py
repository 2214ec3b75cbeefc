"""Picture: a file that is drawn with matplotlib, which comes with an extra."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from llmrec_peft.artifact.folder import whole_file
from llmrec_peft.errors import InputError, reason_of
from llmrec_peft.printable import for_terminal, shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI = 120
"""Pixels an inch."""


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure whose parts make room for each other.

    Args:
        width: Width in inches.
        height: Height in inches.

    Raises:
        InputError: If matplotlib is missing.
    """
    return _figures()(figsize=(width, height), layout="constrained")


def plot_folder(folder: Path) -> Path:
    """Return the folder that ``--plot`` named, which is made where it is missing.

    Raises:
        InputError: If matplotlib is missing, a file is in the folder's place, or it cannot be made.
    """
    _figures()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise InputError(f"--plot {shown(folder)} is a file: name a folder") from None
    except OSError as error:
        raise InputError(f"--plot {shown(folder)}: {reason_of(error)}") from None
    return folder


def require_drawable(file: Path) -> str:
    """Return the format that a picture's file name asks for, ``png`` or ``svg``.

    Raises:
        InputError: If matplotlib is missing, or the name has another ending.
    """
    _figures()
    form = file.suffix.lower().removeprefix(".")
    if form not in ("png", "svg"):
        raise InputError(f"{shown(file)}: name it .png or .svg")
    return form


def write_picture(figure: Figure, file: Path, source: str | None = None) -> Path:
    """Write a figure whole, in the format that the file's ending names; a picture of that name is replaced.

    The file says neither when nor by which version it was drawn, so that the same figure gives the same file.

    Args:
        figure: What was drawn.
        file: A name that ends in ``.png`` or ``.svg``.
        source: What was drawn, such as a digest of its figures; the file says it under the keyword ``Source``.

    Raises:
        InputError: If the file cannot be written, or has another ending.
    """
    form = require_drawable(file)
    with whole_file(file) as partial:
        said = {"Software" if form == "png" else "Date": None, **({} if source is None else {"Source": source})}
        figure.savefig(partial, format=form, dpi=_DPI, metadata=said)
    return file


def _figures() -> type[Figure]:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("--plot draws with matplotlib: pip install 'llmrec-peft[benchmark]'") from None
    return Figure


def plain(text: object, longest: int = 120) -> str:
    """Return a text of others of at most some characters, without what matplotlib takes for a formula."""
    return for_terminal(text)[:longest].replace("$", r"\$")

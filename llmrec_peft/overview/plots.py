"""Plots of a description: pictures of popularity, labels, times and lengths of texts, drawn with matplotlib."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec_peft.artifact.folder import whole_file
from llmrec_peft.errors import InputError, reason_of
from llmrec_peft.printable import for_terminal, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Drawing = Callable[["Axes", Mapping[str, Any]], None]
_COLOUR = "#2a6f97"


def write_plots(report: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw a description into a folder, which is made; pictures of the same name are replaced.

    Args:
        report: As `llmrec_peft.overview.describe.describe` returns it.
        folder: Where the PNG files go.

    Returns:
        The files: only what the data have is drawn.

    Raises:
        InputError: If matplotlib is missing, or a file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("--plot draws with matplotlib: pip install 'llmrec-peft[benchmark]'") from None
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise InputError(f"--plot {shown(folder)} is a file: name a folder") from None
    except OSError as error:
        raise InputError(f"--plot {shown(folder)}: {reason_of(error)}") from None
    written = []
    for name, (needed, draw) in _DRAWINGS.items():
        if not needed(report):
            continue
        figure = Figure(figsize=(7.0, 4.0), layout="constrained")
        axes = figure.add_subplot()
        draw(axes, report)
        figure.suptitle(_plain(report["name"]))
        with whole_file(folder / f"{name}.png") as partial:
            figure.savefig(partial, format="png", dpi=120)
        written.append(folder / f"{name}.png")
    return written


def _plain(text: object) -> str:
    """Return a text of others without what matplotlib takes for a formula."""
    return for_terminal(text).replace("$", r"\$")[:80]


def _popularity(axes: Axes, report: Mapping[str, Any]) -> None:
    for what, counts in report["interactions_by_rank"].items():
        axes.plot([row["rank"] for row in counts], [row["interactions"] for row in counts], label=what)
    axes.set(xscale="log", yscale="log", xlabel="rank, most active first", ylabel="interactions")
    axes.legend()


def _labels(axes: Axes, report: Mapping[str, Any]) -> None:
    counts = report["labels"]["counts"]
    axes.bar([f"{row['label']:g}" for row in counts], [row["count"] for row in counts], color=_COLOUR)
    axes.set(xlabel="label", ylabel="interactions")


def _times(axes: Axes, report: Mapping[str, Any]) -> None:
    rows = report["time"]["over_time"]
    axes.bar(range(len(rows)), [row["interactions"] for row in rows], color=_COLOUR, width=0.9)
    places = range(0, len(rows), 5)
    axes.set_xticks(list(places), [str(rows[at]["from"]).split(" ")[0] for at in places])
    axes.set(xlabel=f"from ({report['time']['unit']})", ylabel="interactions")


def _lengths(axes: Axes, report: Mapping[str, Any]) -> None:
    tokens = report["tokens"]
    names = ("min", "median", "p90", "max")
    axes.barh(names, [tokens[name] for name in names], color=_COLOUR)
    axes.axvline(tokens["kept"], color="#c1121f", linestyle="--", label=f"kept: {tokens['kept']} tokens")
    axes.set(xlabel="tokens of an item's text")
    axes.invert_yaxis()
    axes.legend()


_DRAWINGS: dict[str, tuple[Callable[[Mapping[str, Any]], bool], Drawing]] = {
    "popularity": (lambda report: bool(report["sizes"]["interactions"]), _popularity),
    "labels": (lambda report: "counts" in report["labels"], _labels),
    "times": (lambda report: bool(report["time"]["known"]), _times),
    "token_lengths": (lambda report: "min" in report["tokens"], _lengths),
}
"""What is drawn: whether the data have it, and how."""

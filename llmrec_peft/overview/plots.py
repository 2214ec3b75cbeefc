"""Plots of a description: pictures of popularity, labels, times and lengths of texts, drawn with matplotlib."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec_peft.artifact.picture import new_figure, plain, plot_folder, write_picture

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
    plot_folder(folder)
    figures = {name: new_figure(7.0, 4.0) for name, (needed, _) in _DRAWINGS.items() if needed(report)}
    for name, figure in figures.items():
        _DRAWINGS[name][1](figure.add_subplot(), report)
        figure.suptitle(plain(report["name"]))
    return [write_picture(figure, folder / f"{name}.png") for name, figure in figures.items()]


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

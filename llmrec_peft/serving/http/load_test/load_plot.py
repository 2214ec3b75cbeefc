"""Load plot: how long which share of a load test's requests waited, as a picture."""

from __future__ import annotations

from pathlib import Path

from llmrec_peft.artifact.picture import new_figure, write_picture
from llmrec_peft.serving.http.load_test.load_report import LoadReport

_LAST = 0.9999
"""Shares above it are drawn at its place: the axis of 1 / (1 - share) has no end."""
_TICKS = (0.0, 0.5, 0.9, 0.99, 0.999, _LAST)


def draw(report: LoadReport, target: Path) -> None:
    """Draw waiting against the share of requests, whose axis gives 90 %, 99 % and 99.9 % the same room.

    Args:
        report: What came out.
        target: PNG or SVG file, by its ending.

    Raises:
        InputError: If Matplotlib is not installed, or the file cannot be written.
    """
    figure = new_figure(7.0, 4.0)
    axes = figure.add_subplot()
    axes.plot([_place(share) for share, _ in report.curve], [waited for _, waited in report.curve], color="#2f6f9f")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks([_place(share) for share in _TICKS], [f"{share:.2%}".replace(".00", "") for share in _TICKS])
    axes.minorticks_off()
    axes.set_xlabel("share of requests")
    axes.set_ylabel("waited at most, ms")
    axes.set_title(f"{report.offered:g} requests per second due, {report.achieved:g} answered", fontsize=10)
    axes.grid(alpha=0.3)
    write_picture(figure, target)


def _place(share: float) -> float:
    return 1 / (1 - min(share, _LAST))

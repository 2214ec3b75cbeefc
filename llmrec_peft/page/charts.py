"""Charts as SVG inside the page: each has a title and a description that say in words what it shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from llmrec_peft.page.numbers import figure, signed
from llmrec_peft.page.scale import Scale, scale_of
from llmrec_peft.printable import for_terminal

WIDTH = 480
"""Units of a chart's width; a phone shows it at three quarters of its size."""
_LEFT, RIGHT, _ROW, _BOTTOM = 10.0, WIDTH - 10.0, 42, 30
_LONGEST = 46
"""Characters of a label."""
_POINTS = 400
"""Points of a curve, at most."""


@dataclass(frozen=True)
class Dot:
    """A figure in a chart.

    Attributes:
        label: Whose figure it is.
        value: The figure.
        kind: How it is marked: ``ours``, ``before``, ``baseline`` or ``other``; the page explains the marks.
        low: Lower end of its interval, if it has one.
        high: Upper end.
    """

    label: str
    value: float
    kind: str = "other"
    low: float | None = None
    high: float | None = None


def dots(title: str, rows: Sequence[Dot], line: float | None = None, line_label: str = "") -> Markup:
    """Draw one figure a row on a common axis, with its interval, and a vertical line to compare with.

    Args:
        title: What is drawn.
        rows: Figures, from top to bottom.
        line: Figure at which the line stands.
        line_label: What the line is.
    """
    ends = [end for row in rows for end in (row.low, row.high) if end is not None]
    scale = scale_of([*(row.value for row in rows), *ends, *([] if line is None else [line])], _LEFT, RIGHT)
    if scale is None or not rows:
        return not_drawn(title)
    height = len(rows) * _ROW + _BOTTOM
    parts = [_axis(scale, height)]
    if line is not None:
        parts.append(_vertical(scale.at(line), height))
    for number, row in enumerate(rows):
        y = number * _ROW + 30
        with_sign = row.low is not None
        parts += [rule_at(y), text_at(_LEFT, y - 13, row.label)]
        parts.append(text_at(RIGHT, y - 13, signed(row.value) if with_sign else figure(row.value), "end"))
        if row.low is not None and row.high is not None:
            parts.append(
                Markup('<line class="interval" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(
                    scale.at(row.low), y, scale.at(row.high), y
                )
            )
        parts.append(mark_at(row.kind, scale.at(row.value), y))
    said = "; ".join(_in_words(row) for row in rows)
    beside = "" if line is None else f" Line: {line_label}, {figure(line)}."
    return svg(title, f"{said}.{beside}", height, parts)


def groups(title: str, rows: Sequence[tuple[str, Sequence[Dot]]]) -> Markup:
    """Draw several figures a row on a common axis, such as three models on each slice."""
    scale = scale_of([dot.value for _, some in rows for dot in some], _LEFT, RIGHT)
    if scale is None or not rows:
        return not_drawn(title)
    height = len(rows) * _ROW + _BOTTOM
    parts = [_axis(scale, height)]
    for number, (label, some) in enumerate(rows):
        y = number * _ROW + 30
        parts += [rule_at(y), text_at(_LEFT, y - 13, label)]
        parts += [mark_at(dot.kind, scale.at(dot.value), y) for dot in some]
    said = "; ".join(f"{label}: {', '.join(map(_in_words, some))}" for label, some in rows)
    return svg(title, f"{said}.", height, parts)


def curve(title: str, values: Sequence[float], chosen: int) -> Markup:
    """Draw a metric by epoch, with a mark at the epoch that was chosen.

    Args:
        title: What is drawn.
        values: The metric after each epoch.
        chosen: The epoch, from 1; 0 or one beyond the values for none.
    """
    height, top = 210.0, 20.0
    across = scale_of([1.0, float(max(2, len(values)))], 56.0, RIGHT)
    up = scale_of(values, height - 34.0, top)
    if across is None or up is None or not values:
        return not_drawn(title)
    step = max(1, -(-len(values) // _POINTS))
    places = sorted({*range(0, len(values), step), len(values) - 1})
    points = " ".join(f"{across.at(at + 1)},{up.at(values[at])}" for at in places)
    parts = [
        Markup('<line class="rule" x1="56" y1="{0}" x2="{1}" y2="{0}"/>').format(up.at(mark), RIGHT)
        + text_at(50, up.at(mark) + 4, f"{mark:.6g}", "end")
        for mark in up.marks()
    ]
    parts.append(Markup('<polyline class="curve" points="{}"/>').format(points))
    parts += [
        text_at(across.at(1), height - 14, "epoch 1", "start"),
        text_at(RIGHT, height - 14, f"{len(values)}", "end"),
    ]
    said = f"{len(values)} epochs, from {figure(values[0])} to {figure(values[-1])}"
    if 0 < chosen <= len(values):
        parts.append(mark_at("ours", across.at(chosen), up.at(values[chosen - 1])))
        said += f"; epoch {chosen} was chosen: {figure(values[chosen - 1])}"
    return svg(title, f"{said}.", height, parts)


def svg(title: str, description: str, height: float, parts: Sequence[Markup]) -> Markup:
    """Return a chart of its parts, with what it shows in words for those who do not see it."""
    return Markup(
        '<svg class="chart" role="img" viewBox="0 0 {} {}" aria-label="{}"><title>{}</title><desc>{}</desc>{}</svg>'
    ).format(WIDTH, height, f"{title}. {description}", title, description, Markup("").join(parts))


def not_drawn(title: str) -> Markup:
    """Return what stands in place of a chart whose figures have no common scale."""
    return Markup('<p class="note">{}: these figures are too far apart to be drawn.</p>').format(title)


def _axis(scale: Scale, height: float) -> Markup:
    """Draw the marks of a horizontal axis, and their numbers below."""
    drawn = (
        Markup('<line class="grid" x1="{0}" y1="14" x2="{0}" y2="{1}"/>').format(scale.at(mark), height - 20)
        + text_at(scale.at(mark), height - 6, f"{mark:.6g}", "middle")
        for mark in scale.marks()
    )
    return Markup("").join(drawn)


def rule_at(y: float, left: float = _LEFT) -> Markup:
    """Draw a faint line across the chart."""
    return Markup('<line class="rule" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(left, y, RIGHT, y)


def _vertical(x: float, height: float) -> Markup:
    return Markup('<line class="bar" x1="{0}" y1="4" x2="{0}" y2="{1}"/>').format(x, height - 20)


def text_at(x: float, y: float, text: str, anchor: str = "start") -> Markup:
    """Write a text, shortened where it is too long."""
    plain = for_terminal(text)
    short = plain if len(plain) <= _LONGEST else f"{plain[: _LONGEST - 1]}…"
    return Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(x, y, anchor, short)


def mark_at(kind: str, x: float, y: float) -> Markup:
    """Draw a mark that is known by its shape as well as by its colour."""
    if kind == "baseline":
        return Markup('<rect class="baseline" x="{}" y="{}" width="10" height="10"/>').format(x - 5, y - 5)
    if kind == "before":
        return Markup('<circle class="before" cx="{}" cy="{}" r="5"/>').format(x, y)
    if kind == "ours":
        return Markup('<circle class="ours" cx="{}" cy="{}" r="6"/>').format(x, y)
    points = f"{x},{y - 5} {x + 5},{y} {x},{y + 5} {x - 5},{y}"
    return Markup('<polygon class="other" points="{}"/>').format(points)


def _in_words(dot: Dot) -> str:
    if dot.low is None or dot.high is None:
        return f"{dot.label} {figure(dot.value)}"
    return f"{dot.label} {signed(dot.value)}, interval {signed(dot.low)} to {signed(dot.high)}"

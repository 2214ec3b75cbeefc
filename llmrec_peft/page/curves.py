"""Curves: a metric by epoch of several models in one chart, some of them by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from llmrec_peft.page.charts import RIGHT, not_drawn, rule_at, svg, text_at
from llmrec_peft.page.numbers import figure
from llmrec_peft.page.scale import scale_of

_LEFT, _TOP, _BOTTOM, _HEIGHT = 64.0, 18.0, 216.0, 250.0
_POINTS = 400
"""Points of a curve, at most."""


@dataclass(frozen=True)
class Line:
    """A metric by epoch.

    Attributes:
        label: Whose it is.
        values: The metric after each epoch, at least one.
        kind: Class of the line: ``curve`` is drawn strongly, ``frozen`` dashed, ``faint`` in the background.
    """

    label: str
    values: tuple[float, ...]
    kind: str = "faint"


def curves(title: str, lines: Sequence[Line]) -> Markup:
    """Draw metrics by epoch; strong lines are last, on top of the others."""
    longest = max((len(line.values) for line in lines), default=0)
    across = scale_of([1.0, float(max(2, longest))], _LEFT, RIGHT)
    up = scale_of([value for line in lines for value in line.values], _BOTTOM, _TOP)
    if across is None or up is None or longest == 0:
        return not_drawn(title)
    parts = [
        rule_at(up.at(mark), _LEFT) + text_at(_LEFT - 6, up.at(mark) + 4, f"{mark:.6g}", "end") for mark in up.marks()
    ]
    for line in sorted(lines, key=lambda one: one.kind != "faint"):
        step = max(1, -(-len(line.values) // _POINTS))
        places = sorted({*range(0, len(line.values), step), len(line.values) - 1})
        points = " ".join(f"{across.at(at + 1)},{up.at(line.values[at])}" for at in places)
        words = f"{line.label}: {figure(line.values[0])} to {figure(line.values[-1])}"
        drawn = (
            Markup('<polyline class="{}" points="{}"/>').format(line.kind, points)
            if len(places) > 1
            else Markup('<circle class="{}" cx="{}" cy="{}" r="3"/>').format(line.kind, *points.split(","))
        )
        parts.append(Markup("<g><title>{}</title>{}</g>").format(words, drawn))
    parts += [text_at(across.at(1), _HEIGHT - 14, "epoch 1"), text_at(RIGHT, _HEIGHT - 14, f"{longest}", "end")]
    said = "; ".join(f"{line.label} from {figure(line.values[0])} to {figure(line.values[-1])}" for line in lines)
    return svg(title, f"{said}.", _HEIGHT, parts)

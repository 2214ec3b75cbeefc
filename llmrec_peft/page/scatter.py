"""Scatter: figures set against a cost, with the Pareto front: what nothing else beats in both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from llmrec_peft.page.charts import RIGHT, mark_at, not_drawn, rule_at, svg, text_at
from llmrec_peft.page.numbers import figure
from llmrec_peft.page.scale import Scale, scale_of

_LEFT, _TOP, _BOTTOM, _HEIGHT = 64.0, 18.0, 300.0, 350.0
_LETTER, _LINE = 7.0, 15.0
"""Units that a letter and a line of a label take."""
_DECADES = 1.3
"""Costs that are further apart than this, in powers of ten, stand on a logarithmic scale."""


@dataclass(frozen=True)
class Spot:
    """A figure with its cost.

    Attributes:
        label: Whose they are.
        cost: The cost, at least zero.
        value: The figure.
        kind: How it is marked off the front, as in `llmrec_peft.page.charts.Dot`.
    """

    label: str
    cost: float
    value: float
    kind: str = "other"


def front(spots: Sequence[Spot], lower_is_better: bool) -> list[Spot]:
    """Return the spots that no other beats in cost and figure, by rising cost.

    >>> [one.label for one in front([Spot("a", 1, 0.5), Spot("b", 2, 0.6), Spot("c", 3, 0.4)], True)]
    ['a', 'c']
    """
    sign = 1.0 if lower_is_better else -1.0
    kept: list[Spot] = []
    for spot in sorted(spots, key=lambda one: (one.cost, sign * one.value)):
        if not kept or sign * spot.value < sign * kept[-1].value:
            kept.append(spot)
    return kept


def scatter(
    title: str,
    spots: Sequence[Spot],
    cost_label: str,
    value_label: str,
    lower_is_better: bool,
    line: float | None = None,
    line_label: str = "",
) -> Markup:
    """Draw figures (upwards) against costs (to the right), the front as circles that are joined and named.

    Args:
        title: What is drawn.
        spots: Figures with their costs.
        cost_label: What the cost is, with its unit.
        value_label: What the figure is.
        lower_is_better: Whether a lower figure is better.
        line: Figure of a horizontal line to compare with.
        line_label: What the line is.
    """
    values = [spot.value for spot in spots]
    near = line is not None and _near(line, values)
    logarithmic = is_logarithmic([spot.cost for spot in spots])
    across = scale_of([_place(spot.cost, logarithmic) for spot in spots], _LEFT, RIGHT)
    up = scale_of([*values, *([line] if line is not None and near else [])], _BOTTOM, _TOP)
    if across is None or up is None or not spots:
        return not_drawn(title)
    best = front(spots, lower_is_better)
    parts = _axes(across, up, logarithmic, cost_label)
    parts.append(text_at(_LEFT, _TOP - 4, f"{value_label}, {'lower' if lower_is_better else 'higher'} is better"))
    if line is not None:
        places = [(across.at(_place(spot.cost, logarithmic)), up.at(spot.value)) for spot in spots]
        parts += _line(up.at(line), line_label, places) if near else _far(line, line_label, line > max(values))
    points = [(across.at(_place(spot.cost, logarithmic)), up.at(spot.value)) for spot in best]
    parts.append(
        Markup('<polyline class="front" points="{}"/>').format(" ".join(f"{x},{y}" for x, y in points))
        if len(points) > 1
        else Markup("")
    )
    for spot in spots:
        x, y = across.at(_place(spot.cost, logarithmic)), up.at(spot.value)
        kind = "ours" if spot in best else spot.kind
        words = f"{spot.label}: {figure(spot.value)} at {_number(spot.cost)}"
        parts.append(Markup("<g><title>{}</title>{}</g>").format(words, mark_at(kind, x, y)))
    parts += _names([(spot.label, *place) for spot, place in zip(best, points, strict=True)])
    said = "; ".join(f"{spot.label} {figure(spot.value)} at {_number(spot.cost)}" for spot in best)
    beside = "" if line is None else f" Line: {line_label}, {figure(line)}."
    return svg(title, f"{len(spots)} methods. On the front: {said}.{beside}", _HEIGHT, parts)


def _axes(across: Scale, up: Scale, logarithmic: bool, cost_label: str) -> list[Markup]:
    """Draw the marks of both axes with their numbers."""
    parts = []
    for mark in up.marks():
        parts += [rule_at(up.at(mark), _LEFT), text_at(_LEFT - 6, up.at(mark) + 4, f"{mark:.6g}", "end")]
    for cost in _powers(across) if logarithmic else across.marks():
        x = across.at(_place(cost, logarithmic))
        parts.append(
            Markup('<line class="grid" x1="{0}" y1="{1}" x2="{0}" y2="{2}"/>').format(x, _TOP, _BOTTOM)
            + text_at(x, _BOTTOM + 16, _number(cost), "middle")
        )
    return [*parts, text_at((_LEFT + RIGHT) / 2, _BOTTOM + 36, cost_label, "middle")]


def _near(line: float, values: Sequence[float]) -> bool:
    """Return whether a line is so near to the figures that it does not press them together."""
    low, high = min(values, default=line), max(values, default=line)
    return low - (high - low) <= line <= high + (high - low)


def _line(y: float, label: str, places: Sequence[tuple[float, float]]) -> list[Markup]:
    """Draw a horizontal line, its label at the end where fewer spots are near it."""
    drawn = Markup('<line class="bar" x1="{0}" y1="{2}" x2="{1}" y2="{2}"/>').format(_LEFT, RIGHT, y)
    near = [x > (_LEFT + RIGHT) / 2 for x, at in places if abs(at - y) < 2 * _LINE]
    right = near.count(True) <= near.count(False)
    return [drawn, text_at(RIGHT if right else _LEFT, y - 5, label, "end" if right else "start")]


def _far(line: float, label: str, above: bool) -> list[Markup]:
    """Say where a line is that does not fit into the chart."""
    return [
        text_at(RIGHT, _TOP - 4 if above else _BOTTOM - 4, f"{label} {figure(line)} {'↑' if above else '↓'}", "end")
    ]


def _names(named: Sequence[tuple[str, float, float]]) -> list[Markup]:
    """Write names beside their places, moved up or down where another name stands."""
    taken: list[tuple[float, float, float]] = []
    parts = []
    for label, x, y in sorted(named, key=lambda one: one[2]):
        shown = label if len(label) <= 24 else f"{label[:23]}…"  # noqa: PLR2004 - characters that fit beside a mark
        wide = len(shown) * _LETTER
        left = x + 9 + wide > RIGHT
        start = x - 9 - wide if left else x + 9
        at = y + 4
        while any(abs(at - line) < _LINE and start < end and begin < start + wide for begin, end, line in taken) and (
            at < _BOTTOM
        ):
            at += _LINE
        taken.append((start, start + wide, at))
        parts.append(text_at(x - 9 if left else x + 9, at, shown, "end" if left else "start"))
    return parts


def is_logarithmic(costs: Sequence[float]) -> bool:
    """Return whether costs are so far apart that they stand on a logarithmic scale."""
    least, most = min(costs, default=0.0), max(costs, default=0.0)
    return least > 0.0 and math.log10(most / least) > _DECADES


def _place(cost: float, logarithmic: bool) -> float:
    return math.log10(cost) if logarithmic else cost


def _powers(across: Scale) -> list[float]:
    """Return round costs inside a logarithmic scale: powers of ten, and two and five times these on a short one."""
    factors = (1, 2, 5) if across.high - across.low < 2 else (1,)  # noqa: PLR2004 - decades
    exponents = range(math.floor(across.low), math.ceil(across.high) + 1)
    found = [factor * 10.0**exponent for exponent in exponents for factor in factors]
    return [cost for cost in found if across.low <= math.log10(cost) <= across.high]


def _number(cost: float) -> str:
    """Return a cost as short as an axis needs it.

    >>> _number(24282), _number(1_500_000), _number(12.5), _number(0.25)
    ('24.3 k', '1.5 M', '12.5', '0.25')
    """
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if abs(cost) >= size:
            return f"{cost / (1e3 if unit == ' k' else size):.3g}{unit}"
    return f"{cost:,.4g}" if abs(cost) < 1000 else f"{cost:,.0f}"  # noqa: PLR2004 - from here without decimals

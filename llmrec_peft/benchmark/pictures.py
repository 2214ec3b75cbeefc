"""Pictures: a report's gains over baselines with their intervals, and accuracy against costs, as PNG files."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec_peft.artifact.picture import new_figure, plain, plot_folder, write_picture
from llmrec_peft.benchmark.against import Records, against_best_baseline
from llmrec_peft.benchmark.costs import CUDA, NEW_ITEM, RSS, TRAINABLE, Cost
from llmrec_peft.benchmark.grouping import groups_of
from llmrec_peft.benchmark.markdown import metric_name
from llmrec_peft.benchmark.matrix import Matrix
from llmrec_peft.benchmark.sections import BEST_BASELINE
from llmrec_peft.benchmark.spots import best_baseline, spots_of
from llmrec_peft.benchmark.tasks import FROZEN, Task, tasks_of
from llmrec_peft.errors import InputError
from llmrec_peft.identity import values_digest
from llmrec_peft.page.scatter import Spot, front, is_logarithmic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GAINS, COSTS = "gains", "costs"
"""Names of the two pictures, without their ending."""
_TALLEST = 200.0
"""Inches of a picture: a taller one cannot be read, nor drawn in a reasonable time."""
_FEWEST_SPOTS = 3
"""Groups from which a task's accuracy is drawn against costs."""
_LABEL = 48
"""Characters of a group's name."""
_BAR, _HEAD, _PANEL = 0.22, 0.8, 3.1
"""Inches of a row, of what stands around a task's rows, and of a plot against a cost."""
_WON, _LEVEL, _LOST, _GREY = "#1b7f4d", "#5b6b7b", "#b3261e", "#8a94a0"


@dataclass(frozen=True)
class Bar:
    """A group's gain over its best baseline.

    Attributes:
        label: Which group.
        gain: Mean test figure of the tuned model less the baseline's, turned so that more is better.
        low: Lower end of its 95 % interval; None where the noise is not known.
        high: Upper end.
        how: How the interval was computed.
    """

    label: str
    gain: float
    low: float | None
    high: float | None
    how: str

    @property
    def colour(self) -> str:
        """Green for a gain beyond the noise, red for none at all, grey between."""
        if self.gain <= 0.0:
            return _LOST
        return _WON if self.low is not None and self.low > 0.0 else _LEVEL


@dataclass(frozen=True)
class Gains:
    """What is drawn of a task's gains.

    Attributes:
        task: The task.
        bars: Gains of its groups, the best first.
        references: Models that they are read by, with their own gains.
    """

    task: Task
    bars: Sequence[Bar]
    references: Sequence[tuple[str, float]]

    @property
    def height(self) -> float:
        """Inches that they take."""
        return _BAR * (len(self.bars) + len(self.references)) + _HEAD


def write_pictures(report: Mapping[str, Any], folder: Path, prefix: str = "") -> list[Path]:
    """Draw a report into a folder, which is made; pictures of the same name are replaced.

    ``gains.png`` has each task's groups less their best baseline, with the wider interval, and the model without texts;
    ``costs.png`` has accuracy against trained parameters, memory and latency for tasks of three groups and more. Both
    say under the keyword ``Source`` the digest of what was drawn.

    Args:
        report: Contents of ``results.json``.
        folder: Where they go.
        prefix: What the names begin with.

    Returns:
        The files: only what the report has is drawn.

    Raises:
        InputError: If matplotlib is missing, there is nothing to draw, or a file cannot be written.
    """
    matrix = Matrix.from_plain(report["matrix"], report["name"])
    tasks = tasks_of(groups_of(report["rows"]), matrix)
    records = report.get("comparisons", ())
    gains = [Gains(task, bars, references_of(task)) for task in tasks if (bars := bars_of(task, records))]
    costs = [(task, panels) for task in tasks if (panels := _panels(task))]
    if not gains and not costs:
        raise InputError(f"--plot: nothing of {report['name']} can be drawn: no cell has a figure and a baseline")
    if max(sum(one.height for one in gains), _PANEL * len(costs)) > _TALLEST:
        raise InputError(f"--plot: {report['name']} has too many groups for one picture: draw a part of the matrix")
    plot_folder(folder)
    source = values_digest(
        [
            [[one.task.title, _texts(map(astuple, one.bars)), _texts(one.references)] for one in gains],
            [[task.title, cost.key, _texts(map(astuple, own))] for task, panels in costs for cost, own in panels],
        ]
    )
    figures = {GAINS: _gains(gains) if gains else None, COSTS: _costs(costs) if costs else None}
    return [
        write_picture(figure, folder / f"{prefix}{name}.png", source)
        for name, figure in figures.items()
        if figure is not None
    ]


def bars_of(task: Task, records: Records) -> list[Bar]:
    """Return the groups' gains over their best baselines on test, the best first; groups without one are left out."""
    bars = []
    for group in task.groups:
        apart = against_best_baseline(group, task.metric, records)
        if apart is None:
            continue
        label = task.name(group) + (f" ({FROZEN})" if task.role(group) == FROZEN else "")
        ends = [] if apart.low is None or apart.high is None else sorted(map(task.gain, (apart.low, apart.high)))
        low, high = ends or (None, None)
        bars.append(Bar(label, task.gain(apart.value), low, high, apart.how))
    return sorted(bars, key=lambda bar: -bar.gain)


def references_of(task: Task) -> list[tuple[str, float]]:
    """Return the models that gains are read by, with their own: without texts, before tuning, and published ones."""
    best = best_baseline(task)
    if best is None:
        return []
    return [
        (one.label, task.gain(statistics.mean(one.test) - best))
        for one in task.references()
        if one.test and one.model != BEST_BASELINE
    ]


def _texts(rows: Iterable[Sequence[object]]) -> list[list[str]]:
    """Return rows of values as texts; numbers have as many digits as every processor agrees on."""
    return [[f"{value:.8g}" if isinstance(value, float) else str(value) for value in row] for row in rows]


def _gains(drawn: Sequence[Gains]) -> Figure:
    """Draw each task's gains below each other."""
    heights = [one.height for one in drawn]
    figure = new_figure(8.0, sum(heights))
    every = figure.subplots(len(drawn), 1, squeeze=False, gridspec_kw={"height_ratios": heights})
    for axes, one in zip(every[:, 0], drawn, strict=True):
        _task_gains(axes, one)
    return figure


def _task_gains(axes: Axes, drawn: Gains) -> None:
    """Draw a task's gains, the best first, and below them the models that they are read by."""
    task, bars, references = drawn.task, drawn.bars, drawn.references
    for at, bar in enumerate(bars):
        if bar.low is not None and bar.high is not None:
            axes.plot([bar.low, bar.high], [at, at], color=bar.colour, linewidth=1.6, solid_capstyle="butt")
        axes.plot([bar.gain], [at], "v" if bar.gain <= 0.0 else "o", color=bar.colour, markersize=5)
    axes.axvline(0.0, color="black", linewidth=0.8)
    low, high = axes.get_xlim()
    for at, (_, gain) in enumerate(references, len(bars)):
        if low - (high - low) <= gain <= high + (high - low):
            axes.plot([gain], [at], "D", color=_GREY, markersize=4)
        else:  # it would press the intervals together
            right = gain > high
            axes.text(
                0.995 if right else 0.005,
                at,
                f"{gain:+.4f} →" if right else f"← {gain:+.4f}",
                transform=axes.get_yaxis_transform(),
                ha="right" if right else "left",
                va="center",
                fontsize=7,
                color=_GREY,
            )
    names = [*(bar.label for bar in bars), *(label for label, _ in references)]
    axes.set_yticks(range(len(names)), [plain(name, _LABEL) for name in names], fontsize=8)
    for tick in axes.get_yticklabels()[len(bars) :]:
        tick.set(color=_GREY, style="italic")
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="x", labelsize=8)
    metric = metric_name(task.metric)
    hows = {bar.how for bar in bars if bar.how}
    by = f", 95 % interval {hows.pop()}" if len(hows) == 1 else ", 95 % interval" if hows else ""
    axes.set_xlabel(plain(f"gain in {metric} over the best baseline{by}"), fontsize=8)
    axes.set_title(plain(f"{task.title}: best baseline {metric} {_best_baselines(task)}"), fontsize=9, loc="left")
    axes.spines[["top", "right"]].set_visible(False)


def _best_baselines(task: Task) -> str:
    """Return the test figure of the groups' best baselines, or the least and the most where these differ."""
    values = [group.values("test", BEST_BASELINE, task.metric) for group in task.groups]
    means = sorted(f"{statistics.mean(one):.4f}" for one in values if one)
    return means[0] if means[0] == means[-1] else f"{means[0]} to {means[-1]}"


def _panels(task: Task) -> list[tuple[Cost, list[Spot]]]:
    """Return the costs that enough of a task's groups have: trained parameters, memory, and latency of a new item."""
    memory = CUDA if any(CUDA.values(group) for group in task.groups) else RSS
    found = [(cost, spots_of(task, cost)) for cost in (TRAINABLE, memory, NEW_ITEM)]
    return [(cost, spots) for cost, spots in found if len(spots) >= _FEWEST_SPOTS]


def _costs(drawn: Sequence[tuple[Task, Sequence[tuple[Cost, Sequence[Spot]]]]]) -> Figure:
    """Draw a row of plots for each task."""
    across = max(len(panels) for _, panels in drawn)
    figure = new_figure(_PANEL * 1.25 * across, _PANEL * len(drawn))
    every = figure.subplots(len(drawn), across, squeeze=False)
    for row, (task, panels) in zip(every, drawn, strict=True):
        for axes in row[len(panels) :]:
            axes.set_visible(False)
        for axes, (cost, spots) in zip(row, panels, strict=False):
            _against_cost(axes, task, cost, spots)
        row[0].set_title(plain(task.title), fontsize=9, loc="left")
    return figure


def _against_cost(axes: Axes, task: Task, cost: Cost, spots: Sequence[Spot]) -> None:
    best = front(spots, task.lower_is_better)
    others = [spot for spot in spots if spot not in best]
    axes.scatter([one.cost for one in others], [one.value for one in others], marker="D", s=16, color=_GREY)
    axes.plot([one.cost for one in best], [one.value for one in best], "o:", color=_WON, markersize=5)
    for at, spot in enumerate(best):
        aside = (4, -9 if at % 2 else 4)  # by turns below and above: neighbours are near each other
        axes.annotate(plain(spot.label, _LABEL), (spot.cost, spot.value), aside, textcoords="offset points", fontsize=7)
    if is_logarithmic([spot.cost for spot in spots]):
        axes.set_xscale("log")
    direction = "lower" if task.lower_is_better else "higher"
    axes.set_xlabel(cost.label, fontsize=8)
    axes.set_ylabel(f"test {metric_name(task.metric)} ({direction} is better)", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)

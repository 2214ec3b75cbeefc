"""Markdown: tables with aligned source, paragraphs folded at 80 columns, figures with their spread."""

from __future__ import annotations

import re
import statistics
import textwrap
from collections.abc import Sequence

from llmrec_peft.artifact.figures import NO_BETTER
from llmrec_peft.printable import for_terminal

LOSES = NO_BETTER
"""Mark of a figure that is no better than that of the best baseline."""
NOTHING = "–"
"""Placeholder of a missing figure."""
_WIDTH = 80
_PIPE = re.compile(r"(?<!\\)\|")


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Return the lines of a table, columns padded to their widest cell.

    >>> print("\\n".join(table(["model", "test"], [["bias", "0.9"], ["tuned", "0.85"]])))
    | model | test |
    | ----- | ---: |
    | bias  |  0.9 |
    | tuned | 0.85 |

    Args:
        columns: Headings.
        rows: Cells.
        left: Number of columns, from the first, that are aligned left; the others are aligned right.
    """
    cells = [[escaped(cell) for cell in row] for row in (columns, *rows)]
    widths = [max(4, *(len(row[at]) for row in cells)) for at in range(len(columns))]

    def line(row: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if at < left else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return "| " + " | ".join(padded) + " |"

    rule = ["-" * width if at < left else "-" * (width - 1) + ":" for at, width in enumerate(widths)]
    return [line(cells[0]), "| " + " | ".join(rule) + " |", *map(line, cells[1:])]


def paragraph(text: str, bullet: bool = False) -> str:
    """Fold a text at 80 columns, as a paragraph or an entry of a list."""
    first, rest = ("- ", "  ") if bullet else ("", "")
    return textwrap.fill(
        " ".join(for_terminal(text).split()),
        _WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )


def escaped(text: str) -> str:
    """Make a cell of our own Markdown one line that cannot end early; what others wrote goes through `for_markdown`."""
    return _PIPE.sub(r"\|", " ".join(for_terminal(text).split()))


def spread(values: Sequence[float]) -> str:
    """Return mean ± standard deviation; a single figure alone, a dash for none.

    >>> spread([0.8, 0.9])
    '0.8500 ± 0.0707'
    """
    if not values:
        return NOTHING
    if len(values) == 1:
        return f"{values[0]:.4f}"
    return f"{statistics.mean(values):.4f} ± {statistics.stdev(values):.4f}"


def short(figure: float) -> str:
    """Return a published figure with three decimals, or four if it has them.

    >>> short(0.72), short(0.0685)
    ('0.720', '0.0685')
    """
    return f"{figure:.3f}" if round(figure, 3) == round(figure, 4) else f"{figure:.4f}"


def difference(interval: dict[str, float]) -> str:
    """Return a difference with its 95 % interval."""
    return f"{interval['difference']:+.4f} [{interval['low']:+.4f}, {interval['high']:+.4f}]"


def metric_name(metric: str) -> str:
    """Return the name of a metric for people.

    >>> metric_name("log_loss"), metric_name("hr@10")
    ('LOG-LOSS', 'HR@10')
    """
    return metric.upper().replace("_", "-")

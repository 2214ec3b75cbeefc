"""Roles: what a column that describes items or users is read as: a text, categories, a number, a year, or nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from llmrec_peft.custom.facts import Facts
from llmrec_peft.custom.guess import listed
from llmrec_peft.custom.words import is_id

Role = Literal["text", "category", "number", "year", "left out"]
Said = tuple[Role, str]

MOST_CATEGORIES = 5_000
"""Distinct categories of a column at most."""
_LONG_TEXT = 5.0
"""Words from which on a text is read, not taken for a category."""
_NAME = 1.5
"""Words from which on a text that differs from row to row is a name or a title, not a code."""
_SHARED = 2.0
"""Rows that share a category at least, in the mean."""
_FEW_GROUPS = 10
_SMALL = 50
"""Rows below which numbers that differ from row to row can still be quantities."""


def role_of(facts: Facts) -> Said:
    """Return what a describing column is read as, and why in one sentence."""
    if facts.kind != "empty" and facts.distinct == 1 and facts.kind != "list":
        return "left out", "all rows have the same value"
    return _BY_KIND[facts.kind](facts)


def _of_number(facts: Facts) -> Said:
    many = f"{facts.distinct:,} distinct values"
    if facts.sure_time and facts.is_named("time"):
        return "year", facts.time_said
    if facts.whole and is_id(facts.name) and facts.distinct > _FEW_GROUPS:
        return ("category", f"{many}: ids of groups") if _is_shared(facts) else ("left out", f"{many}: ids")
    if facts.whole and facts.filled == facts.distinct and facts.rows > _SMALL:
        return "left out", "every row has a number of its own, as ids have"
    return "number", f"numbers from {facts.low:g} to {facts.high:g}"


def _of_list(facts: Facts) -> Said:
    if facts.words >= _LONG_TEXT:
        return ("text", "lists of texts") if facts.mark == "" else ("left out", "lists of long texts")
    if facts.mark != "":
        return "category", f"lists divided by {facts.mark!r}, such as {listed(facts.examples[:1])}"
    if facts.distinct > MOST_CATEGORIES:
        return "left out", f"lists of {facts.distinct:,} distinct values, which are too many for categories"
    return "category", f"lists of {facts.distinct:,} distinct values"


def _of_text(facts: Facts) -> Said:
    many = f"{facts.distinct:,} distinct values"
    if facts.words >= _LONG_TEXT:
        return "text", f"texts of {facts.words:.0f} words in the mean"
    if _is_shared(facts):
        return "category", f"{many} in {facts.filled:,} rows, such as {listed(facts.examples)}"
    if facts.lettered and facts.words >= _NAME:
        return "text", f"{many}, names such as {listed(facts.examples[:2])}"
    return "left out", f"{many} in {facts.filled:,} rows: nearly every row has its own"


def _is_shared(facts: Facts) -> bool:
    return facts.repeated >= _SHARED and facts.distinct <= MOST_CATEGORIES


_BY_KIND: dict[str, Callable[[Facts], Said]] = {
    "empty": lambda facts: ("left out", "it is empty"),
    "url": lambda facts: ("left out", "addresses and files are not read"),
    "time": lambda facts: ("year", facts.time_said),
    "flag": lambda facts: ("category", f"its values are {listed(facts.examples)}"),
    "number": _of_number,
    "list": _of_list,
    "text": _of_text,
}

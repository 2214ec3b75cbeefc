"""Labels: whether a column of interactions has ratings, clicks or counts, and on which scale."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import get_args

from llmrec_peft.custom.facts import NUMBER, Facts
from llmrec_peft.custom.guess import Given, Guess, Looked, listed
from llmrec_peft.custom.texts import as_texts
from llmrec_peft.data.dataset import Feedback
from llmrec_peft.errors import InputError
from llmrec_peft.printable import quoted

_TABLE = "interactions"
_MOST_LEVELS = 21
"""Distinct ratings at most where no name says that a column has ratings: 0 to 10 in halves."""
_USUAL = ((1.0, 5.0), (0.5, 5.0), (0.0, 5.0), (1.0, 10.0), (0.0, 10.0), (1.0, 7.0), (1.0, 100.0), (0.0, 100.0))
_LEAST_STEP, _ROUNDING = 0.1, 1e-6
_CLICK = frozenset((0.0, 1.0))
_FAR = 5.0
"""How much larger the largest of counts is than what half of them reach, at least."""


@dataclass(frozen=True)
class Label:
    """What labels mean.

    Attributes:
        guess: The column, with the evidence.
        feedback: The kind of feedback.
        scale: Lowest and highest rating, for ratings.
    """

    guess: Guess
    feedback: Feedback
    scale: tuple[float, float] | None = None


def label_of(looked: Looked, given: Given, taken: Collection[str]) -> Label:
    """Guess which column has labels and what they mean; without one every row is an interaction and no more.

    Raises:
        InputError: For a column or a kind of feedback that the user gave and that does not fit.
    """
    feedback: Feedback | None = given.get("feedback")
    if feedback is not None and feedback not in get_args(Feedback):
        raise InputError(f"--feedback: {quoted(feedback, 60)} is none of {', '.join(get_args(Feedback))}")
    if feedback == "implicit":
        return Label(Guess(_TABLE, "label", None, "as you said: every row counts alike"), "implicit")
    column = given.get("rating_column")
    if column is not None:
        facts = looked.facts[looked.require(str(column), "--rating-column")]
        if facts.kind not in ("number", "flag"):
            _require_all_numbers(looked, facts)
            raise InputError(f"--rating-column: column {column!r} has no numbers, but {listed(facts.examples)}")
        return _meant(facts, feedback, given, "as you said")
    free = [facts for name, facts in looked.facts.items() if name not in taken and facts.kind in ("number", "flag")]
    free = [facts for facts in free if not facts.sure_time]
    found = _by_name(free, feedback) or _by_values(free, looked.headed)
    if found is not None:
        return _meant(found[0], feedback, given, found[1], found[2])
    if feedback is not None:
        raise InputError(
            f"--feedback {feedback}: which column has the labels? Say --rating-column NAME; there are"
            f" {listed(looked.facts)}"
        )
    _require_numbers(looked, taken)
    counts = next((facts for facts in free if _is_count(facts)), None)
    if counts is not None:
        said = (
            f"numbers from {counts.low:g} to {counts.high:g}, half of them up to {counts.middle:g}, are counts and no"
            " ratings: that there is a row counts, not how large it is"
        )
        return Label(Guess(_TABLE, "count", counts.name, said, not counts.is_named("count")), "implicit")
    said, odd = "no column has ratings or clicks: every row counts alike", _nearly_numbers(looked, taken)
    odd = odd or _unread_opinion(looked, taken)
    return Label(Guess(_TABLE, "label", None, f"{said}{odd}", bool(odd)), "implicit")


def _nearly_numbers(looked: Looked, taken: Collection[str]) -> str:
    """Say of the first column that has numbers but for a few cells which of them is none; nothing if none has."""
    for name, facts in looked.facts.items():
        if name not in taken and facts.kind == "text" and not facts.lettered:
            odd = looked.odd_cell(name)
            if odd is not None:
                return f"; column {quoted(name, 60)} has numbers, but {odd} is none (of a file: --skip-bad N)"
    return ""


def _require_numbers(looked: Looked, taken: Collection[str]) -> None:
    """Refuse a column that is called as ratings are and has numbers but for a few cells: it would count for nothing.

    Raises:
        InputError: Naming the first such cell, and the options that help.
    """
    for name, facts in looked.facts.items():
        if name not in taken and facts.is_named("rating") >= 3:  # noqa: PLR2004
            _require_all_numbers(looked, facts)


def _require_all_numbers(looked: Looked, facts: Facts) -> None:
    """Refuse a column that has numbers but for a few cells.

    Raises:
        InputError: Naming the first such cell, and the options that help.
    """
    import pyarrow.compute as pc

    if facts.kind != "text":
        return
    texts = as_texts(looked.table.column(facts.name))
    fits = pc.fill_null(pc.match_substring_regex(texts, NUMBER), True)
    if 2 * (pc.sum(fits).as_py() - texts.null_count) > facts.filled:
        row = pc.index(fits, False).as_py()
        raise InputError(
            f"{looked.called}: {looked.place(row)}, column {quoted(facts.name, 60)}: {quoted(texts[row].as_py(), 60)}"
            " is no number; mend it, leave such rows out (of a file: --skip-bad N), or say --rating-column NAME for"
            " another column, or --feedback implicit"
        )


def _by_name(free: list[Facts], feedback: Feedback | None) -> tuple[Facts, str, bool] | None:
    """Return the column whose name says that it has ratings or clicks."""
    for kind in ("rating", "click") if feedback != "click" else ("click", "rating"):
        named = [
            facts
            for facts in free
            if facts.is_named(kind) and facts.distinct > 1 and not (kind == "click" and not _is_binary(facts))
        ]
        named = [facts for facts in named if kind == "click" or facts.is_named("rating") == 3 or rating_like(facts)]  # noqa: PLR2004
        if kind == "rating":
            named = [facts for facts in named if not _is_count(facts) or facts.high <= 100]  # noqa: PLR2004
        if named:
            best = max(named, key=lambda facts: facts.is_named(kind))
            rivals = [facts for facts in named if facts is not best and facts.is_named(kind) == best.is_named(kind)]
            more = f"; it could also be {listed(facts.name for facts in rivals)}" if rivals else ""
            return best, f"its name{more}", bool(rivals)
    return None


def _by_values(free: list[Facts], headed: bool) -> tuple[Facts, str, bool] | None:
    """Return the only column whose values look like ratings, or without names like clicks."""
    named_else = [facts for facts in free if not facts.is_named("count")]
    like = [facts for facts in named_else if rating_like(facts)]
    if len(like) == 1:
        return like[0], "its name says nothing" if headed else "the file names no columns", headed
    binary = [facts for facts in named_else if _is_binary(facts) and facts.distinct > 1]
    if not headed and not like and len(binary) == 1:
        return binary[0], "the file names no columns", True
    return None


def _meant(facts: Facts, feedback: Feedback | None, given: Given, said: str, unsure: bool = False) -> Label:
    """Return what the labels of a column mean."""
    if feedback is None:
        feedback = "click" if _is_binary(facts) else "rating"
    if feedback == "click":
        if not _is_binary(facts):
            raise InputError(
                f"--feedback click: column {facts.name!r} has other values than 1 and 0: {listed(facts.examples)}"
            )
        return Label(
            Guess(_TABLE, "click", facts.name, f"{said}; its values are {listed(facts.examples)}", unsure), "click"
        )
    if facts.kind != "number":
        raise InputError(f"--feedback rating: column {facts.name!r} has no numbers, such as {listed(facts.examples)}")
    scale = usual_scale(facts) if given.get("scale") is None else _given_scale(given["scale"], facts)
    spread = f"{len(facts.levels)} levels" if facts.levels else "numbers"
    said = f"{said}; {spread} from {facts.low:g} to {facts.high:g}, a scale of {scale[0]:g} to {scale[1]:g}"
    if facts.low < 0 <= facts.middle and facts.low == -1.0 and facts.high > 1.0:
        return Label(
            Guess(_TABLE, "rating", facts.name, f"{said}; -1 often stands for no rating", True), "rating", scale
        )
    return Label(Guess(_TABLE, "rating", facts.name, said, unsure), "rating", scale)


def _given_scale(scale: object, facts: Facts) -> tuple[float, float]:
    """Return the scale that the user gave.

    Raises:
        InputError: If it is no lowest and highest number, or a rating lies outside of it.
    """
    try:
        low, high = map(float, scale)  # type: ignore[call-overload]
    except (TypeError, ValueError):
        raise InputError(
            f"--scale: {quoted(scale, 60)} is not a lowest and a highest rating, such as 1 and 5"
        ) from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InputError(f"--scale: {low:g} is not below {high:g}, or one of them is not finite")
    if facts.low < low or facts.high > high:
        raise InputError(
            f"--scale: the ratings in column {quoted(facts.name, 60)} go from {facts.low:g} to {facts.high:g}, which"
            f" {low:g} to {high:g} does not hold"
        )
    return low, high


def usual_scale(facts: Facts) -> tuple[float, float]:
    """Return the scale of ratings: the first usual one that holds them and ends where they end, else their range."""
    usual = ((low, high) for low, high in _USUAL if facts.high == high and 0.0 <= low <= facts.low)
    return next(usual, (facts.low, facts.high))


def rating_like(facts: Facts) -> bool:
    """Return whether numbers look like ratings: three or more evenly spaced levels between 0 and 10."""
    levels = facts.levels
    if facts.kind != "number" or not 3 <= len(levels) <= _MOST_LEVELS or facts.low < 0.0 or facts.high > 10.0:  # noqa: PLR2004
        return False
    step = min(after - before for before, after in itertools.pairwise(levels))
    steps = [(level - levels[0]) / step for level in levels]
    return step >= _LEAST_STEP and all(abs(count - round(count)) < _ROUNDING for count in steps)


def _is_binary(facts: Facts) -> bool:
    return facts.kind == "flag" or (bool(facts.levels) and set(facts.levels) <= _CLICK)


def _is_count(facts: Facts) -> bool:
    """Return whether numbers are counts, weights or durations: by name, or by a long tail."""
    if facts.kind != "number" or facts.low < 0.0 or facts.distinct < 2:  # noqa: PLR2004
        return False
    return facts.is_named("count") > 0 or (facts.high > 20.0 and facts.high > _FAR * max(facts.middle, 1.0))  # noqa: PLR2004


def _unread_opinion(looked: Looked, taken: Collection[str]) -> str:
    """Say which column could say what users think, but is not read, such as words or ups and downs; nothing if none."""
    for name, facts in looked.facts.items():
        named = max(facts.is_named("rating"), facts.is_named("click")) == 3 and facts.kind != "empty"  # noqa: PLR2004
        below_zero = facts.kind == "number" and facts.low < 0.0 and len(facts.levels) in range(2, _MOST_LEVELS + 1)
        if name not in taken and facts.distinct > 1 and (named or below_zero):
            return f"; {quoted(name, 60)} could be one, but {listed(facts.examples)} are not read as such"
    return ""

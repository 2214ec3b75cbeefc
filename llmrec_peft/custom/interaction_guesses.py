"""Interactions: which column is the user, the item, the label, the time, the review and the kind of event."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from llmrec_peft.custom.columns import InteractionColumns
from llmrec_peft.custom.facts import Facts
from llmrec_peft.custom.guess import Given, Guess, Looked, listed, overlap, percent
from llmrec_peft.custom.labels import Label, label_of
from llmrec_peft.custom.times import TimeForm
from llmrec_peft.errors import InputError
from llmrec_peft.printable import quoted

if TYPE_CHECKING:
    import pyarrow as pa

_TABLE = "interactions"
_FEW_EVENTS = 20
_LONG_TEXT = 4.0
_SMALL = 50
"""Rows below which a column without repeated values can still be one of ids."""


@dataclass(frozen=True)
class InteractionGuesses:
    """What was guessed of the interactions.

    Attributes:
        columns: Which column is what.
        label: What the label means.
        guesses: Each guess with its evidence.
    """

    columns: InteractionColumns
    label: Label
    guesses: tuple[Guess, ...]


def guess_interactions(looked: Looked, items: Looked | None, users: Looked | None, given: Given) -> InteractionGuesses:
    """Guess what the columns of interactions are.

    Args:
        looked: The interactions.
        items: The items, if there is such a table: their ids occur in the column of items.
        users: The users, likewise.
        given: What the user said himself.

    Raises:
        InputError: Where user or item cannot be told; it names the option that says which column it is.
    """
    guesses = [_id_column("user", looked, users, given, ()), _id_column("item", looked, items, given, ())]
    guesses = _by_place(looked, guesses, given)
    taken = {guess.column for guess in guesses}
    time, form = _time(looked, given, taken)
    taken.add(time.column)
    event = _event(looked, given, taken)
    taken.add(event.column)
    label = label_of(looked, given, {name for name in taken if name is not None})
    taken.add(label.guess.column)
    review = _review(looked, given, taken)
    guesses += [label.guess, time, *(guess for guess in (event, review) if guess.column is not None)]
    taken.add(review.column)
    left = tuple(
        Guess(_TABLE, "left out", name, _why_left(facts)) for name, facts in looked.facts.items() if name not in taken
    )
    user, item = guesses[0].column, guesses[1].column
    assert user is not None and item is not None  # noqa: S101 - `_by_place` raises
    columns = InteractionColumns(
        user=user,
        item=item,
        label=label.guess.column if label.feedback != "implicit" else None,
        time=time.column,
        time_form=form,
        review=review.column,
        event=event.column,
    )
    return InteractionGuesses(columns, label, (*guesses, *left))


def could_be_ids(facts: Facts) -> bool:
    """Return whether a column's values can be ids: whole numbers or texts, several of them, repeated in many rows."""
    if not facts.single or facts.distinct < 2:  # noqa: PLR2004
        return False
    if facts.sure_time and facts.is_named("time"):
        return False
    return facts.rows < _SMALL or facts.distinct < facts.filled


def _id_column(role: str, looked: Looked, other: Looked | None, given: Given, taken: tuple[str, ...]) -> Guess:
    """Return the column of users' or items' ids by what the user said, by its name, or by whose ids occur in it."""
    option = f"{role}_column"
    if given.get(option) is not None:
        return Guess(_TABLE, role, looked.require(str(given[option]), f"--{role}-column"), "as you said")
    if not looked.headed:
        return Guess(_TABLE, role, None, "")
    named = [
        (facts.is_named(role), facts.kind != "list", facts)
        for facts in looked.facts.values()
        if facts.is_named(role) and facts.single
    ]
    named = [entry for entry in named if could_be_ids(entry[2]) or entry[0] == 3]  # noqa: PLR2004
    if not named:
        _require_no_namesake(role, looked)
        return Guess(_TABLE, role, None, "")
    best = max(named, key=lambda entry: (entry[0], _says_id(entry[2].name), entry[1]))
    rivals = [facts for strength, _, facts in named if facts is not best[2] and strength == best[0]]
    rivals = [facts for facts in rivals if _says_id(facts.name) == _says_id(best[2].name)]
    said = f"its name; {best[2].distinct:,} distinct values in {best[2].filled:,} rows"
    if rivals:
        said += f"; it could also be {listed(facts.name for facts in rivals)}"
    nested = bool(best[2].examples) and all(value.startswith("{") for value in best[2].examples)
    if nested:
        said += f"; its values are JSON objects, each an id as a whole, such as {quoted(best[2].examples[0], 60)}"
    return Guess(_TABLE, role, best[2].name, said, bool(rivals) or nested)


def _require_no_namesake(role: str, looked: Looked) -> None:
    """Refuse a column that is called as a role is and has no ids: another one in its place would be invented.

    Raises:
        InputError: Naming the option that says which column it is.
    """
    for facts in looked.facts.values():
        if facts.is_named(role) == 3:  # noqa: PLR2004
            values = f"such as {listed(facts.examples)}" if facts.examples else "or none at all"
            raise InputError(
                f"{looked.called}: column {quoted(facts.name, 60)} is called as {role}s are, but has other values than"
                f" texts and whole numbers, {values}: say --{role}-column NAME; there are {listed(looked.facts)}"
            )


def _says_id(name: str) -> bool:
    from llmrec_peft.custom.words import is_id

    return is_id(name)


def _by_place(looked: Looked, guesses: list[Guess], given: Given) -> list[Guess]:
    """Return the guesses of user and item, those that no name told filled in by the columns' order.

    Raises:
        InputError: Where more than two columns could be meant.
    """
    user, item = guesses
    if user.column is not None and user.column == item.column:
        raise InputError(
            f"{looked.called}: column {user.column!r} cannot be both user and item: say --user-column and --item-column"
        )
    if user.column is not None and item.column is not None:
        return guesses
    taken = {user.column, item.column}
    free = [facts for facts in looked.facts.values() if facts.name not in taken and could_be_ids(facts)]
    free = [facts for facts in free if not facts.sure_time] or free
    free = [facts for facts in free if facts.is_named("rating") < 3]  # noqa: PLR2004
    missing = [guess.role for guess in guesses if guess.column is None]
    names_tell = looked.headed and len(free) > len(missing)
    if len(free) < len(missing) or names_tell:
        asked = " and ".join(f"--{role}-column NAME" for role in missing)
        raise InputError(
            f"{looked.called}: which column is the {' and which the '.join(missing)}? Say {asked}; there are"
            f" {listed(looked.facts)}"
        )
    found = iter(free)
    filled = []
    for guess in guesses:
        if guess.column is not None:
            filled.append(guess)
            continue
        facts = next(found)
        why = "the file names no columns" if not looked.headed else "its name says nothing"
        place = "first" if guess.role == "user" or len(missing) == 1 else "second"
        filled.append(
            Guess(
                _TABLE,
                guess.role,
                facts.name,
                f"{why}; it is the {place} column of ids, {facts.distinct:,} distinct values in {facts.filled:,} rows",
                True,
            )
        )
    return filled


def checked_by_tables(
    guesses: InteractionGuesses, looked: Looked, items: Looked | None, item_id: str | None
) -> InteractionGuesses:
    """Return the guesses with user and item exchanged where only so the items' ids occur in the column of items."""
    from dataclasses import replace

    if items is None or item_id is None:
        return guesses
    columns = guesses.columns
    unsure = [guess for guess in guesses.guesses[:2] if guess.unsure]
    if len(unsure) < 2:  # noqa: PLR2004
        return guesses
    ids = items.texts(item_id)
    as_item, as_user = (_agreement(looked.texts(name), ids) for name in (columns.item, columns.user))
    turned = (
        columns if as_item[2] >= as_user[2] else columns.model_copy(update={"user": columns.item, "item": columns.user})
    )
    of_item, of_user = (as_item, as_user) if turned is columns else (as_user, as_item)
    said = f"{percent(of_item[0])} of its values are ids of items, which is {percent(of_item[1])} of these"
    said += f"; of the other column's {percent(of_user[0])} are, {percent(of_user[1])} of these"
    sure = of_item[2] - of_user[2] > 0.2  # noqa: PLR2004
    user = guesses.guesses[0]
    fixed = (
        Guess(_TABLE, "user", turned.user, user.said if turned is columns else "the other column of ids", not sure),
        Guess(_TABLE, "item", turned.item, said, not sure),
    )
    return replace(guesses, columns=turned, guesses=(*fixed, *guesses.guesses[2:]))


def _agreement(values: pa.ChunkedArray, ids: pa.ChunkedArray) -> tuple[float, float, float]:
    """Return which share of a column's values are ids, which share of the ids occur in it, and both as one number."""
    known, met = overlap(values, ids), overlap(ids, values)
    return known, met, known + met / 2.0


def _time(looked: Looked, given: Given, taken: set[str | None]) -> tuple[Guess, str]:
    """Return the column of times and how they are written."""
    form = given.get("time_form")
    if form is not None and form not in get_args(TimeForm):
        raise InputError(f"--time-form: {form!r} is none of {', '.join(get_args(TimeForm))}")
    if given.get("time_column") is not None:
        facts = looked.facts[looked.require(str(given["time_column"]), "--time-column")]
        chosen = form or facts.time_form
        if chosen is None:
            raise InputError(
                f"--time-form: say how column {facts.name!r} writes times, such as iso, seconds or day-first"
            )
        return Guess(_TABLE, "time", facts.name, f"as you said; {facts.time_said or chosen}"), chosen
    found = [facts for name, facts in looked.facts.items() if name not in taken and facts.time_form is not None]
    found = [facts for facts in found if facts.sure_time and facts.distinct > 1]
    if not found:
        called = [facts for name, facts in looked.facts.items() if name not in taken and facts.is_named("time") == 3]  # noqa: PLR2004
        called = [facts for facts in called if facts.distinct > 1 or facts.kind == "empty"]
        said = "no column looks like times"
        if called:
            odd = looked.odd_cell(called[0].name)
            example = f" of {listed(called[0].examples[:1])}: write 2024-12-31 17:30" if called[0].examples else ""
            why = (
                f"how it writes them cannot be told{example}"
                if odd is None
                else f"{odd} is none (of a file: --skip-bad N)"
            )
            said += f"; {quoted(called[0].name, 60)} is called so, but {why}"
        return Guess(_TABLE, "time", None, said, bool(called)), "seconds"
    best = max(
        found,
        key=lambda facts: (
            facts.kind == "number" and facts.is_named("time") > 0,
            facts.is_named("time"),
            facts.distinct,
        ),
    )
    return Guess(_TABLE, "time", best.name, best.time_said, best.time_unsure), form or best.time_form or "seconds"


def _event(looked: Looked, given: Given, taken: set[str | None]) -> Guess:
    """Return the column that says of which kind an interaction is."""
    for name, facts in looked.facts.items():
        few = facts.kind == "text" and 2 <= facts.distinct <= _FEW_EVENTS and facts.repeated >= 10  # noqa: PLR2004
        if name not in taken and few and facts.lettered and (facts.is_named("event") or not looked.headed):
            kinds = listed(facts.examples)
            return Guess(
                _TABLE, "event", name, f"{facts.distinct} kinds of rows, such as {kinds}; all of them count alike"
            )
    return Guess(_TABLE, "event", None, "")


def _review(looked: Looked, given: Given, taken: set[str | None]) -> Guess:
    """Return the column of what users wrote."""
    if given.get("review_column") is not None:
        name = looked.require(str(given["review_column"]), "--review-column")
        return Guess(_TABLE, "review", name, "as you said")
    found = [
        facts
        for name, facts in looked.facts.items()
        if name not in taken and facts.kind == "text" and facts.words >= _LONG_TEXT and facts.is_named("review")
    ]
    if not found:
        return Guess(_TABLE, "review", None, "")
    best = max(found, key=lambda facts: (facts.is_named("review"), facts.words))
    return Guess(_TABLE, "review", best.name, f"its name; texts of {best.words:.0f} words in the mean")


def _why_left(facts: Facts) -> str:
    if facts.kind == "empty":
        return "it is empty"
    if facts.distinct == 1:
        return "all rows have the same value"
    if facts.kind == "number" and facts.distinct == facts.rows:
        return "it numbers the rows"
    return "it says nothing that is read of interactions"

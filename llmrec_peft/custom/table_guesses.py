"""Tables: which columns of items or users are the id, the title, texts, categories, numbers and dates."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from llmrec_peft.custom.columns import (
    CategoryColumn,
    DescribingColumns,
    ItemColumns,
    TimeColumn,
    UserColumns,
    as_name,
)
from llmrec_peft.custom.describing_roles import role_of
from llmrec_peft.custom.facts import LIST_MARKS, Facts
from llmrec_peft.custom.guess import Given, Guess, Looked, listed, overlap, percent
from llmrec_peft.custom.words import is_id
from llmrec_peft.errors import InputError

_MOST_OF_EACH = 60
"""Columns of one kind at most."""


@dataclass
class _Sorted:
    """Columns of a table by what they are."""

    texts: dict[str, str] = field(default_factory=dict)
    categories: dict[str, CategoryColumn] = field(default_factory=dict)
    numbers: dict[str, str] = field(default_factory=dict)
    years: dict[str, TimeColumn] = field(default_factory=dict)
    guesses: list[Guess] = field(default_factory=list)

    def names(self) -> set[str]:
        return {*self.texts, *self.categories, *self.numbers, *self.years}


def guess_items(looked: Looked, interactions: Looked, item: str, given: Given) -> tuple[ItemColumns, list[Guess]]:
    """Guess what the columns of items are.

    Raises:
        InputError: Where no column has the ids of the interactions' items.
    """
    guess = id_of("items", looked, interactions, item, given)
    title = _title(looked, {guess.column}, given)
    found = _sorted("items", looked, {guess.column, title.column})
    columns = ItemColumns(id=str(guess.column), title=title.column, **_described(found))
    return columns, [guess, title, *found.guesses]


def guess_users(looked: Looked, interactions: Looked, user: str, given: Given) -> tuple[UserColumns, list[Guess]]:
    """Guess what the columns of users are; texts of users are left out, since no view reads them.

    Raises:
        InputError: Where no column has the ids of the interactions' users.
    """
    guess = id_of("users", looked, interactions, user, given)
    found = _sorted("users", looked, {guess.column})
    for name, column in found.texts.items():
        at = next(at for at, one in enumerate(found.guesses) if one.role == f"text {name}")
        found.guesses[at] = Guess("users", "left out", column, "no texts of users are read")
    found.texts.clear()
    return UserColumns(id=str(guess.column), **_described(found)), [guess, *found.guesses]


def id_of(table: str, looked: Looked, interactions: Looked, key: str, given: Given) -> Guess:
    """Return the column whose values are the ids that the interactions name.

    Raises:
        InputError: If there is none; with the option that says which it is, and what else may be wrong.
    """
    values, option = interactions.texts(key), f"{table}_id_column"
    flag = f"--{table}-id-column"
    if given.get(option) is not None:
        name = looked.require(str(given[option]), flag)
        share = overlap(values, looked.texts(name))
        if share == 0.0:
            raise InputError(f"{flag} {name}: {_no_overlap(looked, name, interactions, key)}")
        return Guess(table, "id", name, f"as you said; {percent(share)} of the ids of {key} are in it")
    kind = "item" if table == "items" else "user"
    ranked = []
    for at, facts in enumerate(looked.facts.values()):
        if not facts.single:
            continue
        own = facts.distinct / max(1, facts.rows)
        if own < 0.5:  # noqa: PLR2004 - an id stands in one row, but for a few repeated rows
            continue
        share = overlap(values, looked.texts(facts.name))
        named = facts.is_named(kind) + is_id(facts.name) + (facts.name == key)
        ranked.append((share > 0.0, named if share > 0.5 else 0, share, own, -at, facts))  # noqa: PLR2004
    best = max(ranked, key=lambda entry: entry[:5], default=None)
    if best is None or not best[0]:
        tried = best[5].name if best is not None else next(iter(looked.facts))
        raise InputError(
            f"{looked.called}: {_no_overlap(looked, tried, interactions, key)}; say {flag} NAME, or"
            f" --{kind}-column NAME"
        )
    share, facts = best[2], best[5]
    repeated = facts.filled - facts.distinct
    said = f"{percent(share)} of the ids in column {key!r} of the interactions are in it"
    said += f"; {repeated} of its rows repeat an id" if repeated else ""
    return Guess(table, "id", facts.name, said, share < 0.5)  # noqa: PLR2004


def _no_overlap(looked: Looked, name: str, interactions: Looked, key: str) -> str:
    """Say that no id is known, and whether leading zeros are why."""
    import pyarrow.compute as pc

    zeros = overlap(pc.utf8_ltrim(interactions.texts(key), "0"), pc.utf8_ltrim(looked.texts(name), "0"))
    why = ""
    if zeros > 0.5:  # noqa: PLR2004
        why = "; without leading zeros they would agree: a spreadsheet may have dropped them from one of the files"
    examples = f"{listed(interactions.facts[key].examples)} against {listed(looked.facts[name].examples)}"
    return f"no id in column {key!r} of {interactions.called} is in column {name!r} ({examples}){why}"


def _title(looked: Looked, taken: set[str | None], given: Given) -> Guess:
    """Return the column of titles."""
    if given.get("title_column") is not None:
        return Guess("items", "title", looked.require(str(given["title_column"]), "--title-column"), "as you said")
    texts = [facts for name, facts in looked.facts.items() if name not in taken and facts.kind in ("text", "list")]
    texts = [
        facts for facts in texts if facts.mark in (None, *LIST_MARKS) and (facts.lettered or facts.is_named("title"))
    ]
    named = [facts for facts in texts if facts.is_named("title")]
    if named:
        best = max(named, key=lambda facts: (facts.is_named("title"), facts.distinct))
        return Guess(
            "items",
            "title",
            best.name,
            f"its name; {best.distinct:,} distinct texts such as {listed(best.examples[:2])}",
        )
    own = [facts for facts in texts if facts.distinct >= 0.5 * facts.filled and facts.words < 40]  # noqa: PLR2004
    if own:
        said = f"the first column of texts that differ from row to row, such as {listed(own[0].examples[:2])}"
        return Guess("items", "title", own[0].name, said, looked.headed and len(own) > 1)
    return Guess("items", "title", None, "no column has texts that could be titles")


def _sorted(table: str, looked: Looked, taken: set[str | None]) -> _Sorted:
    """Say of each other column what it is."""
    found = _Sorted()
    for place, (column, facts) in enumerate(looked.facts.items(), start=1):
        if column not in taken:
            _place(table, column, facts, place, found)
    return found


def _place(table: str, column: str, facts: Facts, place: int, found: _Sorted) -> None:
    """Say of one column what it is."""
    name = as_name(column, found.names(), place)
    role, said = role_of(facts)
    kinds: dict[str, dict[str, Any]] = {
        "text": found.texts,
        "number": found.numbers,
        "category": found.categories,
        "year": found.years,
    }
    if role in kinds and len(kinds[role]) >= _MOST_OF_EACH:
        role, said = "left out", f"there are {_MOST_OF_EACH} columns of this kind before it"
    if role == "text":
        found.texts[name] = column
    elif role == "number":
        found.numbers[name] = column
    elif role == "year":
        found.years[name] = TimeColumn(column=column, form=facts.time_form or "iso")
    elif role == "category":
        found.categories[name] = CategoryColumn(column=column, mark="json" if facts.mark == "" else facts.mark)
    label = role if role == "left out" else f"{role} {name}"
    found.guesses.append(Guess(table, label, column, said, role == "year" and facts.time_unsure))


def _described(found: _Sorted) -> dict[str, Any]:
    fields = DescribingColumns(texts=found.texts, categories=found.categories, numbers=found.numbers, years=found.years)
    return {name: getattr(fields, name) for name in DescribingColumns.model_fields}

"""Tables: which columns of items or users are the id, the title, texts, categories, numbers and dates."""

from __future__ import annotations

from dataclasses import dataclass, field

from llmrec_peft.custom.columns import (
    CategoryColumn,
    DescribingColumns,
    GraphColumns,
    ItemColumns,
    TimeColumn,
    UserColumns,
    as_name,
)
from llmrec_peft.custom.facts import Facts
from llmrec_peft.custom.guess import Given, Guess, Looked, listed, overlap, percent
from llmrec_peft.custom.words import is_id
from llmrec_peft.errors import InputError

_LONG = 5.0
"""Words from which on a text is read, not taken for a category."""
_MOST_CATEGORIES = 5_000
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
            f"{looked.called}: {_no_overlap(looked, tried, interactions, key)}; say {flag} NAME, or --{kind}-column NAME"
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
        facts for facts in texts if facts.mark in (None, "|", ";", ",") and (facts.lettered or facts.is_named("title"))
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
    role, said = _role(facts)
    kinds = {"text": found.texts, "number": found.numbers, "category": found.categories, "year": found.years}
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


def _role(facts: Facts) -> tuple[str, str]:
    """Return what a describing column is, and why."""
    many = f"{facts.distinct:,} distinct values"
    if facts.kind == "empty":
        return "left out", "it is empty"
    if facts.distinct == 1 and facts.kind != "list":
        return "left out", "all rows have the same value"
    if facts.kind == "url":
        return "left out", "addresses and files are not read"
    if facts.kind == "time":
        return "year", facts.time_said
    if facts.kind == "flag":
        return "category", f"its values are {listed(facts.examples)}"
    if facts.kind == "number":
        return _role_of_number(facts, many)
    if facts.kind == "list":
        several = facts.mark and f"lists divided by {facts.mark!r}" or "lists"
        if facts.words >= _LONG:
            return ("text", f"{several} of long texts") if not facts.mark else ("left out", f"{several} of long texts")
        if facts.mark == "" and facts.distinct > _MOST_CATEGORIES:
            return "left out", f"lists of {many}, which are too many for categories"
        return "category", several + (f" of {many}" if facts.mark == "" else f", such as {listed(facts.examples[:1])}")
    if facts.words >= _LONG:
        return "text", f"texts of {facts.words:.0f} words in the mean"
    if facts.repeated >= 2.0 and facts.distinct <= _MOST_CATEGORIES:  # noqa: PLR2004
        return "category", f"{many} in {facts.filled:,} rows, such as {listed(facts.examples)}"
    if facts.lettered and facts.words >= 1.5:  # noqa: PLR2004
        return "text", f"{many}, names such as {listed(facts.examples[:2])}"
    return "left out", f"{many} in {facts.filled:,} rows: nearly every row has its own"


def _role_of_number(facts: Facts, many: str) -> tuple[str, str]:
    if facts.sure_time and (facts.is_named("time") or not facts.whole):
        return "year", facts.time_said
    if facts.whole and is_id(facts.name) and facts.distinct > 10:  # noqa: PLR2004
        return (
            ("category", f"{many}: ids of groups")
            if facts.repeated >= 2.0 and facts.distinct <= _MOST_CATEGORIES
            else ("left out", f"{many}: ids")
        )  # noqa: PLR2004
    if facts.whole and facts.filled == facts.distinct and facts.rows > 50:  # noqa: PLR2004
        return "left out", "every row has a number of its own, as ids have"
    return "number", f"numbers from {facts.low:g} to {facts.high:g}"


def _described(found: _Sorted) -> dict[str, dict]:
    fields = DescribingColumns(texts=found.texts, categories=found.categories, numbers=found.numbers, years=found.years)
    return {name: getattr(fields, name) for name in DescribingColumns.model_fields}


def guess_graph(looked: Looked, item_ids: object, given: Given) -> tuple[GraphColumns, list[Guess]]:
    """Guess which columns of a graph are head, relation and tail.

    Args:
        looked: The triples.
        item_ids: Ids of all items, as an Arrow column.
        given: What the user said himself.

    Raises:
        InputError: Where it has no two columns of entities, or none of them names an item.
    """
    names = list(looked.facts)
    if len(names) < 2:  # noqa: PLR2004
        raise InputError(
            f"{looked.called}: a graph has columns of head, relation and tail, or of head and tail; this has {listed(names)}"
        )
    asked = {role: given.get(f"{role}_column") for role in ("head", "relation", "tail")}
    chosen = {role: looked.require(str(name), f"--{role}-column") for role, name in asked.items() if name is not None}
    for role in ("head", "relation", "tail"):
        best = max(
            (n for n in names if n not in chosen.values()), key=lambda n: looked.facts[n].is_named(role), default=None
        )
        if looked.headed and role not in chosen and best is not None and looked.facts[best].is_named(role):
            chosen[role] = best
    said = "its name"
    if not {"head", "tail"} <= set(chosen):
        said = "the columns' order"
        first = names[:3] if len(names) > 2 else [names[0], None, names[1]]  # noqa: PLR2004
        chosen = {
            role: name for role, name in zip(("head", "relation", "tail"), first, strict=True) if name is not None
        }
    share = max(overlap(item_ids, looked.texts(chosen[role])) for role in ("head", "tail"))
    if share == 0.0:
        raise InputError(
            f"{looked.called}: no head and no tail is the id of an item: entities that stand for items have to bear their ids"
        )
    guesses = [
        Guess("graph", role, chosen.get(role), said, said != "its name") for role in ("head", "relation", "tail")
    ]
    guesses.append(Guess("graph", "items", None, f"{percent(share)} of the items are entities of it"))
    return GraphColumns(head=chosen["head"], relation=chosen.get("relation"), tail=chosen["tail"]), guesses

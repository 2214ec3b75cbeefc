"""Columns: which columns of a user's own tables are ids, labels, times, texts, categories and numbers; as options."""

from __future__ import annotations

import keyword
import re
import unicodedata
from collections.abc import Collection
from typing import Annotated

from pydantic import Field, StringConstraints

from llmrec_peft.custom.times import TimeForm
from llmrec_peft.data.dataset import Feedback
from llmrec_peft.options import Options

ColumnName = str
"""Name of a column as the table has it, whatever that is."""
Name = Annotated[str, StringConstraints(pattern=r"^[^\W\d]\w{0,59}$")]
"""What a column is called in templates and signals: letters, digits and underscores."""
TAKEN = frozenset(("item_id", "user_id", "title", "item", "user", "history", "loop", "range", "none", "true", "false"))
"""Names with a meaning of their own in templates."""
_JINJA = frozenset("and or not if else elif endif for endfor in is set endset block filter do with import from".split())


class InteractionColumns(Options):
    """What the columns of the interactions are."""

    user: ColumnName
    """Column of the user's id."""
    item: ColumnName
    """Column of the item's id."""
    label: ColumnName | None = None
    """Column of ratings, or of 1 and 0 for clicks; null where every row is an interaction and no more."""
    time: ColumnName | None = None
    """Column of the time; null where none is known."""
    time_form: TimeForm = "seconds"
    """How times are written."""
    review: ColumnName | None = None
    """Column of what users wrote about the item."""
    event: ColumnName | None = None
    """Column of the kind of each interaction, such as purchase or play."""
    events: tuple[str, ...] = ()
    """Kinds that are kept; empty for all."""


class CategoryColumn(Options):
    """One column of categories."""

    column: ColumnName
    """Name of the column."""
    mark: str | None = Field(default=None, max_length=4)
    """What divides several categories in one cell, such as `|`; `json` for lists in JSON; null for one category."""


class TimeColumn(Options):
    """One column of dates, of which the year is read."""

    column: ColumnName
    """Name of the column."""
    form: TimeForm = "iso"
    """How dates are written."""


class DescribingColumns(Options):
    """What the columns of items or users are, beside the ids; each under a name for templates and signals."""

    texts: dict[Name, ColumnName] = Field(default_factory=dict)
    """Columns of texts."""
    categories: dict[Name, CategoryColumn] = Field(default_factory=dict)
    """Columns of categories."""
    numbers: dict[Name, ColumnName] = Field(default_factory=dict)
    """Columns of numbers."""
    years: dict[Name, TimeColumn] = Field(default_factory=dict)
    """Columns of dates, of which the year becomes a number."""


class ItemColumns(DescribingColumns):
    """What the columns of the items are."""

    id: ColumnName
    """Column of the item's id."""
    title: ColumnName | None = None
    """Column of the title; null for none."""


class UserColumns(DescribingColumns):
    """What the columns of the users are."""

    id: ColumnName
    """Column of the user's id."""


class LinkColumns(Options):
    """What the columns of links are: which entity of a knowledge graph stands for which item."""

    item: ColumnName
    """Column of the item's id."""
    entity: ColumnName
    """Column of the entity."""


class GraphColumns(Options):
    """What the columns of a knowledge graph are; without links, an entity that has an item's id stands for the item."""

    head: ColumnName
    """Column of the entity that a relation starts at."""
    relation: ColumnName | None = None
    """Column of the relation; null where all are of one kind."""
    tail: ColumnName
    """Column of the entity that it ends at."""


class Meaning(Options):
    """What the interactions mean."""

    feedback: Feedback = "implicit"
    """`rating`: the label is a rating on a scale; `click`: it is 1 or 0; `implicit`: every interaction counts alike."""
    scale: tuple[float, float] | None = None
    """Lowest and highest rating that the scale allows, for `rating`."""
    repeats: bool = False
    """Whether users interact with an item again and again, and each time counts; else one of each pair is kept."""
    ids_as_titles: bool = False
    """Whether an item without a title is called by its id, where ids are names."""


class FrameColumns(Meaning):
    """What all columns of a user's own tables are."""

    interactions: InteractionColumns
    """Columns of the interactions."""
    items: ItemColumns | None = None
    """Columns of the items; null where there is no such table."""
    users: UserColumns | None = None
    """Columns of the users; null where there is no such table."""
    graph: GraphColumns | None = None
    """Columns of a knowledge graph; null where there is none."""
    graph_links: LinkColumns | None = None
    """Columns of the graph's links; null where entities bear ids of items."""


TABLES = ("interactions", "items", "users", "graph", "graph_links")
"""A user's own tables, by the names of their fields."""


def as_name(column: str, taken: Collection[str], place: int) -> str:
    """Return what a column is called in templates and signals: its name, made an identifier that is not taken.

    >>> as_name("Release Year", (), 3), as_name("{{ 7*7 }}", (), 4), as_name("title", (), 5)
    ('release_year', 'column_7_7', 'title_2')
    """
    plain = unicodedata.normalize("NFKC", column)
    words = "_".join(re.findall(r"[^\W_]+", plain))[:50].lower()
    name = words if words and not words[0].isdigit() else f"column_{words or place}"
    if not re.fullmatch(r"[^\W\d]\w*", name):
        name = f"column_{place}"
    chosen, at = name, 2
    while chosen in taken or chosen in TAKEN or chosen in _JINJA or keyword.iskeyword(chosen):
        chosen, at = f"{name}_{at}", at + 1
    return chosen

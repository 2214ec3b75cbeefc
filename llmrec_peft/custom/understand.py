"""Understand: from tables that were looked at to what all their columns are, with the evidence of each guess."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from llmrec_peft.custom.columns import FrameColumns
from llmrec_peft.custom.facts import Facts
from llmrec_peft.custom.graph_guesses import guess_graph
from llmrec_peft.custom.guess import Given, Guess, Looked, percent
from llmrec_peft.custom.interaction_guesses import checked_by_tables, guess_interactions
from llmrec_peft.custom.labels import Label
from llmrec_peft.custom.table_guesses import guess_items, guess_users
from llmrec_peft.data.order import distinct_count
from llmrec_peft.errors import InputError, nearest

COLUMN_OPTIONS = (
    "user_column",
    "item_column",
    "rating_column",
    "time_column",
    "time_form",
    "review_column",
    "title_column",
    "items_id_column",
    "users_id_column",
    "head_column",
    "relation_column",
    "tail_column",
    "links_item_column",
    "links_entity_column",
    "feedback",
    "scale",
)
"""What a user can say himself of the columns, instead of having it guessed."""
_REPEATED = 0.2
"""Share of interactions that repeat a pair, from which on users are taken to come back to items."""


@dataclass(frozen=True)
class Sizes:
    """How much there is.

    Attributes:
        interactions: Rows.
        users: Distinct users in them.
        items: Distinct items in them.
        catalogue: Items, those that nobody met included.
        repeated: Share of rows that repeat a pair of user and item.
        most: Rows of the user who has most.
        words: Mean number of words that an item's columns of texts have, the title included.
    """

    interactions: int
    users: int
    items: int
    catalogue: int
    repeated: float
    most: int
    words: float


@dataclass(frozen=True)
class Understood:
    """What all columns of a user's own tables are.

    Attributes:
        columns: As options.
        guesses: Each guess with its evidence.
        label: What labels mean.
        sizes: How much there is.
        timed: Whether true times are known.
    """

    columns: FrameColumns
    guesses: tuple[Guess, ...]
    label: Label
    sizes: Sizes
    timed: bool

    @property
    def texts(self) -> bool:
        """Whether items have any text to read."""
        items = self.columns.items
        if self.columns.ids_as_titles:
            return True
        return items is not None and bool(items.title or items.texts)

    @property
    def unsure(self) -> tuple[str, ...]:
        """What should be looked at, one line each."""
        return tuple(guess.line() for guess in self.guesses if guess.unsure)


def understood(tables: Mapping[str, Looked], given: Given) -> Understood:
    """Guess what all columns are.

    Args:
        tables: The tables by name: ``interactions``, and where there are such ``items``, ``users``, ``graph``
            and ``graph_links``.
        given: What the user said himself, by the names in `COLUMN_OPTIONS`.

    Raises:
        InputError: For an option that does not exist, and for what cannot be guessed: it names the option.
    """
    for option in given:
        if option not in COLUMN_OPTIONS:
            raise InputError(f"unknown option {option!r}: {nearest(option, COLUMN_OPTIONS)}")
    if "interactions" not in tables:
        raise InputError("interactions: give a table with one row for each rating, click or other interaction")
    given = {option: value for option, value in given.items() if value is not None}
    interactions, items, users = tables["interactions"], tables.get("items"), tables.get("users")
    found = guess_interactions(interactions, items, users, given)
    if items is not None and sum(guess.unsure for guess in found.guesses[:2]) == 2:  # noqa: PLR2004
        found = _by_ids_of_items(found, interactions, items, given)
    user, item = found.columns.user, found.columns.item
    guesses = list(found.guesses)
    item_columns = user_columns = graph_columns = link_columns = None
    if items is not None:
        item_columns, more = guess_items(items, interactions, item, given)
        guesses += more
    if users is not None:
        user_columns, more = guess_users(users, interactions, user, given)
        guesses += more
    if "graph" in tables:
        ids = interactions.texts(item) if items is None or item_columns is None else items.texts(item_columns.id)
        graph_columns, link_columns, more = guess_graph(tables["graph"], tables.get("graph_links"), ids, given)
        guesses += more
    names = _ids_are_names(interactions.facts[item]) and (item_columns is None or item_columns.title is None)
    if names:
        guesses.append(
            Guess(
                "items",
                "title",
                None,
                f"the ids are names, such as {interactions.facts[item].examples[0]!r}: they are the titles",
            )
        )
    sizes = _sizes(interactions, user, item, items, item_columns)
    if sizes.most == 1 and sizes.interactions > 1:
        said = (
            f"{guesses[0].said}; no value stands in two rows, so nothing can be learned of users: is it another column?"
        )
        guesses[0] = replace(guesses[0], said=said, unsure=True)
    repeats = found.label.feedback == "implicit" and found.columns.time is not None and sizes.repeated >= _REPEATED
    if repeats:
        guesses.append(
            Guess(
                "interactions",
                "repeats",
                None,
                f"{percent(sizes.repeated)} of the rows repeat a pair of user and item: people come back",
            )
        )
    columns = FrameColumns(
        interactions=found.columns,
        items=item_columns,
        users=user_columns,
        graph=graph_columns,
        graph_links=link_columns,
        feedback=found.label.feedback,
        scale=found.label.scale,
        repeats=repeats,
        ids_as_titles=names,
    )
    timed = found.columns.time is not None and found.columns.time_form != "order"
    return Understood(columns, tuple(guesses), found.label, sizes, timed)


def _by_ids_of_items(found: Any, interactions: Looked, items: Looked, given: Given) -> Any:
    """Decide which of two nameless columns is the item by whose values are ids of items."""
    shares = {}
    for key in (found.columns.item, found.columns.user):
        try:
            shares[key] = guess_items(items, interactions, key, given)[0].id
        except InputError:
            continue
    if not shares:
        return found
    return checked_by_tables(found, interactions, items, next(iter(shares.values())))


def _ids_are_names(facts: Facts) -> bool:
    """Return whether ids are names that people read, such as titles of games."""
    return facts.kind in ("text", "list") and facts.lettered and facts.words >= 1.5  # noqa: PLR2004


def _sizes(interactions: Looked, user: str, item: str, items: Looked | None, columns: Any) -> Sizes:
    codes = [interactions.texts(name).combine_chunks().dictionary_encode() for name in (user, item)]
    numbers = [np.asarray(code.indices.fill_null(-1), np.int64) for code in codes]
    pair = numbers[0] * (len(codes[1].dictionary) + 1) + numbers[1]
    rows = len(interactions.table)
    repeated = 1.0 - distinct_count(pair) / max(1, rows)
    most = int(np.bincount(numbers[0][numbers[0] >= 0], minlength=1).max())
    users, met = (len(code.dictionary) for code in codes)
    catalogue = met if items is None else max(met, items.facts[columns.id].distinct)
    words = 0.0
    if items is not None:
        named = [columns.title, *columns.texts.values()]
        words = sum(items.facts[name].words or 1.0 for name in named if name is not None)
    elif _ids_are_names(interactions.facts[item]):
        words = interactions.facts[item].words
    return Sizes(rows, users, met, catalogue, repeated, most, words)

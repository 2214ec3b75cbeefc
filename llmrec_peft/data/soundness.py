"""Soundness: what every dataset has to be, whatever reader made it, before its rows are known by their places."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.data.dataset import Feedback, RecDataset, arrow, numbers
from llmrec_peft.data.missing_values import with_none
from llmrec_peft.data.strays import places, with_known_histories, with_known_links, with_known_user_links
from llmrec_peft.data.tables import dataset_of
from llmrec_peft.errors import InputError
from llmrec_peft.printable import quoted

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

_NEEDED = {
    "interactions": ("user_id", "item_id", "rating", "timestamp"),
    "items": ("item_id", "title"),
    "users": ("user_id",),
}
_PARTS = frozenset(("", "train", "valid", "test"))
_LARGEST_TIME = 1 << 62
"""Two times below it differ by what 64 bits hold."""


def sound(dataset: RecDataset) -> RecDataset:
    """Return a dataset whose tables agree with each other and whose missing values are None.

    NaN in a column of items or users becomes None, and None inside a list is left out of it. Entries of given histories
    and links of the graph that name an item outside the items table, and links between users that name a user outside
    the users table, are dropped and counted in the notes. Interactions without a column ``part`` are those of an owner
    who does not divide the data.

    Raises:
        InputError: With table, column and row (from 0), where ids are no texts, empty or there twice; where an
            interaction names an unknown user or item (`without_unknown` drops such in a reader); where a table or
            column is missing or a label, time or part is no such.
    """
    if not isinstance(dataset, RecDataset):
        raise InputError(f"data.reader: it returned a {type(dataset).__name__} where a RecDataset belongs")
    for name, needed in _NEEDED.items():
        _require_table(dataset.name, name, getattr(dataset, name), needed)
    dataset = _with_parts(dataset)
    _require_distinct(dataset, "items", "item_id")
    _require_distinct(dataset, "users", "user_id")
    _require_range(dataset)
    _require_feedback(dataset)
    _require_graph(dataset)
    _require_user_links(dataset)
    _require_values(dataset)
    for name in ("user_id", "item_id"):
        _require_known(dataset, name)
    _require_others(dataset)
    items, users = with_none(dataset, "items"), with_none(dataset, "users")
    if items is not dataset.items or users is not dataset.users:
        dataset = replace(dataset, items=items, users=users)
    return with_known_user_links(with_known_links(with_known_histories(dataset)))


def _with_parts(dataset: RecDataset) -> RecDataset:
    """Return a dataset whose interactions have a part, empty where the table was made without."""
    if "part" in dataset.interactions.column_names:
        return dataset
    import pyarrow as pa

    table = arrow(dataset.interactions)
    empty = pa.repeat(pa.scalar("", pa.string()), len(table))
    return replace(dataset, interactions=dataset_of(table.append_column("part", empty)))


def _require_table(data: str, name: str, table: Any, needed: tuple[str, ...]) -> None:
    """Refuse what is no table, lacks a column, or has no row."""
    from datasets import Dataset

    if not isinstance(table, Dataset):
        raise InputError(
            f"{data}: {name} is a {type(table).__name__} where a datasets.Dataset belongs: the reader makes one"
            f" with {'interactions_table' if name == 'interactions' else 'table'}()"
        )
    lacking = [one for one in needed if one not in table.column_names]
    if lacking:
        raise InputError(f"{data}: the table of {name} has no column {lacking[0]!r}")
    if len(table) == 0 and name != "interactions":
        raise InputError(f"{data}: the table of {name} is empty")


def _require_distinct(dataset: RecDataset, name: str, key: str) -> None:
    """Refuse ids of a table that are no texts, missing, empty, or there twice."""
    from pyarrow import compute

    values = _texts(dataset, name, key)
    empty = compute.equal(compute.utf8_trim_whitespace(values), "").fill_null(True)
    if compute.any(empty).as_py():
        raise InputError(f"{dataset.name}: {key} is empty in row {compute.index(empty, True).as_py()} of {name}")
    row = compute.index(compute.match_substring(values, "\0"), True).as_py()
    if row >= 0:
        raise InputError(f"{dataset.name}: {key} in row {row} of {name} holds a zero byte, which ends a text elsewhere")
    if len(compute.unique(values)) < len(values):
        first: dict[str, int] = {}
        for row, value in enumerate(values.to_pylist()):
            if first.setdefault(value, row) != row:
                raise InputError(
                    f"{dataset.name}: {key} {quoted(value)} is there twice, in rows {first[value]} and {row} of {name}:"
                    " keep one of them in the reader"
                )


def _require_graph(dataset: RecDataset) -> None:
    """Refuse a graph whose tables lack a column, or a text in a row of one."""
    if dataset.graph is None:
        return
    tables = {
        "triples": (dataset.graph.triples, ("head", "relation", "tail")),
        "links": (dataset.graph.links, ("item_id", "entity_id")),
    }
    for name, (table, needed) in tables.items():
        _require_table(dataset.name, name, table, needed)
        for key in needed:
            values = arrow(table).column(key)
            if not _is_text(values.type) or values.null_count:
                raise InputError(f"{dataset.name}: {key} in {name} of the graph has to be a text in every row")


def _require_user_links(dataset: RecDataset) -> None:
    """Refuse links between users whose table lacks a column, or a text in a row of one."""
    if dataset.user_links is None:
        return
    _require_table(dataset.name, "user_links", dataset.user_links, ("user_id", "other_id"))
    for key in ("user_id", "other_id"):
        values = arrow(dataset.user_links).column(key)
        if not _is_text(values.type) or values.null_count:
            raise InputError(f"{dataset.name}: {key} in user_links has to be a text in every row")


def _is_text(kind: pa.DataType) -> bool:
    from pyarrow import types

    return bool(types.is_string(kind) or types.is_large_string(kind))


def _texts(dataset: RecDataset, name: str, key: str) -> pa.ChunkedArray:
    """Return a column of ids, which have to be texts."""
    values = arrow(getattr(dataset, name)).column(key)
    if not _is_text(values.type):
        raise InputError(
            f'{dataset.name}: {key} of {name} has type {values.type}; ids are texts, such as "00501": make them so in'
            " the reader"
        )
    return values


def _require_range(dataset: RecDataset) -> None:
    span = dataset.rating_range
    right = isinstance(span, tuple | list) and len(span) == 2 and all(isinstance(end, int | float) for end in span)  # noqa: PLR2004
    if not right or not (math.isfinite(span[0]) and math.isfinite(span[1]) and span[0] < span[1]):
        raise InputError(
            f"{dataset.name}: rating_range is {quoted(span)} where the lowest and highest label of the scale belong"
        )


def _require_feedback(dataset: RecDataset) -> None:
    known = get_args(Feedback)
    if dataset.feedback not in known:
        raise InputError(
            f"{dataset.name}: feedback is {quoted(dataset.feedback)} where one of {', '.join(known)} belongs"
        )


def _require_values(dataset: RecDataset) -> None:
    """Refuse labels outside the owner's scale, times that are no whole numbers, and parts that do not exist."""
    table = dataset.interactions
    for name, whole in (("rating", False), ("timestamp", True)):
        values = arrow(table).column(name)
        kind = values.type
        if not _is_number(kind, whole):
            raise InputError(
                f"{dataset.name}: {name} of interactions has type {kind} where"
                f" {'whole numbers belong' if whole else 'numbers belong'}"
            )
        if values.null_count:
            row = int(np.flatnonzero(values.is_null().to_numpy())[0])
            raise InputError(f"{dataset.name}: interaction {row} has no {name} ({values.null_count} such)")
    _require_labels(dataset, numbers(table, "rating"), "label")
    time = numbers(table, "timestamp")
    wrong = np.flatnonzero((time >= _LARGEST_TIME) | (time <= -_LARGEST_TIME))
    if len(wrong):
        raise InputError(
            f"{dataset.name}: timestamp {time[wrong[0]]} of interaction {wrong[0]} is too large ({len(wrong)} such)"
        )
    for name in sorted({"part", "kind", "review", "person", "impression"}.intersection(table.column_names)):
        if not _is_text(arrow(table).column(name).type):
            kind = arrow(table).column(name).type
            raise InputError(f"{dataset.name}: {name} of interactions has type {kind} where texts belong")
    strange = sorted(_distinct(table, "part") - _PARTS, key=str)
    if strange:
        raise InputError(
            f"{dataset.name}: part {quoted(strange[0])} of interactions is none of train, valid, test or empty"
        )
    for name in ("person", "impression"):
        if name in table.column_names and arrow(table).column(name).null_count:
            raise InputError(f"{dataset.name}: an interaction has no {name}, where others have one")
    if "confidence" in table.column_names:
        _require_confidence(dataset)
    if "history" in table.column_names or "history_rating" in table.column_names:
        _require_histories(dataset)


def _require_confidence(dataset: RecDataset) -> None:
    """Refuse confidences that are no numbers from 0 up."""
    values = arrow(dataset.interactions).column("confidence")
    if not _is_number(values.type):
        raise InputError(f"{dataset.name}: confidence of interactions has type {values.type} where numbers belong")
    given = numbers(dataset.interactions, "confidence").astype(np.float64)  # what is missing becomes NaN
    wrong = np.flatnonzero(~((given >= 0.0) & (given < np.inf)))
    if len(wrong):
        raise InputError(
            f"{dataset.name}: confidence {given[wrong[0]]:g} of interaction {wrong[0]} is no number from 0 up"
            f" ({len(wrong)} such)"
        )


def _require_labels(dataset: RecDataset, values: NDArray[Any], what: str) -> None:
    """Refuse labels that the owner's scale does not have, NaN among them."""
    label = np.asarray(values, np.float64)
    low, high = dataset.rating_range
    wrong = np.flatnonzero(~((label >= low) & (label <= high)))
    if len(wrong):
        raise InputError(
            f"{dataset.name}: {what} {label[wrong[0]]:g} of interaction {wrong[0]} lies outside {low:g} to {high:g}"
            f" ({len(wrong)} such)"
        )


def _require_histories(dataset: RecDataset) -> None:
    """Refuse given histories whose items and labels do not go together."""
    import pyarrow as pa
    from pyarrow import types

    interactions = arrow(dataset.interactions)
    lists = {}
    for name in ("history", "history_rating"):
        values = interactions.column(name).combine_chunks() if name in interactions.column_names else None
        if values is None or not (types.is_list(values.type) or types.is_large_list(values.type)):
            raise InputError(f"{dataset.name}: interactions need both history and history_rating, lists of one length")
        if values.null_count:
            row = int(np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))[0])
            raise InputError(f"{dataset.name}: {name} of interaction {row} is missing where a list belongs")
        lists[name] = values
    item, label = lists["history"].flatten(), lists["history_rating"].flatten()
    lengths = np.asarray(lists["history"].value_lengths())
    differ = np.flatnonzero(lengths != np.asarray(lists["history_rating"].value_lengths()))
    if len(differ):
        raise InputError(f"{dataset.name}: history and history_rating of interaction {differ[0]} differ in length")
    if not (_is_text(item.type) or len(item) == 0):
        raise InputError(f'{dataset.name}: history of interactions holds {item.type}; ids are texts, such as "00501"')
    if not (_is_number(label.type) or len(label) == 0):
        raise InputError(f"{dataset.name}: history_rating of interactions holds {label.type} where numbers belong")
    rated = np.asarray(label.cast(pa.float64()).fill_null(math.nan))
    low, high = dataset.rating_range
    wrong = np.flatnonzero(~((rated >= low) & (rated <= high)))
    if len(wrong):
        row = int(np.searchsorted(np.cumsum(lengths), wrong[0], side="right"))
        raise InputError(
            f"{dataset.name}: label {rated[wrong[0]]:g} in the history of interaction {row} lies outside {low:g} to"
            f" {high:g} ({len(wrong)} such)"
        )


def _require_known(dataset: RecDataset, key: str) -> None:
    """Refuse interactions of users or items that have no row in their table: they would be somebody else's."""
    _texts(dataset, "interactions", key)
    unknown = np.flatnonzero(places(dataset, key) == 0)
    if len(unknown):
        named = arrow(dataset.interactions).column(key)
        what = key.removesuffix("_id")
        raise InputError(
            f"{dataset.name}: interaction {unknown[0]} names {what} {quoted(named[int(unknown[0])].as_py())}, which the"
            f" table of {what}s lacks ({len(unknown)} such interactions): add its row in the reader, or leave such"
            " interactions out there with without_unknown()"
        )


def _require_others(dataset: RecDataset) -> None:
    """Refuse interactions of a user with himself, where items are users."""
    if not dataset.items_are_users:
        return
    from pyarrow import compute

    user, item = (arrow(dataset.interactions).column(name) for name in ("user_id", "item_id"))
    row = compute.index(compute.equal(user, item), True).as_py()
    if row >= 0:
        named = quoted(user[row].as_py())
        raise InputError(f"{dataset.name}: interaction {row} links {named} to himself: leave such out in the reader")


def _distinct(table: Dataset, name: str) -> set[Any]:
    from pyarrow import compute

    return set(compute.unique(arrow(table).column(name)).to_pylist())


def _is_number(kind: pa.DataType, whole: bool = False) -> bool:
    from pyarrow import types

    return types.is_integer(kind) or (not whole and types.is_floating(kind))

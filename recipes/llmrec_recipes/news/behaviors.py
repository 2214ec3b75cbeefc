"""Behaviors: what was shown to whom and when, what was clicked, and what the user had clicked before."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np
from numpy.typing import NDArray

from llmrec_recipes.news.mind_files import BEHAVIORS, MindFile

if TYPE_CHECKING:
    import pyarrow as pa

_SHOWN = r"^(?P<item>\S+)-(?P<label>[01])$"
_MOMENT = "%m/%d/%Y %I:%M:%S %p"


@dataclass(frozen=True)
class Lists:
    """A list of item indices for each impression; 0 is an item that is not known.

    Attributes:
        item: Item indices of all lists, one after the other, int64 [n].
        of: Impression of each, ascending, int64 [n].
    """

    item: NDArray[np.int64]
    of: NDArray[np.int64]

    def known(self) -> Lists:
        """Return the lists without unknown items."""
        return Lists(self.item[self.item > 0], self.of[self.item > 0])


@dataclass(frozen=True)
class Behaviors:
    """Impressions of one file, m of them, and the items shown in them, n in all.

    Attributes:
        impression: Id of each impression, with its part where there are several files, [m].
        user: Its user, [m].
        time: Seconds since 1970, as if local time were UTC, int64 [m].
        history: Items that the user had clicked, oldest first.
        shown: Items that were shown.
        label: Whether each shown item was clicked, float32 [n].
    """

    impression: pa.Array
    user: pa.Array
    time: NDArray[np.int64]
    history: Lists
    shown: Lists
    label: NDArray[np.float32]

    @classmethod
    def read(cls, folder: Path, part: str, items: pa.Array) -> Behaviors:
        """Read a folder's file.

        Args:
            folder: Folder that holds it.
            part: What ids of impressions begin with, which each file counts from 1; empty for nothing.
            items: Known items, in the order of their indices from 1.

        Raises:
            InputError: Naming file, line and column of what is wrong.
        """
        import pyarrow as pa
        from pyarrow import compute

        file = MindFile(folder, BEHAVIORS)
        file.require_ids("impression_id", distinct=True)
        file.require_ids("user_id", distinct=False)
        impression = file.column("impression_id").combine_chunks()
        if part:
            impression = compute.binary_join_element_wise(part, impression, "-")
        entry, shown_in = _words(file.column("impressions"))
        found = compute.extract_regex(entry, _SHOWN)
        if found.null_count:
            row = int(shown_in[compute.index(found.is_null(), True).as_py()])
            _refuse_shown(file, row)
        nothing = np.flatnonzero(np.bincount(shown_in, minlength=len(impression)) == 0)
        if len(nothing):
            _refuse_shown(file, int(nothing[0]))
        label = compute.struct_field(found, "label").cast(pa.float32()).to_numpy()
        clicked, clicked_in = _words(file.column("history"))
        return cls(
            impression,
            file.column("user_id").combine_chunks(),
            _times(file),
            Lists(_indices(clicked, items), clicked_in),
            Lists(_indices(compute.struct_field(found, "item"), items), shown_in),
            np.asarray(label, np.float32),
        )

    def __len__(self) -> int:
        return len(self.time)

    def without_unknown(self) -> Behaviors:
        """Leave out shown items and entries of histories that are not known."""
        known = self.shown.item > 0
        return replace(self, history=self.history.known(), shown=self.shown.known(), label=self.label[known])

    def fewer(self, kept: NDArray[np.bool_]) -> Behaviors:
        """Keep some of the shown items, bool [n]."""
        return replace(self, shown=Lists(self.shown.item[kept], self.shown.of[kept]), label=self.label[kept])

    def first_seen(self, num_items: int) -> NDArray[np.int64]:
        """Return when each item was shown first, or stood in a history, int64 [num_items]; the largest for never."""
        first = np.full(num_items, np.iinfo(np.int64).max)
        for lists in (self.shown, self.history):
            np.minimum.at(first, lists.item, self.time[lists.of])
        return first

    def newest_histories(self, most: int) -> pa.ListArray:
        """Return the newest entries of each impression's history as lists of item indices, [m]."""
        import pyarrow as pa

        lengths = np.bincount(self.history.of, minlength=len(self))
        end = np.cumsum(lengths)
        kept = end[self.history.of] - np.arange(len(self.history.of)) <= most
        bounds = np.concatenate([[0], np.cumsum(np.minimum(lengths, most))])
        return pa.ListArray.from_arrays(pa.array(bounds, pa.int32()), pa.array(self.history.item[kept]))

    def sampled(self, negatives: int) -> NDArray[np.bool_]:
        """Draw which shown items are learnt from: each click, and so many others of the impression for each, bool [n].

        The draw is always the same one.
        """
        of, clicked = self.shown.of, self.label > 0
        wanted = negatives * np.bincount(of, clicked, len(self))
        order = np.lexsort((np.random.default_rng(0).random(len(of)), clicked, of))  # unclicked ones first
        start = np.searchsorted(of, np.arange(len(self)))
        place = np.empty(len(of), np.int64)
        place[order] = np.arange(len(of)) - start[of[order]]
        return clicked | (place < wanted[of])


def _words(texts: pa.ChunkedArray) -> tuple[pa.Array, NDArray[np.int64]]:
    """Return the words of texts, one after the other, and the row of each."""
    from pyarrow import compute

    lists = compute.ascii_split_whitespace(texts.combine_chunks())
    words = lists.flatten()
    of = np.repeat(np.arange(len(lists)), np.asarray(lists.value_lengths()))
    kept = compute.not_equal(words, "")  # of blanks at an end, and of an empty text
    return words.filter(kept), of[np.asarray(kept)].astype(np.int64)


def _indices(values: pa.Array, items: pa.Array) -> NDArray[np.int64]:
    from pyarrow import compute

    return np.asarray(compute.index_in(values, value_set=items).fill_null(-1), np.int64) + 1


def _times(file: MindFile) -> NDArray[np.int64]:
    """Parse the moments; MIND does not say in which time zone they are."""
    import pyarrow as pa
    from pyarrow import compute

    texts = file.column("time").combine_chunks()
    moments = compute.strptime(texts, format=_MOMENT, unit="s", error_is_null=True)
    if moments.null_count:
        row = compute.index(moments.is_null(), True).as_py()
        file.refuse(row, "time", f"{texts[row].as_py()[:30]!a} is no moment such as 11/15/2019 8:55:22 AM")
    return np.array(moments.cast(pa.int64()), np.int64)


def _refuse_shown(file: MindFile, row: int) -> NoReturn:
    entries = file.column("impressions")[row].as_py().split()
    wrong = next((one for one in entries if not one.endswith(("-0", "-1")) or len(one) < 3), None)  # noqa: PLR2004
    said = "nothing was shown" if wrong is None else f"{wrong[:30]!a} does not say whether it was clicked"
    file.refuse(
        row, "impressions", f"{said}; articles such as N55689-1 N35729-0 belong here (a test set has no clicks)"
    )

"""Found: what a folder of a social data set holds, before it is known whether items or people are recommended."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.plugins import InputError

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Network:
    """Who is linked to whom, each link once and none to oneself.

    Attributes:
        file: Name of the file that holds the links.
        user: Who links, texts [m].
        other: Who is linked to, texts [m].
        mutual: Whether each link holds both ways, as friendship does.
        notes: What was left out or added, one line each.
    """

    file: str
    user: pa.Array
    other: pa.Array
    mutual: bool
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, file: str, user: pa.Array, other: pa.Array, mutual: bool) -> Network:
        """Leave out links of a person to himself and repeated ones; complete friendships that stand one way only.

        Raises:
            InputError: If nothing is left.
        """
        import pyarrow as pa
        from pyarrow import compute

        people = compute.unique(pa.concat_arrays([user, other]))
        pair = np.stack([np.asarray(compute.index_in(one, value_set=people), np.int64) for one in (user, other)], 1)
        notes = {"links of a person to himself, left out": int((pair[:, 0] == pair[:, 1]).sum())}
        pair = pair[pair[:, 0] != pair[:, 1]]
        once = _distinct(pair, len(people))
        notes["links that stand there several times, kept once"] = len(pair) - len(once)
        if mutual:
            both = _distinct(np.concatenate([once, once[:, ::-1]]), len(people))
            notes["friendships that stand there one way only, read both ways"] = len(both) - len(once)
            once = both
        if not len(once):
            raise InputError(f"{file}: nobody is linked to anybody else")
        said = tuple(f"{file}: {what}: {count}" for what, count in notes.items() if count)
        return cls(file, people.take(pa.array(once[:, 0])), people.take(pa.array(once[:, 1])), mutual, said)

    @property
    def people(self) -> pa.Array:
        """Everybody who links or is linked to, each once."""
        import pyarrow as pa
        from pyarrow import compute

        return compute.unique(pa.concat_arrays([self.user, self.other]))


@dataclass(frozen=True)
class Found:
    """What the files of one layout hold.

    Attributes:
        name: Which data set it is.
        user: User of each interaction, texts [n].
        item: Its item, texts [n].
        rating: Its label, float32 [n].
        items: Ids of all items, each once.
        titles: What they are called; texts, empty where they have no name.
        rating_range: Lowest and highest label.
        implicit: Whether labels say only that there was an interaction.
        network: The links; None where their file is absent.
        links_file: Name of the file that holds the links, or would.
        licence: What may be done with the data.
        notes: What was read in another way than it is written, one line each.
    """

    name: str
    user: pa.Array
    item: pa.Array
    rating: NDArray[np.float32]
    items: pa.Array
    titles: pa.Array
    rating_range: tuple[float, float]
    implicit: bool
    network: Network | None
    links_file: str
    licence: str
    notes: tuple[str, ...] = ()

    @property
    def people(self) -> pa.Array:
        """Everybody who has an interaction or stands in the network, each once."""
        import pyarrow as pa
        from pyarrow import compute

        met = compute.unique(self.user)
        return met if self.network is None else compute.unique(pa.concat_arrays([met, self.network.people]))


def last_of_pairs(found: Found, file: str) -> Found:
    """Keep the last interaction of each user with each item, in the file's order, and note how many others were."""
    import pyarrow as pa

    codes = [np.asarray(one.dictionary_encode().indices, np.int64) for one in (found.user, found.item)]
    pair = codes[0] * len(found.items) + codes[1]
    _, last = np.unique(pair[::-1], return_index=True)
    rows = np.sort(len(pair) - 1 - last)
    dropped = len(pair) - len(rows)
    if not dropped:
        return found
    note = f"{file}: pairs of user and item that stand there several times, the last one kept: {dropped} lines left out"
    kept = {"user": found.user.take(pa.array(rows)), "item": found.item.take(pa.array(rows))}
    return replace(found, **kept, rating=found.rating[rows], notes=(*found.notes, note))


def _distinct(pair: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """Return the distinct pairs, int64 [m, 2], in the order of their first places."""
    _, first = np.unique(pair[:, 0] * width + pair[:, 1], return_index=True)
    kept: NDArray[np.int64] = pair[np.sort(first)]
    return kept

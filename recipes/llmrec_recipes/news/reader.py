"""Reader of Microsoft News (MIND): impressions with clicks, users' histories, articles and the entities in them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from llmrec_peft.plugins import InputError, Options, Reader, RecDataset, interactions_table, table
from llmrec_recipes.news.articles import Articles
from llmrec_recipes.news.behaviors import Behaviors
from llmrec_recipes.news.mind_files import folders_of

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

_LICENCE = (
    "MIND (c) Microsoft Corporation. Microsoft Research License Terms: research use, no redistribution. Cite: F. Wu\n"
    "et al., MIND: A Large-scale Dataset for News Recommendation, ACL 2020."
)


class NewsOptions(Options):
    """What of MIND is read."""

    negatives: int | None = Field(default=4, ge=1)
    """Unclicked articles of an impression that are learnt from for each clicked one, drawn at random; null for all. All
    are kept where models are validated and tested."""
    history: int = Field(default=50, ge=1, le=1000)
    """Clicks before an impression that are kept, the newest."""
    valid_share: float = Field(default=0.1, gt=0.0, lt=1.0)
    """Share of the training impressions, the newest, that settings are chosen on."""
    test_share: float = Field(default=0.2, gt=0.0, lt=1.0)
    """Share of the impressions, the newest, that are the test part where one folder holds all of them."""


class News(Reader):
    """Clicks on news in lists of shown articles, with each user's earlier clicks and each article's entities.

    Reads the folders that MIND's archives unpack into, ``MINDsmall_train`` and ``MINDsmall_dev`` (or ``train`` and
    ``dev``, or those of ``MINDlarge``): dev is the test part, and the newest impressions of train are the validation
    part. A folder that holds ``behaviors.tsv`` and ``news.tsv`` itself is divided by time. An article's column
    ``first_seen`` is when any impression showed it first, or had it in its history, in all files: at the time of an
    impression that shows it, this lies in the past, and it tells no click.
    """

    summary: ClassVar[str] = "Microsoft News (MIND): clicks by impression, histories, article texts and entities"
    Config: ClassVar[type[Options]] = NewsOptions
    options: Options = NewsOptions()

    def read(self, path: Path, graph: Path | None) -> RecDataset:
        """Read ``behaviors.tsv`` and ``news.tsv`` of one folder, or of the folders of train and dev."""
        if graph is not None:
            raise InputError("data.graph: MIND's graph are the entities in news.tsv itself; leave it out")
        options, folders = cast(NewsOptions, self.options), folders_of(path)
        articles = Articles(list(folders.values()))
        notes = {"articles that dev describes in another way than train, kept as in train": articles.differing}
        parts = []
        size = len(articles.ids) + 1
        first = np.full(size, np.iinfo(np.int64).max)
        for part, folder in folders.items():
            read = Behaviors.read(folder, part, articles.ids)
            where = f" of {part}" if part else ""
            for what, lists in (("shown", read.shown), ("clicked before", read.history)):
                text = f"articles {what}{where} that news.tsv lacks, left out (of {len(lists.item)})"
                notes[text] = int((lists.item == 0).sum())
            known = read.without_unknown()
            if not len(known.shown.item):
                raise InputError(f"{folder}: news.tsv holds none of the articles that behaviors.tsv shows")
            first = np.minimum(first, known.first_seen(size))
            parts += [_learnt(one, options) for one in _divided(known, part, options)]
        users = list(dict.fromkeys(user for one in parts for user in one.read.user.to_pylist()))
        return RecDataset(
            name="MIND" if "" in folders else f"MIND {' and '.join(folder.name for folder in folders.values())}",
            interactions=_interactions(parts, articles, options.history),
            items=table({**articles.columns, "first_seen": _or_none(first[1:])}),
            users=table({"user_id": users}),
            rating_range=(0, 1),
            graph=articles.graph(),
            licence=_LICENCE,
            notes=tuple(f"{what}: {count}" for what, count in notes.items() if count),
            feedback="click",
            repeats=True,
        )

    def demo(self, seed: int) -> RecDataset:
        """Make up news whose topics decide who clicks, while they are fresh; see `llmrec_recipes.news.demo`."""
        from llmrec_recipes.news.demo import demo_dataset

        return demo_dataset(seed)


@dataclass(frozen=True)
class _Part:
    """Impressions of a part, of which some shown items are records.

    Attributes:
        name: ``train``, ``valid`` or ``test``.
        read: The impressions.
    """

    name: str
    read: Behaviors


def _divided(read: Behaviors, part: str, options: NewsOptions) -> list[_Part]:
    """Divide a file's impressions by time; those of one moment stay together."""
    if part == "test":
        return [_Part("test", read)]
    shown = np.bincount(read.shown.of, minlength=len(read)) > 0
    late = np.zeros(len(read), bool)
    if not part:
        late = shown & _newest(read.time, shown, options.test_share)
    valid = shown & ~late & _newest(read.time, shown & ~late, options.valid_share)
    names = {"train": ~late & ~valid, "valid": valid} | ({} if part else {"test": late})
    return [_Part(name, read.fewer(chosen[read.shown.of])) for name, chosen in names.items()]


def _newest(time: NDArray[np.int64], among: NDArray[np.bool_], share: float) -> NDArray[np.bool_]:
    """Return which impressions are later than all but about a share of some, bool [m]."""
    some = np.sort(time[among])
    cut = some[min(len(some) - 1, round(len(some) * (1.0 - share)))] if len(some) else 0
    return np.asarray(time >= cut if (some < cut).any() else time > cut)


def _learnt(part: _Part, options: NewsOptions) -> _Part:
    """Leave out of training what is not drawn."""
    if part.name != "train" or options.negatives is None:
        return part
    return _Part(part.name, part.read.fewer(part.read.sampled(options.negatives)))


def _interactions(parts: list[_Part], articles: Articles, most: int) -> Dataset:
    """Return a record for each shown article, with its impression and the user's history before it."""
    import pyarrow as pa

    ids = articles.ids
    columns: dict[str, list[pa.Array]] = {
        name: [] for name in ("user_id", "item_id", "rating", "timestamp", "part", "history", "history_rating", "kind")
    } | {"impression": []}
    for part in parts:
        read, of = part.read, pa.array(part.read.shown.of)
        told = read.newest_histories(most).take(of)
        entries = told.flatten()
        bounds = pa.array(np.concatenate([[0], np.cumsum(np.asarray(told.value_lengths()))]), pa.int32())
        columns["user_id"].append(read.user.take(of))
        columns["item_id"].append(ids.take(pa.array(read.shown.item - 1)))
        columns["rating"].append(pa.array(read.label))
        columns["timestamp"].append(pa.array(read.time[read.shown.of]))
        columns["part"].append(pa.repeat(pa.scalar(part.name), len(of)))
        columns["history"].append(pa.ListArray.from_arrays(bounds, ids.take(pa.array(entries.to_numpy() - 1))))
        columns["history_rating"].append(
            pa.ListArray.from_arrays(bounds, pa.repeat(pa.scalar(1.0, pa.float32()), len(entries)))
        )
        new = np.asarray(told.value_lengths()) == 0
        columns["kind"].append(pa.array(np.where(new, "without_history", "with_history").tolist(), pa.string()))
        columns["impression"].append(read.impression.take(of))
    return interactions_table(**{name: pa.chunked_array(values) for name, values in columns.items()})


def _or_none(first: NDArray[np.int64]) -> pa.Array:
    """Return times with null for never."""
    import pyarrow as pa

    return pa.array(first, mask=first == np.iinfo(np.int64).max)

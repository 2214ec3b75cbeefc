"""People as items: a dataset whose interactions are links, of which pairs of people are held out, both ways at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.plugins import InputError, RecDataset, interactions_table, table
from llmrec_recipes.social.found import Found, Network

if TYPE_CHECKING:
    import pyarrow as pa


def people_dataset(found: Found, test_share: float, valid_share: float, seed: int) -> RecDataset:
    """Return a dataset that recommends people: an interaction is a link, and what somebody met describes him.

    A pair of people is held out as a whole: who is linked to whom, and the other way round. So no held-out link can be
    read from its reverse. Times say the order at random, training first: the data know none.

    Args:
        found: What the folder holds.
        test_share: Share of the pairs in the test part.
        valid_share: Share of the other pairs in the validation part.
        seed: Seed of the draws.

    Raises:
        InputError: If there are no links, or too few for three parts.
    """
    import pyarrow as pa

    network = found.network
    if network is None:
        raise InputError(f"data.options.recommend: {found.name} has no people to recommend without {found.links_file}")
    people = found.people
    part = _parts(network, people, test_share, valid_share, seed)
    order = np.lexsort((np.random.default_rng([seed, 7]).random(len(part)), part))
    rows = pa.array(order)
    user = network.user.take(rows)
    return RecDataset(
        name=f"people of {found.name}",
        interactions=interactions_table(
            user_id=user,
            item_id=network.other.take(rows),
            rating=np.ones(len(order), np.float32),
            timestamp=np.arange(1, len(order) + 1),
            part=pa.array(np.array(["train", "valid", "test"])[part[order]].tolist(), pa.string()),
        ),
        items=table({"item_id": people, "title": pa.array([""] * len(people), pa.string())}),
        users=table({"user_id": people, "met": _met(found, people)}),
        rating_range=(0.0, 1.0),
        licence=found.licence,
        notes=(*found.notes, *network.notes, _said(part)),
        feedback="implicit",
        items_are_users=True,
    )


def _parts(network: Network, people: pa.Array, test: float, valid: float, seed: int) -> NDArray[np.int64]:
    """Return 0, 1 or 2 for each link in training, validation or test; one number for a pair of people.

    Raises:
        InputError: If a part is empty.
    """
    from pyarrow import compute

    ends = np.stack([np.asarray(compute.index_in(one, value_set=people)) for one in (network.user, network.other)])
    pairs, of = np.unique(ends.min(0).astype(np.int64) * len(people) + ends.max(0), return_inverse=True)
    drawn = np.random.default_rng(seed).permutation(len(pairs))
    held_out = round(len(pairs) * test)
    chosen = round((len(pairs) - held_out) * valid)
    part = np.zeros(len(pairs), np.int64)
    part[drawn[:held_out]] = 2
    part[drawn[held_out : held_out + chosen]] = 1
    if len(np.unique(part)) < 3:  # noqa: PLR2004 - training, validation and test
        raise InputError(f"{network.file}: {len(pairs)} pairs of people are too few for training, validation and test")
    return part[of]


def _met(found: Found, people: pa.Array) -> list[list[str]]:
    """Return the items that each person interacted with."""
    from pyarrow import compute

    of: list[list[str]] = [[] for _ in range(len(people))]
    places: Any = compute.index_in(found.user, value_set=people)
    for place, item in zip(places.to_pylist(), found.item.to_pylist(), strict=True):
        of[place].append(item)
    return of


def _said(part: NDArray[np.int64]) -> str:
    train, valid, test = np.bincount(part, minlength=3).tolist()
    return (
        f"links: {train} in training, {valid} in validation, {test} in test; of each pair of people both directions are"
        " in one part"
    )

"""Transitions: counts by step against plain loops, what an example leaves out, folding, following, bounded tables."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from llmrec_peft.data.batches import Batch
from llmrec_peft.data.histories import Histories
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.errors import InputError
from llmrec_peft.signals.contract import SignalContext
from llmrec_peft.signals.transitions import Transitions, TransitionsOptions

ITEMS = 8
SEQUENCES = {1: [1, 2, 3, 2, 4], 2: [2, 3, 5], 3: [6], 4: [3, 2, 3, 5, 1, 2]}


def interactions(sequences: dict[int, list[int]] = SEQUENCES) -> Interactions:
    """Return sequences as interactions in a random order, each with the items before it as its history."""
    rows = [(user, item, place) for user, items in sequences.items() for place, item in enumerate(items)]
    rows = [rows[at] for at in np.random.default_rng(0).permutation(len(rows))]
    user, item, place = (np.array(values, np.int64) for values in zip(*rows, strict=True))
    before = [sequences[u][:p] for u, _, p in rows]
    end = np.cumsum([len(entries) for entries in before]).astype(np.int64)
    flat = np.array([entry for entries in before for entry in entries], np.int64)
    ones = np.ones(len(flat), np.float32)
    history = Histories(flat, ones, end - [len(entries) for entries in before], end)
    return Interactions(user, item, np.ones(len(user), np.float32), place, history, np.arange(len(user)) + 100)


def signal(train: Interactions | None = None, **options: Any) -> Transitions:
    made = Transitions(TransitionsOptions(**{"scale": 1.0, **options}))
    train = interactions() if train is None else train
    made.parts = made.build(SignalContext(6, ITEMS, 4, train, None, None, task="ranking", history_length=5))
    made.parts.eval()
    return made


def expected(made: Transitions, sequences: dict[int, list[int]], history: list[int], item: int, less: int = 0) -> float:
    """Compute the score of one history and item by loops over the definition."""
    options, weights = made.config, made.parts["weights"]
    often = np.bincount([one for items in sequences.values() for one in items], minlength=ITEMS).astype(float)
    often[item] -= less
    total = 0.0
    for p, entry in enumerate(history[::-1][: options.length]):
        for items in sequences.values():
            for at, first in enumerate(items):
                for k in range(1, options.steps + 1):
                    if at + k < len(items):
                        forward = (first, items[at + k]) == (entry, item)
                        backward = (items[at + k], first) == (entry, item)
                        weight = forward / k + backward * options.backwards / k
                        a, b = weights["power"].tolist()
                        total += options.decay**p * weight / ((1 + often[entry]) ** a * (1 + often[item]) ** b)
    return total


def ask(made: Transitions, histories: list[list[int]]) -> torch.Tensor:
    """Return the scores of all items for some histories, [B, ITEMS]."""
    rows = [[0] * (5 - len(entries)) + entries for entries in histories]
    batch = Batch(torch.zeros(len(rows), dtype=torch.int64), torch.ones(len(rows), dtype=torch.int64))
    batch.history, batch.candidates = torch.tensor(rows), torch.arange(ITEMS)
    with torch.no_grad():
        scores = made.cross(batch, batch.candidates[None])
    assert scores is not None
    return scores


@pytest.mark.parametrize("normalization", ["cosine", "rows", "none"])
def test_scores_are_those_of_the_definition(normalization: str) -> None:
    made = signal(steps=2, normalization=normalization)
    histories = [[1, 2], [3], [], [6, 4, 2, 2, 3]]
    scores = ask(made, histories)
    for row, history in enumerate(histories):
        wanted = [expected(made, SEQUENCES, history, item) for item in range(ITEMS)]
        assert scores[row].tolist() == pytest.approx(wanted, abs=1e-5)
    assert scores[0].abs().max() > 0.1
    assert scores[2].tolist() == [0.0] * ITEMS, "an empty history foretells nothing"


def test_in_training_an_example_is_scored_as_if_it_and_what_came_later_had_not_happened() -> None:
    train = interactions()
    made = signal(train, steps=3)
    made.parts.train()
    batch = Batch.of(train, np.arange(len(train)), torch.device("cpu"), 5)
    batch.candidates, batch.target = torch.arange(ITEMS), batch.item
    scores = made.cross(batch, batch.candidates[None])
    assert scores is not None
    compared = 0
    for row, (user, item, place) in enumerate(zip(train.user, train.item, train.timestamp, strict=True)):
        own = SEQUENCES[int(user)]
        before = own[:place]
        if item in before or len(set(before)) < len(before):
            continue  # what a repeated item's other occurrences add stays
        known = {**SEQUENCES, int(user): [], 9: before, 10: own[place:]}  # no pair goes from before to after
        wanted = expected(made, known, before, int(item))
        often = sum(items.count(int(item)) for items in SEQUENCES.values())
        b = made.parts["weights"]["power"][1].item()
        assert scores[row, item].item() == pytest.approx(wanted * ((1 + often) / often) ** b, abs=1e-5)
        compared += 1
    assert compared > 5
    made.parts.eval()
    assert not torch.equal(made.cross(batch, batch.candidates[None]), scores), "in evaluation nothing is left out"


def test_a_pair_that_occurred_once_does_not_foretell_itself() -> None:
    train = interactions({1: [1, 2], 2: [3, 4]})
    made = signal(train)
    batch = Batch.of(train, np.arange(4), torch.device("cpu"), 5)
    second = torch.from_numpy(train.timestamp == 1)
    assert (made.offset(batch)[second] > 0).all()
    made.parts.train()
    assert made.offset(batch).abs().max() < 1e-6


def test_an_example_that_is_not_at_its_place_in_training_takes_nothing_of_its_own_away() -> None:
    train = interactions({1: [1, 2], 2: [3, 4]})
    made = signal(train, normalization="none")
    batch = Batch.of(train, np.flatnonzero(train.timestamp == 1), torch.device("cpu"), 5)
    whole = made.offset(batch)
    made.parts.train()
    for moved in (replace(batch, example=batch.example + 10_000), replace(batch, user=batch.user + 1)):
        assert torch.equal(made.offset(moved), whole)


def test_only_the_strongest_pairs_of_an_item_are_kept() -> None:
    made = signal(strongest=1, normalization="none", steps=1)
    scores = ask(made, [[item] for item in range(1, ITEMS)])
    assert ((scores > 0).sum(1) <= 1).all()
    whole = ask(signal(normalization="none", steps=1), [[item] for item in range(1, ITEMS)])
    assert torch.equal(scores.amax(1), whole.amax(1))


def test_a_folded_signal_keeps_its_scores_and_remembers_what_it_is_given() -> None:
    made = signal()
    histories = [[1, 2], [3], [5, 3]]
    before = ask(made, histories)
    made.fold()
    assert set(made.parts) == {"entries", "weights", "folded"}
    assert torch.allclose(ask(made, histories), before, atol=1e-6)
    other = {1: [1, 2, 3], 2: [1, 3]}
    made.remember(interactions(other))
    assert torch.allclose(ask(made, histories), ask(signal(interactions(other)), histories), atol=1e-6)


def test_following_counts_what_recounting_would() -> None:
    made = signal(interactions({1: [1, 2], 2: [2]}))
    made.remember(interactions({1: [1, 2], 2: [2]}))
    made.follow(Batch(torch.tensor([1, 2, 0]), torch.tensor([3, 3, 4])))
    made.follow(Batch(torch.tensor([1]), torch.tensor([5])))
    whole = signal(interactions({1: [1, 2, 3, 5], 2: [2, 3], 3: [4]}))
    histories = [[1], [2], [1, 2], [4]]
    assert torch.allclose(ask(made, histories), ask(whole, histories), atol=1e-6)


def test_a_saved_table_that_does_not_fit_is_refused() -> None:
    made = signal()
    made.fold()
    saved = {name: tensor.clone() for name, tensor in made.parts.state_dict().items()}
    context = SignalContext(6, ITEMS, 4, None, None, None, task="ranking", history_length=5)
    for name, wrong, message in (
        ("folded.item", torch.full_like(saved["folded.item"], ITEMS), "is not a list of items from 1 to 7"),
        ("folded.value", saved["folded.value"] * torch.nan, "not one finite float32"),
        ("folded.begin", saved["folded.begin"].flip(0), "does not divide"),
        ("folded.begin", saved["folded.begin"][:-1], r"is not int64 \[9\]"),
        ("folded.begin", None, "is missing"),
    ):
        changed = {one: value for one, value in {**saved, name: wrong}.items() if value is not None}
        with pytest.raises(InputError, match=message):
            Transitions(TransitionsOptions()).build(replace(context, saved=changed))


def test_data_without_any_pair_is_taken() -> None:
    made = signal(interactions({1: [1], 2: [2]}))
    assert ask(made, [[1, 2]]).tolist() == [[0.0] * ITEMS]
    made.fold()
    assert ask(made, [[1, 2]]).tolist() == [[0.0] * ITEMS]
    assert made.report()["links"] == 0

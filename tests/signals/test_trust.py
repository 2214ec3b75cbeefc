"""Trust: sums over neighbours against a loop, people without ratings, what a saved run holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from llmrec_peft.data.batches import Batch
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.data.links import Links
from llmrec_peft.errors import InputError
from llmrec_peft.options import validated
from llmrec_peft.signals.contract import SignalContext
from llmrec_peft.signals.parts.linked_users import residuals
from llmrec_peft.signals.parts.row_table import distinct
from llmrec_peft.signals.trust import Trust, TrustOptions

USERS, ITEMS, DIM = 9, 8, 4
LINKS = Links.distinct(np.array([1, 1, 2, 3, 8, 8, 8, 5]), np.array([2, 3, 1, 8, 1, 2, 5, 8]))
"""User 8 has no rating and trusts three who have; 4, 6 and 7 trust nobody; 3 and 5 trust the one without ratings."""


@pytest.fixture
def trust(ratings: Interactions) -> Callable[..., Trust]:
    """A signal over the links above, every table drawn."""

    def make(train: Interactions = ratings, links: Links = LINKS, **options: object) -> Trust:
        signal = Trust(validated(TrustOptions, options, "signals.trust"))
        signal.parts = signal.build(SignalContext(USERS, ITEMS, DIM, train, None, None, links=links))
        torch.manual_seed(0)
        for parameter in signal.parts.parameters():
            torch.nn.init.normal_(parameter)
        signal.parts.eval()
        return signal

    return make


def batch_of(*users: int) -> Batch:
    user = torch.tensor(users)
    return Batch(user, torch.ones_like(user))


@torch.no_grad()
def naive(signal: Trust, train: Interactions, user: int, links: Links = LINKS) -> torch.Tensor:
    around = links.other[links.user == user].tolist()
    total = torch.zeros(DIM)
    for other in around:
        if signal.config.people:
            total += signal.parts["people"].weight[other]
        if signal.config.history:
            met = train.item[train.user == other].tolist()
            total += sum(signal.parts["history"].weight[item] for item in met) / (len(met) + 1) ** 0.5 if met else 0.0
    return total / (len(around) + 1) ** 0.5


@pytest.mark.parametrize("options", [{}, {"people": False}, {"history": False}])
def test_vectors_are_sums_over_those_whom_a_user_trusts(
    trust: Callable[..., Trust], ratings: Interactions, options: dict[str, bool]
) -> None:
    signal, users = trust(**options), (1, 8, 3, 4, 1, 0)
    found = signal.user(batch_of(*users)).detach()
    expected = torch.stack([naive(signal, ratings, user) for user in users])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert found[[3, 5]].abs().max() == 0, "nobody is trusted"
    assert found[1].abs().max() > 0, "a user without a rating is placed by those whom he trusts"


@pytest.mark.parametrize("direction", ["in", "both"])
def test_direction_turns_links(trust: Callable[..., Trust], ratings: Interactions, direction: str) -> None:
    turned = LINKS.towards(direction)  # type: ignore[arg-type]
    expected = {(o, u) for u, o in zip(LINKS.user.tolist(), LINKS.other.tolist(), strict=True)}
    if direction == "both":
        expected |= {(u, o) for o, u in expected}
    assert set(zip(turned.user.tolist(), turned.other.tolist(), strict=True)) == expected
    signal = trust(direction=direction)
    expected_vectors = torch.stack([naive(signal, ratings, user, turned) for user in range(USERS)])
    torch.testing.assert_close(signal.user(batch_of(*range(USERS))).detach(), expected_vectors)


def test_offsets_read_how_neighbours_rate(trust: Callable[..., Trust], ratings: Interactions) -> None:
    signal = trust()
    with torch.no_grad():
        signal.parts["bias"].weight.zero_()
        signal.parts["statistics"].weight.copy_(torch.tensor([[2.0, 0.0]]))
    of = residuals(ratings, USERS, ITEMS)
    found = signal.user_offset(batch_of(1, 8, 4)).detach()
    expected = [2 * np.mean(of[[2, 3]]), 2 * np.mean(of[[1, 2, 5]]), 0.0]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_nothing_of_a_user_depends_on_his_own_ratings(trust: Callable[..., Trust], ratings: Interactions) -> None:
    own = ratings.user == 1
    other = replace(ratings, label=np.where(own, 6 - ratings.label, ratings.label).astype(np.float32))
    item = np.where(own, 1 + (ratings.item % (ITEMS - 1)), ratings.item)
    vectors = [trust(part).user(batch_of(1)).detach() for part in (ratings, replace(other, item=item))]
    torch.testing.assert_close(*vectors)
    before, after = (trust(part).user(batch_of(2)).detach() for part in (ratings, replace(ratings, item=item)))
    assert not torch.equal(before, after), "user 2 trusts user 1"


def test_a_folded_signal_answers_alike_and_holds_no_link(trust: Callable[..., Trust]) -> None:
    signal, every = trust(dropout=0.5), batch_of(*range(USERS))
    before = signal.user(every).detach(), signal.user_offset(every).detach()
    signal.fold()
    assert [tuple(p.shape) for p in signal.parts.parameters()] == [(USERS, DIM), (USERS,)]
    assert set(signal.parts) == {"folded"}
    torch.testing.assert_close((signal.user(every), signal.user_offset(every)), before)
    assert signal.report() == {}


def test_long_histories_and_many_neighbours_are_cut(trust: Callable[..., Trust], ratings: Interactions) -> None:
    ordered = replace(ratings, timestamp=np.arange(len(ratings)))
    signal = trust(ordered, longest_history=1, people=False, most_neighbours=1)
    newest = {user: ordered.item[ordered.user == user][-1] for user in (2, 3, 5)}
    rows = signal.parts["history"].weight.detach()
    expected = torch.stack([rows[newest[3]] / 2, rows[newest[5]] / 2])  # the largest index; √2 for each of the sums
    torch.testing.assert_close(signal.user(batch_of(1, 8)).detach(), expected)


def test_a_neighbour_without_any_vector_is_refused() -> None:
    with pytest.raises(InputError, match="with neither people nor history"):
        validated(TrustOptions, {"people": False, "history": False}, "signals.trust")


def test_links_are_distinct_and_nobody_is_linked_to_himself() -> None:
    links = Links.distinct(np.array([1, 1, 2, 0, 3]), np.array([2, 2, 2, 1, 0]))
    assert (links.user.tolist(), links.other.tolist(), len(links)) == ([1], [2], 1)
    nobody = Links.distinct(np.empty(0, np.int64), np.empty(0, np.int64))
    assert len(nobody.towards("both")) == 0


class ByRows:
    """Trains a table by the rows that are read, as `llmrec_peft.training.lazy_table` does."""

    def __init__(self, table: torch.nn.Embedding) -> None:
        self.table, self.asked = table, 0

    def read(self, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        found, place = distinct(index, len(self.table.weight))
        self.asked += len(found)
        return self.table.weight[found], place


@pytest.mark.parametrize("users", [(1, 3), (8, 1, 1, 4), tuple(range(USERS)), (4, 6)])
def test_tables_that_are_trained_by_rows_give_the_same_sums_and_gradients(
    trust: Callable[..., Trust], users: tuple[int, ...]
) -> None:
    found, asked = [], 0
    for by_rows in (False, True):
        signal = trust()
        signal.parts.train()
        if by_rows:
            for name in ("people", "history", "bias"):
                signal.parts[name].trainer = ByRows(signal.parts[name])
        for _ in range(2):  # the second step finds what the first one kept
            signal.parts.zero_grad()
            vectors, offsets = signal.user(batch_of(*users)), signal.user_offset(batch_of(*users))
            weights = torch.arange(1.0, vectors.numel() + 1).reshape(vectors.shape)
            ((vectors * weights).sum() + (offsets * weights[:, 0]).sum()).backward()
        trained = [p for _, p in sorted(signal.parts.named_parameters()) if p.requires_grad]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
        found.append((vectors.detach(), offsets.detach(), gradients))
        asked += sum(signal.parts[name].trainer.asked for name in ("people", "history", "bias")) if by_rows else 0
    torch.testing.assert_close(found[0], found[1])
    assert asked > 0 or users == (4, 6), "nobody of these has neighbours"

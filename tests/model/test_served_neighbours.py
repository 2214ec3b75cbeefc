"""Served neighbours: pairs and lists get the counts of the histories' newest entries; false tables are refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from learning import DIM
from scipy import sparse

from llmrec_peft.data.batches import Batch
from llmrec_peft.heads.contract import HeadContext
from llmrec_peft.heads.ranking import RankingHead, RankingOptions
from llmrec_peft.model import RecModel
from llmrec_peft.model.served_baseline import with_baseline
from llmrec_peft.model.served_neighbours import NeighbourOptions, ServedNeighbours, strongest
from llmrec_peft.options import Options
from llmrec_peft.signals.contract import Signal, SignalContext

USERS, ITEMS, SHARE = 4, 7, 0.4
HISTORY = torch.tensor([[0, 0, 0, 0], [0, 0, 3, 5], [1, 2, 3, 4], [6, 6, 6, 1]])


def counts() -> sparse.csr_matrix:
    dense = np.random.default_rng(3).integers(0, 4, (ITEMS, ITEMS)).astype(np.float32)
    dense[0] = dense[:, 0] = 0.0
    return sparse.csr_matrix(dense)


class Drawn(Signal[Options]):
    """Random vectors of users and items."""

    summary = "random"
    Config = Options

    def build(self, context: SignalContext) -> torch.nn.ModuleDict:
        sizes = {"user": USERS, "item": ITEMS}
        return torch.nn.ModuleDict({side: torch.nn.Embedding(size, DIM) for side, size in sizes.items()})

    def user(self, batch: Batch) -> torch.Tensor:
        return self.parts["user"](batch.user)

    def item(self, batch: Batch) -> torch.Tensor:
        return self.parts["item"](batch.item)


def made_up() -> RecModel:
    torch.manual_seed(0)
    signal, head = Drawn(Options()), RankingHead(RankingOptions(temperature=2.0))
    signal.parts = signal.build(SignalContext(USERS, ITEMS, DIM, None, None, None))
    head.parts = head.build(HeadContext(DIM, 1.0, (0.0, 1.0)))
    return RecModel({"drawn": signal}, {"ranking": head}).eval()


def expected(length: int, logarithm: bool) -> np.ndarray:
    found = np.zeros((USERS, ITEMS))
    dense = counts().toarray()
    for user, history in enumerate(HISTORY.tolist()):
        for place, item in enumerate(reversed(history[-length:]), start=1):
            found[user] += dense[item] / place
    return np.log1p(found) if logarithm else found


@pytest.mark.parametrize("length", [2, 4])
@pytest.mark.parametrize("logarithm", [False, True])
def test_pairs_and_lists_are_scored_alike_as_the_blend(length: int, logarithm: bool) -> None:
    model = made_up()
    options = NeighbourOptions(length=length, logarithm=logarithm)
    served = with_baseline(model, ServedNeighbours.of(counts(), options, 1.5), SHARE)
    assert (model.plan.history_length, served.plan.history_length) == (None, length)
    users, items = torch.arange(USERS), torch.arange(1, ITEMS)
    every = Batch(user=users, item=torch.zeros(USERS, dtype=torch.int64), candidates=items, history=HISTORY)
    with torch.no_grad():
        own = model.score(every, *model.sides(every))
        both = served.score(every, *served.sides(every))
        wanted = (1.0 - SHARE) * own + 1.5 * torch.from_numpy(expected(length, logarithm)[:, 1:]).float() / 2.0
        torch.testing.assert_close(both, wanted, atol=1e-5, rtol=1e-5)
        pairs = Batch(
            user=users.repeat_interleave(len(items)),
            item=items.repeat(USERS),
            history=HISTORY.repeat_interleave(len(items), 0),
        )
        torch.testing.assert_close(served.raw(pairs).reshape(USERS, -1), both, atol=1e-5, rtol=1e-5)


def test_texts_are_compared_beside_the_counts() -> None:
    texts = torch.randn(ITEMS, 5, generator=torch.Generator().manual_seed(1))
    unit = torch.nn.functional.normalize(texts, dim=-1)
    signal = ServedNeighbours.of(counts(), NeighbourOptions(length=2, counts=0.5), 3.0)
    items, places = torch.arange(1, ITEMS), torch.tensor([0.5, 1.0])
    profile = (unit[HISTORY[:, 2:]] * (places * (HISTORY[:, 2:] > 0))[:, :, None]).sum(1)
    wanted = 3.0 * (profile @ unit[1:].T + 0.5 * torch.from_numpy(expected(2, False)[:, 1:]).float())
    users, history = torch.arange(USERS), texts[HISTORY]
    every = Batch(user=users, item=users, candidates=items, history=HISTORY).with_vectors(
        history=history, candidates=texts[1:]
    )
    torch.testing.assert_close(signal.cross(every, items[None, :]), wanted)
    pairs = Batch(user=users, item=users + 1, history=HISTORY).with_vectors(history=history, item=texts[1 : USERS + 1])
    torch.testing.assert_close(signal.cross(pairs, pairs.item[:, None]), wanted.diagonal()[:, None])


def test_without_histories_nothing_is_added() -> None:
    signal = ServedNeighbours.of(counts(), NeighbourOptions(), 1.0)
    batch = Batch(user=torch.zeros(2, dtype=torch.int64), item=torch.tensor([1, 2]))
    assert signal.cross(batch, batch.item[:, None]) is None


def test_the_largest_counts_of_a_row_stay() -> None:
    kept = strongest(sparse.csr_matrix(np.array([[0.0, 1, 5, 3, 5], [0, 0, 2, 0, 0]])), 2)
    np.testing.assert_array_equal(kept.toarray(), [[0, 0, 5, 0, 5], [0, 0, 2, 0, 0]])
    assert strongest(sparse.csr_matrix((3, 3)), 2).nnz == 0


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("tables.pair", torch.tensor([[1, ITEMS]], dtype=torch.int32), "outside"),
        ("tables.pair", torch.tensor([[0, 1]], dtype=torch.int32), "outside"),
        ("tables.pair", torch.tensor([[1, 1]]), "int32"),
        ("tables.count", torch.tensor([-1.0]), "count"),
        ("tables.count", torch.tensor([1.0, 2.0]), "count"),
        ("tables.count", torch.tensor([float("nan")]), "count"),
    ],
)
def test_saved_tables_that_cannot_be_are_refused(name: str, value: torch.Tensor, why: str) -> None:
    saved = {"tables.pair": torch.tensor([[1, 2]], dtype=torch.int32), "tables.count": torch.tensor([3.0])}
    context = SignalContext(USERS, ITEMS, DIM, None, None, None)
    found = ServedNeighbours.empty(SignalContext(**{**vars(context), "saved": saved}), NeighbourOptions())
    assert found.parts["tables"]["pair"].shape == (1, 2)
    with pytest.raises(ValueError, match=why):
        ServedNeighbours.empty(SignalContext(**{**vars(context), "saved": {**saved, name: value}}), NeighbourOptions())

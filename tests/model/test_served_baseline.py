"""Served baseline: model and baseline answer as the blend of their scores, in pairs and in lists, at every share."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from learning import DIM

from llmrec_peft.data.batches import Batch
from llmrec_peft.heads.contract import HeadContext
from llmrec_peft.heads.rating import RatingHead, RatingOptions
from llmrec_peft.model import RecModel
from llmrec_peft.model.fusion import Fusion, Kind
from llmrec_peft.model.served_baseline import NAME, ServedBaseline, with_baseline
from llmrec_peft.options import Options
from llmrec_peft.signals.contract import Signal, SignalContext
from llmrec_peft.signals.parts.matrix_factorization import Factors

USERS, ITEMS = 6, 9


class Drawn(Signal[Options]):
    """Random vectors and offsets of users and items."""

    summary = "random"
    Config = Options

    def build(self, context: SignalContext) -> torch.nn.ModuleDict:
        sizes = {"user": USERS, "item": ITEMS}
        tables = {side: torch.nn.Embedding(size, DIM) for side, size in sizes.items()}
        return torch.nn.ModuleDict({**tables, "bias": torch.nn.Embedding(ITEMS, 1)})

    def user(self, batch: Batch) -> torch.Tensor:
        return self.parts["user"](batch.user)

    def item(self, batch: Batch) -> torch.Tensor:
        return self.parts["item"](batch.item)

    def item_offset(self, batch: Batch) -> torch.Tensor:
        return self.parts["bias"](batch.item).squeeze(-1)


def made_up(kind: Kind) -> RecModel:
    torch.manual_seed(0)
    context = SignalContext(USERS, ITEMS, DIM, None, None, None)
    signals = {}
    for name in ("one", "other"):
        signals[name] = Drawn(Options())
        signals[name].parts = signals[name].build(context)
    head = RatingHead(RatingOptions())
    head.parts = head.build(HeadContext(DIM, 3.0, (-99.0, 99.0)))
    return RecModel(signals, {"rating": head}, None, Fusion(kind, list(signals), DIM)).eval()


def factors(rank: int) -> Factors:
    rng = np.random.default_rng(1)
    return Factors(2.5, *(rng.normal(size=size) for size in ((USERS, rank), (ITEMS, rank), USERS, ITEMS)))


@pytest.mark.parametrize("kind", ["sum", "mlp", "gated", "late"])
@pytest.mark.parametrize("rank", [0, 3])
@pytest.mark.parametrize("share", [0.3, 1.0])
def test_the_score_is_the_blend_of_both_scores(kind: Kind, rank: int, share: float) -> None:
    model, tables = made_up(kind), factors(rank)
    served = with_baseline(model, ServedBaseline.of(tables, share, 3.0), share)
    user, item = (torch.from_numpy(index) for index in np.indices((USERS, ITEMS)).reshape(2, -1))
    batch = Batch(user=user, item=item)
    with torch.no_grad():
        own, both = model.raw(batch), served.raw(batch)
        expected = (1.0 - share) * own + share * torch.from_numpy(tables.predict(user.numpy(), item.numpy())).float()
        torch.testing.assert_close(both, expected, atol=1e-4, rtol=1e-4)
        every = Batch(
            user=torch.arange(USERS), item=torch.zeros(USERS, dtype=torch.int64), candidates=torch.arange(ITEMS)
        )
        lists = served.score(every, *served.sides(every))
    torch.testing.assert_close(lists.reshape(-1), both, atol=1e-4, rtol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(model.raw(batch), own)  # the model itself answers as before


@pytest.mark.parametrize("rank", [0, 3])
def test_new_users_and_items_have_the_rows_of_unknown_ones(rank: int) -> None:
    signal = ServedBaseline.of(factors(rank), 0.4, 3.0)
    grown = signal.grown(USERS + 2, ITEMS + 1)
    before, now = (dict(one.parts["tables"]) for one in (signal, grown))
    assert before.keys() == now.keys()
    for name, table in now.items():
        rows, more = (USERS, 2) if name.startswith("user") else (ITEMS, 1)
        assert len(table) == rows + more
        torch.testing.assert_close(table[:rows], before[name])
        torch.testing.assert_close(table[rows:], before[name][:1].expand_as(table[rows:]))


@pytest.mark.parametrize("rank", [0, 3])
def test_saved_tables_fill_an_empty_signal(rank: int) -> None:
    full = ServedBaseline.of(factors(rank), 0.4, 3.0)
    saved = full.parts.state_dict()
    empty = ServedBaseline.empty(SignalContext(USERS, ITEMS, DIM, None, None, None, saved=saved))
    assert empty.width == full.width == rank
    empty.parts.load_state_dict(saved)
    batch = Batch(user=torch.arange(USERS), item=torch.arange(USERS))
    torch.testing.assert_close(empty.offset(batch), full.offset(batch))


@pytest.mark.parametrize("shape", [(4_000_000,), (USERS + 1, 3), (USERS, 4)])
def test_saved_tables_of_another_size_are_refused_before_room_is_made_for_them(shape: tuple[int, ...]) -> None:
    saved = {"tables.user": torch.zeros(1).expand(shape), "tables.item": torch.zeros(ITEMS, 3)}
    with pytest.raises(ValueError, match=r"tables\."):
        ServedBaseline.empty(SignalContext(USERS, ITEMS, DIM, None, None, None, saved=saved))


def test_the_baseline_meets_no_other_signal() -> None:
    fusion = made_up("sum").fusion.with_apart(NAME, 3, 0.5)
    assert fusion.meet("one", "other")
    assert fusion.meet(NAME, NAME)
    assert not fusion.meet(NAME, "one")
    assert not fusion.meet("one", NAME)

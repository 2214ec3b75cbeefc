"""Parts: terms add up to the raw score under every fusion that keeps signals apart, and raw scores to the head's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from llmrec_peft import registry
from llmrec_peft.data.batches import Batch
from llmrec_peft.explanation.terms import terms_of
from llmrec_peft.heads.contract import HeadContext, TaskHead
from llmrec_peft.model import RecModel
from llmrec_peft.model.fusion import Fusion
from llmrec_peft.options import Options
from llmrec_peft.signals.contract import Signal, SignalContext

USERS, ITEMS, DIM = 6, 7, 4


class Tables(Signal[Options]):
    """A signal that is two tables and an offset, some of them absent."""

    Config = Options

    def __init__(self, *absent: str, crosses: bool = False) -> None:
        super().__init__(Options())
        self.absent, self.crosses = absent, crosses
        self.parts = self.build(SignalContext(USERS, ITEMS, DIM, None, None, None))

    def build(self, context: SignalContext) -> nn.ModuleDict:
        sizes = {"user": (USERS, DIM), "item": (ITEMS, DIM), "offset": (ITEMS, 1)}
        return nn.ModuleDict({name: nn.Embedding(*size) for name, size in sizes.items() if name not in self.absent})

    def user(self, batch: Batch) -> Any:
        return self.parts["user"](batch.user) if "user" in self.parts else None

    def item(self, batch: Batch) -> Any:
        return self.parts["item"](batch.item) if "item" in self.parts else None

    def item_offset(self, batch: Batch) -> Any:
        return self.parts["offset"](batch.item).squeeze(-1) if "offset" in self.parts else None

    def cross(self, batch: Batch, candidates: torch.Tensor) -> Any:
        return 0.3 * (batch.user[:, None] == candidates).float() if self.crosses else None


def model_of(kind: str, head: TaskHead[Any]) -> tuple[RecModel, Batch]:
    """Three signals under a fusion and a head, every number drawn."""
    torch.manual_seed(3)
    signals: dict[str, Signal[Any]] = {"a": Tables(), "b": Tables("user", crosses=True), "c": Tables("offset", "item")}
    fusion = Fusion(kind, list(signals), dim=DIM)  # type: ignore[arg-type]
    for parameter in fusion.parameters():
        nn.init.uniform_(parameter, 0.2, 1.5)
    head.parts = head.build(HeadContext(DIM, 3.2, (1.0, 5.0), labels=np.array([0.0, 1.0, 1.0], np.float32)))
    for parameter in head.parts.parameters():
        if parameter.requires_grad:
            nn.init.uniform_(parameter, 0.3, 0.8)
    model = RecModel(signals, {"head": head}, fusion=fusion).eval()
    generator = torch.Generator().manual_seed(1)
    user, item = (torch.randint(0, rows, (20,), generator=generator) for rows in (USERS, ITEMS))
    return model, Batch(user, item)


def head_of(name: str, **options: Any) -> TaskHead[Any]:
    plugin = registry.get("heads", name)
    made: TaskHead[Any] = plugin(plugin.Config(**options))
    return made


HEADS = [
    ("rating", {}),
    ("click", {"calibration": "none"}),
    ("ranking", {}),
    ("retrieval", {}),
    ("retrieval", {"normalize": False}),
]


@pytest.mark.parametrize("kind", ["sum", "gated", "late"])
@pytest.mark.parametrize(("name", "options"), HEADS)
def test_terms_add_up_to_the_raw_score(kind: str, name: str, options: dict[str, Any]) -> None:
    model, batch = model_of(kind, head_of(name, **options))
    with torch.no_grad():
        parts = model.parts(batch)
        terms = terms_of(model, batch, parts)
        whole = model.raw(batch, parts)
    assert terms.exact
    assert set(terms.alone) == {"a", "b"}
    assert set(terms.products) == {(u, i) for u in ("a", "c") for i in ("a", "b")}
    total = sum([*terms.base.values(), *terms.alone.values(), *terms.products.values()])
    torch.testing.assert_close(total, whole, rtol=1e-5, atol=1e-5)
    if kind == "late":
        assert float(terms.products["c", "a"].abs().max()) == 0.0
    else:
        assert float(terms.products["c", "a"].abs().min()) > 0.0


def test_signals_that_a_network_mixes_are_no_terms() -> None:
    model, batch = model_of("mlp", head_of("rating"))
    with torch.no_grad():
        terms = terms_of(model, batch, model.parts(batch))
    assert not terms.exact
    assert terms.products == {}


@pytest.mark.parametrize(("name", "options"), HEADS)
def test_raw_score_becomes_the_heads_own(name: str, options: dict[str, Any]) -> None:
    model, batch = model_of("sum", head_of(name, **options))
    with torch.no_grad():
        raw = model.raw(batch)
        scores = model(batch).scores
    final = {"rating": lambda x: x.clamp(1.0, 5.0), "click": torch.sigmoid}.get(name, lambda x: x)
    torch.testing.assert_close(final(raw), scores, rtol=1e-5, atol=1e-6)


def test_signal_that_is_left_out_says_nothing_in_its_rows_alone() -> None:
    model, batch = model_of("sum", head_of("rating"))
    gone = torch.arange(20) % 2 == 0
    with torch.no_grad():
        parts = model.parts(batch)
        terms = terms_of(model, batch, parts)
        whole = model.raw(batch, parts)
        without = model.raw(batch, parts.kept({"a": (~gone).float()}))
    own = terms.alone["a"] + sum(value for pair, value in terms.products.items() if "a" in pair)
    torch.testing.assert_close(whole - without, own * gone, rtol=1e-4, atol=1e-5)


def test_raw_score_has_gradients_where_scores_have_none() -> None:
    model, batch = model_of("sum", head_of("rating"))
    assert not model(batch).scores.requires_grad
    model.raw(batch).sum().backward()
    assert float(model.signals["a"].parts["user"].weight.grad.abs().max()) > 0

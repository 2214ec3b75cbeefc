"""Signal learning: a signal trained with a minimal model, and the same model with a constant in the signal's place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from llmrec_peft.data.batches import Batch
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.signals.contract import Signal
from llmrec_peft.testing.signals.bench import (
    CARRIES,
    LOOK,
    RATES,
    SEED,
    STEPS,
    Learnt,
    SignalBench,
    SignalOutputs,
    trained,
)
from llmrec_peft.testing.signals.world import HIDDEN

Says = Callable[[Batch], SignalOutputs]


class Rest(nn.Module):
    """The rest of a minimal model: a mean, a table of the side without a vector, and a reader of the signal's tokens.

    The reader replaces a frozen language model: a random layer over the tokens in their order, and a trained linear
    layer on its output.
    """

    def __init__(self, said: SignalOutputs, bench: SignalBench) -> None:
        """Make the missing parts."""
        super().__init__()
        world, dim = bench.world, bench.dim
        torch.manual_seed(SEED)
        self.mean = nn.Parameter(torch.tensor(float(world.train.label.mean())))
        self.tables = nn.ParameterDict()
        if said.item is not None and said.user is None:
            self.tables["user"] = nn.Parameter(0.1 * torch.randn(world.num_users, dim))
        if said.user is not None and said.item is None:
            self.tables["item"] = nn.Parameter(0.1 * torch.randn(world.num_items, dim))
        if said.tokens is not None:
            self.frozen: Tensor
            places = said.tokens.shape[1]
            self.register_buffer("frozen", torch.randn(places * HIDDEN, 4 * HIDDEN) / (places * HIDDEN) ** 0.5)
            self.reader = nn.Linear(4 * HIDDEN, 1)

    def pairs(self, said: SignalOutputs, batch: Batch) -> Tensor:
        """Return scores of pairs, [B]."""
        score = self.mean.expand(len(batch))
        user, item = self._side("user", said.user, batch.user), self._side("item", said.item, batch.item)
        if user is not None and item is not None:
            score = score + (user * item).sum(-1)
        score = score if said.offset is None else score + said.offset
        if said.tokens is not None:
            states = torch.tanh(3.0 * said.tokens.flatten(1) @ self.frozen)
            score = score + self.reader(states).squeeze(-1)
        return score

    def lists(
        self, users: Tensor | None, items: SignalOutputs, cross: Tensor | None, batch: Batch, every: Tensor
    ) -> Tensor:
        """Return scores of the whole catalogue, [B, C]."""
        user, item = self._side("user", users, batch.user), self._side("item", items.item, every)
        score = 0.0 * self.mean.expand(len(batch), len(every))
        if user is not None and item is not None:
            score = score + user @ item.T
        if items.offset is not None:
            score = score + items.offset[None, :]
        return score if cross is None else score + cross

    def _side(self, side: str, given: Tensor | None, index: Tensor) -> Tensor | None:
        if given is not None:
            return given
        return self.tables[side][index] if side in self.tables else None


class Constant(nn.Module):
    """Replacement of a signal: each of its outputs is the same for all pairs, but trained."""

    def __init__(self, said: SignalOutputs) -> None:
        """Make one row for each output."""
        super().__init__()
        torch.manual_seed(SEED)
        self.rows = nn.ParameterDict(
            {name: nn.Parameter(0.1 * torch.randn(value.shape[1:])) for name, value in said.named().items()}
        )

    def forward(self, batch: Batch) -> SignalOutputs:
        """Return the same for every pair."""
        outputs = {name: row.expand(len(batch), *row.shape) for name, row in self.rows.items()}
        return replace(SignalOutputs(None, None, None, None), **outputs)


def learn(bench: SignalBench) -> Learnt:
    """Train the signal at each rate until it predicts labels of held-out pairs; then train the constant."""
    start = bench.fresh()
    with torch.no_grad():
        said = bench.said(start, bench.batch(bench.world.train))
    silent = Constant(said)
    alone = _fit(bench, said, silent, list(silent.parameters()), None, RATES[0], None)[0]
    best: Learnt | None = None
    for rate in RATES:
        signal = bench.fresh()
        found = Learnt(signal, 0.0, alone, rate)
        parameters = list(trained(signal).values())
        figure, found.moved, found.penalties = _fit(bench, said, None, parameters, signal, rate, alone + CARRIES)
        found.gain = figure - alone
        if best is None or found.gain > best.gain:
            best = found
        if best.gain >= CARRIES:
            break
    assert best is not None  # noqa: S101 - there is at least one rate
    return best


def steps(bench: SignalBench, count: int) -> dict[str, Tensor]:
    """Return the trained tensors after a few steps from the seed."""
    signal = bench.fresh()
    with torch.no_grad():
        said = bench.said(signal, bench.batch(bench.world.train))
    _fit(bench, said, None, list(trained(signal).values()), signal, RATES[0], None, count)
    return {name: parameter.detach().clone() for name, parameter in trained(signal).items()}


def _fit(
    bench: SignalBench,
    said: SignalOutputs,
    silent: Constant | None,
    parameters: list[nn.Parameter],
    signal: Signal[Any] | None,
    rate: float,
    until: float | None,
    count: int = STEPS,
) -> tuple[float, set[str], list[Any]]:
    """Train; return the best value on held-out pairs, names of parameters that changed, and penalties."""
    rest = Rest(said, bench)
    optimizer = torch.optim.Adam([*rest.parameters(), *parameters], lr=rate)
    torch.manual_seed(SEED)
    named = {} if signal is None else trained(signal)
    moved, penalties, best = set[str](), list[Any](), -float("inf")
    for step in range(1, count + 1):
        if signal is not None:
            signal.parts.train()
        loss, penalty = _loss(bench, rest, silent, signal)
        penalties.append(penalty)
        (loss if penalty is None else loss + penalty).backward()  # type: ignore[no-untyped-call]
        moved |= {name for name, p in named.items() if p.grad is not None and bool(p.grad.count_nonzero())}
        optimizer.step()
        optimizer.zero_grad()
        if step % LOOK == 0 or step == count:
            if signal is not None:
                signal.parts.eval()
            best = max(best, _figure(bench, rest, silent, signal))
            if until is not None and best >= until:
                break
    if signal is not None:
        signal.parts.eval()
    return best, moved, penalties


def _loss(
    bench: SignalBench, rest: Rest, silent: Constant | None, signal: Signal[Any] | None
) -> tuple[Tensor, Tensor | None]:
    part = bench.world.train
    batch = bench.batch(part, labelled=True)
    if bench.ranks:
        scores = _listed(bench, rest, silent, signal, batch)
        loss = F.cross_entropy(scores, batch.item - 1)
    else:
        assert batch.label is not None  # noqa: S101 - asked for
        loss = F.mse_loss(rest.pairs(_says(bench, silent, signal, batch), batch), batch.label)
    return loss, None if signal is None else signal.penalty(batch)


def _listed(
    bench: SignalBench, rest: Rest, silent: Constant | None, signal: Signal[Any] | None, batch: Batch
) -> Tensor:
    every = torch.arange(1, bench.world.num_items)
    alone = bench.candidates(every)
    if silent is not None:
        items = silent(alone)
        return rest.lists(silent(batch).user, items, None, batch, every)
    assert signal is not None  # noqa: S101 - one of both
    items = SignalOutputs(None, signal.item(alone), signal.item_offset(alone), None)
    asked = bench.among(batch, every)
    if batch.label is not None:
        asked.target = batch.item - 1
    return rest.lists(signal.user(asked), items, signal.cross(asked, every[None, :]), batch, every)


def _says(bench: SignalBench, silent: Constant | None, signal: Signal[Any] | None, batch: Batch) -> SignalOutputs:
    if silent is not None:
        outputs: SignalOutputs = silent(batch)
        return outputs
    assert signal is not None  # noqa: S101 - one of both
    return bench.said(signal, batch)


@torch.no_grad()
def _figure(bench: SignalBench, rest: Rest, silent: Constant | None, signal: Signal[Any] | None) -> float:
    """Return the explained variance, or the share of the catalogue ranked below the item, on held-out pairs."""
    held_out: Interactions = bench.world.held_out
    batch = bench.batch(held_out)
    if bench.ranks:
        scores = _listed(bench, rest, silent, signal, batch)
        own = scores.gather(1, batch.item[:, None] - 1)
        known = torch.zeros(bench.world.num_users, bench.world.num_items, dtype=torch.bool)
        known[bench.world.train.user, bench.world.train.item] = True
        scores = scores.masked_fill(known[batch.user][:, 1:], -torch.inf)
        ahead = (scores > own).sum(1) + 0.5 * ((scores == own).sum(1) - 1)
        return 1.0 - float(ahead.mean()) / (scores.shape[1] - 1)
    scores = rest.pairs(_says(bench, silent, signal, batch), batch)
    missed = np.mean((scores.numpy() - held_out.label) ** 2)
    return 1.0 - float(missed / held_out.label.var())

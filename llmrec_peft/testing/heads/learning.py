"""Head learning: less loss means better answers, the head learns, and calibration only rescales."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from llmrec_peft.data.batches import Batch
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.evaluation.click_metrics import log_losses
from llmrec_peft.evaluation.measures import better, measure_of
from llmrec_peft.evaluation.outcomes import Outcome as Said
from llmrec_peft.evaluation.outcomes import Ranks
from llmrec_peft.heads.contract import Joined
from llmrec_peft.testing.heads.bench import (
    CANDIDATES,
    DIM,
    EXAMPLES,
    SEED,
    WIDTH,
    HeadBench,
    Inputs,
    labels_of,
    trained,
)
from llmrec_peft.testing.heads.checks import ROUNDING, calibrates
from llmrec_peft.testing.outcome import Outcome

FAR = 0.9
"""Cosine of users and items in right pairs; its negative in wrong ones."""
USERS, ITEMS, KINDS = 20, 30, 5
STEPS, RATES = 60, (5e-2, 1e-2, 0.2)
FALLEN = 0.8
"""The loss counts as fallen at this share of its initial value or below."""
WORSE = 0.01
"""Log-loss that calibration may cost on the examples that it was fitted on."""


def separation_lowers_loss(bench: HeadBench) -> Outcome:
    """Check that loss rises from pairs that agree with their labels over uninformative ones to disagreeing ones.

    Scores must also rise with the product and with the offset.
    """
    head = bench.fresh()
    losses = []
    for apart in (FAR, 0.0, -FAR):
        loss = _separated(bench, apart).to(head).loss
        if loss is None:
            return Outcome(False, note="there is no loss")
        losses.append(loss.item())
    if not (losses[0] <= losses[1] <= losses[2] and losses[0] < losses[2]):
        told = ", ".join(f"{value:.4g}" for value in losses)
        return Outcome(False, note=f"losses of agreeing, unknowing and disagreeing pairs: {told}")
    given = _paired(torch.linspace(-FAR, FAR, EXAMPLES), bench)
    scores = given.to(head).scores
    raised = Inputs(given.batch, given.user, Joined(given.item.vector, given.item.offset + 0.5)).to(head).scores
    rise, lift = scores.diff(), raised - scores
    good = bool((rise >= -ROUNDING).all() and rise.sum() > 0 and (lift >= -ROUNDING).all() and lift.sum() > 0)
    return Outcome(good, losses[0] / losses[2], 1.0, "" if good else "scores do not rise with product and offset")


def _separated(bench: HeadBench, apart: float) -> Inputs:
    """Return pairs or lists whose cosine is `apart` times what the label says."""
    if bench.trained_mode == "pairs":
        low, high = bench.span
        label = torch.from_numpy(labels_of(bench.task, EXAMPLES))
        side = 2.0 * (label - low) / (high - low) - 1.0
        given = _paired(apart * side, bench)
        given.batch.label = label
        return given
    given = bench.inputs("candidates")
    assert given.batch.target is not None  # noqa: S101 - just made
    item = torch.eye(CANDIDATES, DIM)
    user = apart * item[given.batch.target]
    user[:, -1] = (1.0 - apart**2) ** 0.5
    zeros = torch.zeros(CANDIDATES)
    given.batch.log_q = zeros
    return Inputs(given.batch, Joined(user, given.user.offset), Joined(item, zeros))


def _paired(cosine: Tensor, bench: HeadBench) -> Inputs:
    """Return pairs of unit vectors with given cosines, and prompts without information."""
    count = len(cosine)
    user, item = torch.zeros(count, DIM), torch.zeros(count, DIM)
    user[:, 0], item[:, 0], item[:, 1] = 1.0, cosine, (1.0 - cosine**2).sqrt()
    index = 1 + torch.arange(count)
    batch = Batch(index, index, vectors={"prompt": torch.zeros(count, WIDTH)} if bench.reads_prompt else {})
    return Inputs(batch, Joined(user, torch.zeros(count)), Joined(item, torch.zeros(count)))


def learns(bench: HeadBench) -> Outcome:
    """Check that, with tables of users and items, it brings its loss to 0.8 in 60 steps and improves its metric."""
    best = Outcome(False, note="there is no loss")
    for rate in RATES:
        losses, before, after = _trained(bench, rate, STEPS)[:3]
        share = losses[-1] / losses[0] if losses[0] > 0 else 1.0
        metric = bench.head_class.metric
        good = share <= FALLEN and better(metric, after, before)
        best = Outcome(good, share, FALLEN, f"{metric} {before:.3f} → {after:.3f}, rate {rate:g}")
        if good:
            break
    return best


def is_deterministic(bench: HeadBench) -> Outcome:
    """Check that two trainings from one seed end bit for bit alike."""
    one, other = (_trained(bench, RATES[0], 5)[3] for _ in range(2))
    differ = [name for name in one if not one[name].equal(other[name])]
    return Outcome(not differ, len(differ), 0, f"{differ[0]} differs" if differ else "")


def _trained(bench: HeadBench, rate: float, steps: int) -> tuple[list[float], float, float, dict[str, Tensor]]:
    """Train a small matrix factorization under a head; return losses, metric before and after, and trained tensors."""
    world = _World(bench)
    head = bench.fresh()
    torch.manual_seed(SEED)
    tables = nn.ParameterList(nn.Parameter(0.1 * torch.randn(rows, DIM)) for rows in (USERS, ITEMS))
    tables.append(nn.Parameter(torch.zeros(ITEMS)))
    before = world.figure(head.forward, tables)
    optimizer = torch.optim.Adam([*tables, *trained(head).values()], lr=rate)
    losses = []
    head.parts.train()
    for _ in range(steps):
        loss = world.asked(tables, labelled=True).to(head).loss
        if loss is None:
            return [1.0, 1.0], before, before, {}
        losses.append(loss.item())
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
    head.parts.eval()
    tensors = {name: parameter.detach().clone() for name, parameter in trained(head).items()}
    tensors |= {f"table {at}": table.detach().clone() for at, table in enumerate(tables)}
    return losses, before, world.figure(head.forward, tables), tensors


class _World:
    """Twenty users who each like one of five kinds of items; tables of users and items have to learn the kinds."""

    def __init__(self, bench: HeadBench) -> None:
        self._bench = bench
        liked = (np.arange(USERS)[:, None] % KINDS) == (np.arange(ITEMS)[None, :] % KINDS)
        listwise = bench.trained_mode == "candidates"
        user, item = np.nonzero(liked) if listwise else np.nonzero(np.ones_like(liked))
        low, high = bench.span
        label = np.where(liked[user, item], high, low).astype(np.float32)
        times = np.zeros(len(user), np.int64)
        self.part = Interactions(user.astype(np.int64) + 1, item.astype(np.int64) + 1, label, times)

    def asked(self, tables: nn.ParameterList, labelled: bool) -> Inputs:
        """Return all pairs, or all users' lists of the whole catalogue."""
        user, item = torch.from_numpy(self.part.user), torch.from_numpy(self.part.item)
        users, items, offsets = tables
        listwise = self._bench.trained_mode == "candidates"
        batch = Batch(
            user,
            item,
            label=torch.from_numpy(self.part.label) if labelled else None,
            vectors={"prompt": torch.zeros(len(user), WIDTH)} if self._bench.reads_prompt else {},
            candidates=torch.arange(1, ITEMS + 1) if listwise else None,
            target=item - 1 if listwise and labelled else None,
        )
        side = Joined(items, offsets) if listwise else Joined(items[item - 1], offsets[item - 1])
        return Inputs(batch, Joined(users[user - 1], torch.zeros(len(user))), side)

    def figure(self, forward: Callable[[Batch, Joined, Joined], object], tables: nn.ParameterList) -> float:
        """Return the head's own metric."""
        bench, part = self._bench, self.part
        with torch.no_grad():
            given = self.asked(tables, labelled=False)
            scores: Tensor = forward(given.batch, given.user, given.item).scores  # type: ignore[attr-defined]
        said: Said = scores.numpy().astype(np.float64)
        if bench.task == "ranking":
            found = scores if scores.ndim == 2 else scores[:, None].expand(-1, ITEMS)  # noqa: PLR2004 - [B, C]
            own = found.gather(1, torch.from_numpy(part.item - 1)[:, None])
            ahead = (found > own).sum(1) + 0.5 * ((found == own).sum(1) - 1)
            said = Ranks((1.0 + ahead).double().numpy(), (found.topk(10, dim=1).indices + 1).numpy())
        head = bench.head_class(bench.config)
        measure = measure_of(bench.task, lambda label: head.observed(label, bench.span), part.counts_by_item(ITEMS + 1))
        return measure.report(said, part)[bench.head_class.metric]


def calibration_keeps_order(bench: HeadBench) -> Outcome | None:
    """Check that a calibrator fitted on overconfident scores keeps the order, makes no ties, and costs no log-loss."""
    if not calibrates(bench.head_class):
        return None
    head = bench.moved()
    given = bench.inputs("pairs", labelled=False, count=400)
    before = given.to(head).scores
    rng = np.random.default_rng(SEED)
    raw = head.raw(given.batch, given.user, given.item).detach().double().numpy()
    spread = (raw - raw.mean()) / max(1e-9, raw.std())
    observed = (rng.random(len(raw)) < 1.0 / (1.0 + np.exp(-0.5 * spread))).astype(np.float64)
    if bench.task != "click":
        low, high = bench.span
        observed = low + (high - low) * observed
    head.calibrate(before.numpy(), observed)
    after = given.to(head).scores
    order = before.argsort()
    fall = float((-after[order].diff()).max())
    distinct = len(np.unique(after.numpy())) / len(np.unique(before.numpy()))
    if not bool(after.isfinite().all()) or fall > 0.0 or distinct < 0.9:  # noqa: PLR2004 - float32 rounds a few together
        problem = "scores change places" if fall > 0.0 else "scores that differed are equal"
        return Outcome(False, max(0.0, fall), 0.0, problem)
    if bench.task != "click":
        return Outcome(True)
    cost = float(np.mean(log_losses(after.numpy(), observed)) - np.mean(log_losses(before.numpy(), observed)))
    return Outcome(cost <= WORSE, cost, WORSE, "log-loss after less before")


LEARNING: dict[str, Callable[[HeadBench], Outcome | None]] = {
    check.__name__: check for check in (separation_lowers_loss, learns, is_deterministic, calibration_keeps_order)
}

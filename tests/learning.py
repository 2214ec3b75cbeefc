"""Learning: made-up tasks in which one piece alone carries the labels, and a plain loop that trains for a second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from llmrec_peft import registry
from llmrec_peft.data.batches import Batch
from llmrec_peft.data.graph import Neighbours
from llmrec_peft.data.histories import Histories
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.heads.click import ClickHead, ClickOptions
from llmrec_peft.heads.contract import HeadContext, TaskHead
from llmrec_peft.heads.rating import RatingHead, RatingOptions
from llmrec_peft.model import RecModel, TextPlan
from llmrec_peft.model.augment import Augment
from llmrec_peft.model.fusion import Fusion
from llmrec_peft.model.text_source import EncodedSource
from llmrec_peft.signals.contract import Signal, SignalContext

DIM = 8
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Task:
    """Made-up data; labels run from 1 to 5 around 3.

    Attributes:
        train: What is trained on.
        test: What is predicted.
        num_users: Rows of a user table.
        num_items: Rows of an item table.
        text: Vectors of items' texts [num_items, width].
        user_text: Vectors of users' texts [num_users, width].
        neighbours: Knowledge graph.
        users: Columns of users.
        items: Columns of items.
        history_length: Entries of a history; None where nothing reads one.
    """

    train: Interactions
    test: Interactions
    num_users: int
    num_items: int
    text: torch.Tensor | None = None
    user_text: torch.Tensor | None = None
    neighbours: Neighbours | None = None
    users: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    items: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    history_length: int | None = None


def interactions(user: Any, item: Any, label: Any, history: Histories | None = None) -> Interactions:
    """Interactions from plain arrays."""
    user, item = (np.asarray(index, np.int64) for index in (user, item))
    return Interactions(user, item, np.asarray(label, np.float32), np.arange(len(user)), history)


def crossed(users: Any, items: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Every user with every item."""
    user, item = np.meshgrid(np.asarray(users), np.asarray(items), indexing="ij")
    return user.ravel().astype(np.int64), item.ravel().astype(np.int64)


def signs(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """One number of -1 and 1 for each index, as many of each; index 0 has 0."""
    drawn = np.where(np.arange(count - 1) % 2 == 0, 1.0, -1.0)
    rng.shuffle(drawn)
    return np.append(0.0, drawn)


def signals_of(task: Task, chosen: Mapping[str, Mapping[str, Any]], kind: str = "rating") -> dict[str, Signal[Any]]:
    """Signals with their options, built for a task from one seed."""
    torch.manual_seed(0)
    context = SignalContext(
        task.num_users,
        task.num_items,
        DIM,
        task.train,
        task.text,
        task.neighbours,
        task=kind,
        users=task.users,
        items=task.items,
        history_length=task.history_length or 50,
        user_text=task.user_text,
    )
    built: dict[str, Signal[Any]] = {}
    for name, options in chosen.items():
        plugin = registry.get("signals", name)
        signal = plugin(plugin.Config(**options))
        signal.parts = signal.build(context)
        built[name] = signal
    return built


def model_of(
    task: Task,
    chosen: Mapping[str, Mapping[str, Any]],
    fusion: str = "sum",
    signal_dropout: float = 0.0,
    augment: Augment | None = None,
    clicks: bool = False,
) -> RecModel:
    """A model of a task that predicts ratings, or probabilities of clicks; texts come from a table."""
    signals = signals_of(task, chosen, "click" if clicks else "rating")
    head: TaskHead[Any] = (
        ClickHead(ClickOptions(calibration="none")) if clicks else RatingHead(RatingOptions(dropout=0.0))
    )
    scale = (0.0, 1.0) if clicks else (1.0, 5.0)
    head.parts = head.build(HeadContext(DIM, float(task.train.label.mean()), scale, labels=task.train.label))
    tables = [table for table in (task.text, task.user_text) if table is not None]
    reads = any(signal.uses_text() for signal in signals.values())
    plan = TextPlan(
        item=reads and task.text is not None,
        history=reads and task.history_length is not None,
        user=task.num_items if reads and task.user_text is not None else None,
        history_length=task.history_length,
    )
    joined = Fusion(fusion, list(signals), DIM, hidden=32, signal_dropout=signal_dropout)  # type: ignore[arg-type]
    table = torch.cat(tables) if tables and reads else None
    source = EncodedSource(plan, None, table)
    return RecModel(signals, {"click" if clicks else "rating": head}, source, joined, None, augment)


def fit(model: RecModel, task: Task, epochs: int = 60, rate: float = 0.02, batch_size: int = 128) -> RecModel:
    """Train in place by AdamW, batches drawn from one seed."""
    torch.manual_seed(1)
    rng = np.random.default_rng(1)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=0.01)
    steps = epochs * -(-len(task.train) // batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 - step / steps)
    model.train()
    for _ in range(epochs):
        order = rng.permutation(len(task.train))
        for at in range(0, len(order), batch_size):
            batch = Batch.of(task.train, order[at : at + batch_size], CPU, task.history_length)
            loss = model(batch).loss
            assert loss is not None
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def error(model: RecModel, part: Interactions) -> float:
    """Root mean squared error."""
    return float(np.sqrt(np.mean((model.scores(part) - part.label) ** 2)))


def fitted_error(task: Task, chosen: Mapping[str, Mapping[str, Any]], fusion: str = "sum", **options: Any) -> float:
    """Test error after training."""
    return error(fit(model_of(task, chosen, fusion), task, **options), task.test)


def histories(rows: Sequence[Sequence[int]], labels: Sequence[Sequence[float]] | None = None) -> Histories:
    """Histories from plain lists."""
    lengths = np.array([len(row) for row in rows], np.int64)
    end = np.cumsum(lengths)
    flat = np.array([item for row in rows for item in row], np.int64)
    told = np.full(len(flat), 3.0) if labels is None else np.array([value for row in labels for value in row])
    return Histories(flat, told.astype(np.float32), end - lengths, end)


def divided(whole: Interactions, test: NDArray[np.bool_]) -> tuple[Interactions, Interactions]:
    """Training and test part."""
    train, held = (whole.take(np.flatnonzero(rows)) for rows in (~test, test))
    return replace(train, row=None), replace(held, row=None)

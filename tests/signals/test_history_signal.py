"""History: each way of pooling learns what only it can say, and what is not in a history never counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from learning import (
    DIM,
    Task,
    crossed,
    divided,
    error,
    fit,
    fitted_error,
    histories,
    interactions,
    model_of,
    signals_of,
    signs,
)

from llmrec_peft.data.batches import Batch
from llmrec_peft.errors import InputError
from llmrec_peft.signals.contract import SignalContext
from llmrec_peft.signals.history import History

ITEMS = 41
LENGTH = 6
POOLINGS = ("mean", "recency", "attention", "gru")
ENTRIES = ("text", "ids", "both")
HISTORY: dict[str, Any] = {"labels": False, "init_std": 0.3}


def _drawn(rows: int, seed: int = 0, low: int = 2, items: int = ITEMS) -> list[list[int]]:
    """Histories of two to six items."""
    rng = np.random.default_rng(seed)
    return [rng.integers(1, items, rng.integers(low, LENGTH + 1)).tolist() for _ in range(rows)]


def _texts(kind: np.ndarray, salient: np.ndarray | None = None, seed: int = 1) -> torch.Tensor:
    """Texts that tell an item's kind along one direction, whether it is salient along another, noise along others."""
    vectors = 0.2 * np.random.default_rng(seed).normal(size=(len(kind), DIM))
    vectors[:, 0] += kind
    if salient is not None:
        vectors[:, 1] += salient
    vectors[0] = 0.0
    return torch.from_numpy(vectors).float()


def _task(
    said: Callable[[list[int]], float], kind: np.ndarray, text: torch.Tensor, rows: list[list[int]], **further: Any
) -> Task:
    """One new user per example likes items whose kind stands in his history."""
    item = np.random.default_rng(3).integers(1, len(kind), len(rows))
    label = [3.0 + 1.8 * said(row) * kind[i] for row, i in zip(rows, item, strict=True)]
    told = histories(rows, further.pop("told", None))
    whole = interactions(np.arange(1, len(rows) + 1), item, label, told)
    train, test = divided(whole, np.arange(len(rows)) % 4 == 0)
    return Task(train, test, len(rows) + 1, len(kind), text=text, history_length=LENGTH)


def by_mean() -> Task:
    kind = signs(np.random.default_rng(0), ITEMS)
    return _task(lambda row: float(kind[row].mean()), kind, _texts(kind), _drawn(800, low=1))


def by_newest() -> Task:
    kind = signs(np.random.default_rng(0), ITEMS)
    return _task(lambda row: float(kind[row[-1]]), kind, _texts(kind), _drawn(800))


def by_salient() -> Task:
    """One entry of each history is of a striking sort, at any place: its kind alone counts."""
    rng = np.random.default_rng(0)
    kind = signs(rng, ITEMS)
    salient = np.where(np.arange(ITEMS) > 30, 1.0, -1.0)
    rows = _drawn(800, items=31)
    for row in rows:
        row[rng.integers(0, len(row))] = int(rng.integers(31, ITEMS))
    text = _texts(kind, 2.0 * salient)

    def said(row: list[int]) -> float:
        return float(kind[next(item for item in row if item > 30)])

    return _task(said, kind, text, rows)


def by_order() -> Task:
    """Whether the last two are of one kind: no weights of places can say that."""
    kind = signs(np.random.default_rng(0), ITEMS)
    return _task(lambda row: float(kind[row[-1]] * kind[row[-2]]), kind, _texts(kind), _drawn(1500))


def by_label() -> Task:
    """What was liked draws near, what was disliked pushes away."""
    kind = signs(np.random.default_rng(0), ITEMS)
    rows = _drawn(800, low=3)
    rng = np.random.default_rng(9)
    told = [(3.0 + 2.0 * rng.choice([-1, 1], len(row))).tolist() for row in rows]
    labels = iter(told)
    return _task(
        lambda row: float(np.mean(kind[row] * (np.array(next(labels)) - 3.0) / 2.0)),
        kind,
        _texts(kind),
        rows,
        told=told,
    )


def by_repeats() -> Task:
    """Items of the own history are liked, whatever they are."""
    rows = _drawn(800, low=4)
    rng = np.random.default_rng(4)
    item = np.array([rng.choice(row) if rng.random() < 0.5 else rng.integers(1, ITEMS) for row in rows])
    label = [4.5 if i in row else 1.5 for i, row in zip(item.tolist(), rows, strict=True)]
    whole = interactions(np.arange(1, 801), item, label, histories(rows))
    train, test = divided(whole, np.arange(800) % 4 == 0)
    return Task(train, test, 801, ITEMS, text=_texts(np.zeros(ITEMS)), history_length=LENGTH)


def by_closest() -> Task:
    """One entry of the item's own kind is enough, whatever the other entries."""
    rng = np.random.default_rng(0)
    sort = rng.integers(0, DIM, ITEMS)
    rows = _drawn(1500, low=2)
    item = rng.integers(1, ITEMS, len(rows))
    label = [4.5 if (sort[row] == sort[i]).any() else 1.5 for row, i in zip(rows, item.tolist(), strict=True)]
    whole = interactions(np.arange(1, 1501), item, label, histories(rows))
    train, test = divided(whole, np.arange(1500) % 4 == 0)
    return Task(train, test, 1501, ITEMS, text=torch.eye(DIM)[torch.from_numpy(sort)], history_length=LENGTH)


def by_ids() -> Task:
    """Texts carry no information; interactions do."""
    kind = signs(np.random.default_rng(0), ITEMS)
    return _task(lambda row: float(kind[row].mean()), kind, _texts(np.zeros(ITEMS)), _drawn(1200, low=1))


def by_text_of_new_items() -> Task:
    """Predicted items occur in no training history and have no interactions."""
    kind = signs(np.random.default_rng(0), ITEMS)
    task = by_mean()
    known = task.train.item <= 30
    inside = np.array([max(task.train.history.of(row)[0]) <= 30 for row in range(len(task.train))])
    train = replace(task.train.take(np.flatnonzero(known & inside)), row=None)
    new = task.test.take(np.flatnonzero(task.test.item > 30))
    return replace(task, train=train, test=replace(new, row=None), text=_texts(kind))


def by_both() -> Task:
    """Texts reveal the kind of even items, some of which are new; only interactions reveal that of odd ones."""
    kind = signs(np.random.default_rng(0), 81)
    silent = np.arange(81) % 2 == 1
    text = _texts(np.where(silent, 0.0, kind))
    rows = _drawn(3000, low=1, items=81)
    task = _task(lambda row: float(kind[row].mean()), kind, text, rows)
    new = (np.arange(81) > 50) & ~silent
    known = [not new[i] and not new[task.train.history.of(row)[0]].any() for row, i in enumerate(task.train.item)]
    return replace(task, train=replace(task.train.take(np.flatnonzero(known)), row=None))


def by_weak_direction() -> Task:
    """What counts is a faint direction of the texts; their cosine tells nothing."""
    kind = signs(np.random.default_rng(0), ITEMS)
    vectors = np.random.default_rng(1).normal(size=(ITEMS, DIM))
    vectors[:, 0] = 0.3 * kind
    vectors[0] = 0.0
    return _task(lambda row: float(kind[row].mean()), kind, torch.from_numpy(vectors).float(), _drawn(1500, low=1))


@dataclass(frozen=True)
class Case:
    """A task, options that can tell its labels, and options that cannot; None for no history at all."""

    task: Callable[[], Task]
    whole: dict[str, Any]
    without: dict[str, Any] | None
    epochs: int = 60


CASES = {
    "mean": Case(by_mean, {"pooling": "mean"}, None),
    "recency": Case(by_newest, {"pooling": "recency"}, {"pooling": "mean"}),
    "attention": Case(by_salient, {"pooling": "attention"}, {"pooling": "recency"}),
    "gru": Case(by_order, {"pooling": "gru"}, {"pooling": "attention"}),
    "labels": Case(by_label, {"pooling": "mean", "labels": True}, {"pooling": "mean"}),
    "repeats": Case(by_repeats, {"repeats": "place"}, {"repeats": "none"}),
    "closest": Case(by_closest, {"closest": True}, {"closest": False}),
    "text": Case(by_text_of_new_items, {"pooling": "mean"}, {"pooling": "mean", "entries": "ids"}),
    "ids": Case(by_ids, {"pooling": "mean", "entries": "ids"}, {"pooling": "mean", "entries": "text"}),
    "both, not text": Case(by_both, {"pooling": "mean", "entries": "both"}, {"pooling": "mean", "entries": "text"}),
    "both, not ids": Case(by_both, {"pooling": "mean", "entries": "both"}, {"pooling": "mean", "entries": "ids"}),
}


@pytest.mark.trains
@pytest.mark.parametrize("name", CASES)
def test_without_the_piece_its_labels_cannot_be_told(name: str) -> None:
    case = CASES[name]
    task = case.task()
    whole = fitted_error(task, {"history": {**HISTORY, **case.whole}}, epochs=case.epochs)
    if case.without is None:
        without = fitted_error(task, {"text": {}}, epochs=case.epochs)
    else:
        without = fitted_error(task, {"history": {**HISTORY, **case.without}}, epochs=case.epochs)
    assert whole < 0.6 * without, f"{whole:.3f} with the piece, {without:.3f} without it"


@pytest.mark.trains
def test_low_rank_change_finds_what_the_cosine_does_not_say() -> None:
    task = by_weak_direction()
    found = {}
    for trains in (True, False):
        options = {"pooling": "mean", "projection": "low-rank", "rank": 4, "labels": False}
        model = model_of(task, {"history": options})
        for name in ("down", "up"):
            model.signals["history"].parts[name].requires_grad_(trains)
        found[trains] = error(fit(model, task), task.test)
    assert found[True] < 0.6 * found[False]


def test_low_rank_starts_from_the_cosine_and_needs_a_fusion_as_wide_as_the_texts() -> None:
    task = by_mean()
    (signal,) = signals_of(task, {"history": {"pooling": "mean", "projection": "low-rank", "labels": False}}).values()
    batch = _batch(signal, [[3], [4, 5]], torch.randn(ITEMS, DIM))
    torch.testing.assert_close(signal.item(batch), batch.vectors["item"])
    torch.testing.assert_close(signal.user(batch)[0], batch.vectors["history"][0, -1])
    wide = replace(task, text=torch.zeros(ITEMS, DIM + 1))
    with pytest.raises(InputError, match=f"fusion.dim={DIM + 1}"):
        signals_of(wide, {"history": {"projection": "low-rank"}})


def _signal(pooling: str, entries: str, length: int = LENGTH, **options: Any) -> Any:
    """A signal all of whose weights are drawn."""
    task = by_mean()
    config = {"pooling": pooling, "entries": entries, "length": length, **options}
    (signal,) = signals_of(task, {"history": config}).values()
    torch.manual_seed(2)
    for parameter in signal.parts.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.7)
    signal.parts.eval()
    return signal


def _batch(
    signal: Any, rows: list[list[int]], text: torch.Tensor, width: int | None = None, labels: Any = None
) -> Batch:
    """Histories as a batch has them, padded on the left to `width`; texts of item 0 are not zero."""
    del signal
    told = histories(rows, labels)
    item, label = told.padded(width)
    index = torch.from_numpy(item)
    asked = torch.arange(1, len(rows) + 1)
    return Batch(
        user=asked,
        item=asked,
        history=index,
        history_label=torch.from_numpy(label),
        vectors={"item": text[asked], "history": text[index]},
    )


@pytest.fixture
def text() -> torch.Tensor:
    """Vectors of all items, that of the unknown one among them: an empty text has a vector, too."""
    torch.manual_seed(7)
    return torch.randn(ITEMS, DIM)


ROWS = [[5], [3, 9, 12, 7], [1, 2], [8, 8, 8, 4, 30, 21]]


@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("entries", ENTRIES)
@pytest.mark.parametrize("pooling", POOLINGS)
def test_padding_and_neighbours_in_the_batch_never_change_a_vector(
    pooling: str, entries: str, labels: bool, text: torch.Tensor
) -> None:
    signal = _signal(pooling, entries, labels=labels, repeats="place")
    told = [[float(1 + (item % 5)) for item in row] for row in ROWS]
    together = _batch(signal, ROWS, text, LENGTH + 3, told)
    vectors, candidates = signal.user(together), torch.tensor([[8, 3, 1, 40, 0]])
    crossed_all = signal.cross(together, candidates)
    for at, row in enumerate(ROWS):
        alone = _batch(signal, [row], text, None, [told[at]])
        torch.testing.assert_close(signal.user(alone)[0], vectors[at], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(signal.cross(alone, candidates)[0], crossed_all[at], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("width", [0, 4])
@pytest.mark.parametrize("entries", ENTRIES)
@pytest.mark.parametrize("pooling", POOLINGS)
def test_empty_history_is_the_zero_vector_and_trains(
    pooling: str, entries: str, width: int, text: torch.Tensor
) -> None:
    signal = _signal(pooling, entries, repeats="place")
    batch = _batch(signal, [[], []], text, width)
    vectors = signal.user(batch)
    assert vectors.shape == (2, DIM)
    assert vectors.abs().max() == 0
    assert signal.cross(batch, torch.tensor([[0, 1]])).abs().max() == 0
    mixed = _batch(signal, [[], [3, 4]], text, max(width, 2))
    loss = (signal.user(mixed) * signal.item(mixed)).sum()
    loss.backward()
    assert all(p.grad is None or bool(torch.isfinite(p.grad).all()) for p in signal.parts.parameters())
    assert signal.user(mixed)[0].abs().max() == 0
    assert signal.user(mixed)[1].abs().max() > 0


@pytest.mark.parametrize("pooling", POOLINGS)
def test_only_the_newest_entries_are_looked_at(pooling: str, text: torch.Tensor) -> None:
    signal = _signal(pooling, "both", length=3, repeats="place")
    long, short = _batch(signal, [[1, 2, 3, 4, 5, 6]], text), _batch(signal, [[4, 5, 6]], text)
    torch.testing.assert_close(signal.user(long), signal.user(short))
    candidates = torch.arange(8)[None]
    torch.testing.assert_close(signal.cross(long, candidates), signal.cross(short, candidates))
    assert signal.cross(long, candidates)[0, 3] == 0
    changed = _batch(signal, [[1, 2, 3, 9, 5, 6]], text)
    assert (signal.user(long) - signal.user(changed)).abs().max() > 1e-3


@pytest.mark.parametrize("pooling", ["mean", "gru"])
def test_entries_that_are_not_there_are_skipped_wherever_they_stand(pooling: str, text: torch.Tensor) -> None:
    """As the owner names unknown items, or a masked entry, in the middle of a history."""
    signal = _signal(pooling, "text")
    gaps = _batch(signal, [[0, 3, 0, 0, 9, 7], [3, 9, 0, 7, 0, 0]], text)
    whole = _batch(signal, [[3, 9, 7]], text)
    for row in signal.user(gaps):
        torch.testing.assert_close(row, signal.user(whole)[0], rtol=1e-5, atol=1e-6)
    assert (signal.user(_batch(signal, [[9, 3, 7]], text)) - signal.user(whole)).abs().max() > 1e-3 or pooling == "mean"


def test_shared_candidates_get_what_each_row_by_itself_gets(text: torch.Tensor) -> None:
    signal = _signal("recency", "text", repeats="place")
    batch = _batch(signal, [*ROWS, []], text, LENGTH)
    candidates = torch.tensor([0, 8, 3, 40, 2, 8])
    shared = signal.cross(batch, candidates[None])
    torch.testing.assert_close(shared, signal.cross(batch, candidates.expand(5, -1)))
    bonus = signal.parts["scale"]["repeat"].detach()
    expected = torch.zeros(5, 6)
    for at, row in enumerate([*ROWS, []]):
        for place, item in enumerate(reversed(row)):
            expected[at] += bonus[place] * (candidates == item)
    torch.testing.assert_close(shared.detach(), expected)


@pytest.mark.parametrize("entries", ENTRIES)
@pytest.mark.parametrize("pooling", POOLINGS)
def test_saved_tensors_alone_rebuild_the_signal(pooling: str, entries: str, text: torch.Tensor) -> None:
    signal = _signal(pooling, entries, repeats="place")
    saved = signal.parts.state_dict()
    loaded = History(signal.config)
    loaded.parts = loaded.build(SignalContext(801, ITEMS, DIM, None, None, None, saved, history_length=LENGTH))
    loaded.parts.load_state_dict(saved)
    loaded.parts.eval()
    batch = _batch(signal, ROWS, text)
    assert torch.equal(loaded.user(batch), signal.user(batch))
    assert torch.equal(loaded.item(batch), signal.item(batch))
    assert torch.equal(loaded.cross(batch, torch.tensor([[3, 8]])), signal.cross(batch, torch.tensor([[3, 8]])))


def test_scores_of_users_without_histories_are_finite_and_theirs_alone() -> None:
    task = by_newest()
    model = model_of(task, {"history": {**HISTORY, "pooling": "attention"}, "text": {}})
    none = replace(task.test, history=histories([[] for _ in range(len(task.test))]))
    scores = model.scores(none)
    assert np.isfinite(scores).all()
    user, item = crossed([1, 2], [3])
    assert len(set(model.scores(interactions(user, item, [3, 3], histories([[], []]))).tolist())) == 1

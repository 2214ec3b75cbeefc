"""Taste: a Gaussian process over a user's own outcomes, compared with scikit-learn's and with its own contract."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct
from sklearn.linear_model import Ridge

from llmrec_peft.data.batches import Batch
from llmrec_peft.data.histories import Histories, earlier
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.errors import InputError
from llmrec_peft.signals.contract import SignalContext
from llmrec_peft.signals.parts.item_effects import Penalties, components, fit_effects, people
from llmrec_peft.signals.taste import LOGIT_VARIANCE, Taste, TasteOptions

USERS, ITEMS, WIDTH = 30, 40, 8


def world(seed: int = 0, labels: tuple[float, float] = (0.0, 1.0)) -> tuple[Interactions, torch.Tensor]:
    """Clicks whose users like one direction of the texts or its opposite, with histories in time."""
    rng = np.random.default_rng(seed)
    texts = torch.from_numpy(rng.normal(size=(ITEMS, WIDTH)) * np.array([4.0, *[1.0] * (WIDTH - 1)])).float()
    taste = rng.choice([-1.0, 1.0], USERS)
    user = np.repeat(np.arange(1, USERS), 20).astype(np.int64)
    item = np.concatenate([rng.permutation(np.arange(1, ITEMS))[:20] for _ in range(1, USERS)]).astype(np.int64)
    score = 0.6 * taste[user] * texts.numpy()[item, 0] + 0.8 * texts.numpy()[item, 1]
    like = rng.random(len(user)) < 1.0 / (1.0 + np.exp(-2.0 * score))
    label = np.where(like, labels[1], labels[0]).astype(np.float32)
    time = np.tile(np.arange(20, dtype=np.int64) * 86_400, USERS - 1)
    rows = np.arange(len(user))
    history = earlier(user, item, label, time, rows, rows)
    return Interactions(user, item, label, time, history), texts


def signal(train: Interactions, texts: torch.Tensor, task: str = "click", **options: object) -> Taste:
    made = Taste(TasteOptions(**{"components": 0, "folds": 4, **options}))  # type: ignore[arg-type]
    made.parts = made.build(SignalContext(USERS, ITEMS, 4, train, texts, None, task=task))
    made.parts.eval()
    return made


def batch_of(part: Interactions, texts: torch.Tensor, rows: np.ndarray, label: bool = False) -> Batch:
    batch = Batch.of(part, rows, torch.device("cpu"), 100)
    batch = batch.with_vectors(item=texts[batch.item], history=texts[batch.history])
    return batch if label else replace(batch, label=None)


def test_posterior_of_stars_is_that_of_scikit_learn() -> None:
    part, texts = world(labels=(2.0, 5.0))
    made = signal(part, texts, task="rating", text=False)
    kernel = made.parts["kernel"]
    with torch.no_grad():
        kernel.log_weight["slopes"].copy_(torch.tensor([0.4, 1e-8]).log())
        made.parts["process"]["log_noise"].fill_(np.log(0.7))
    row = np.flatnonzero(part.history.lengths == 12)[:1]  # type: ignore[union-attr]
    batch = batch_of(part, texts, row)
    known = made.parts["known"]
    told = part.history.take(row).of(0)  # type: ignore[union-attr]
    effect = known["effect"].detach().numpy() * 5.0
    points, asked = effect[told[0]][:, None], effect[part.item[row]][:, None]
    with torch.no_grad():
        entries = made._points(batch.history, None, None, known=True)
        residual, _ = made._residuals(entries, batch.history_label)
        prior, mean, variance = made._posterior(batch)
    inner = ConstantKernel(0.3, "fixed") + ConstantKernel(0.4, "fixed") * DotProduct(1e-9, "fixed")
    reference = GaussianProcessRegressor(inner, alpha=0.7, optimizer=None).fit(points, residual[0].numpy())
    expected, deviation = reference.predict(asked, return_std=True)
    assert float(mean) == pytest.approx(float(expected[0]), abs=1e-4)
    assert float(variance) == pytest.approx(float(deviation[0]) ** 2, abs=1e-4)
    assert float(made.offset(batch)) == pytest.approx(float(prior + mean), abs=1e-5)


def test_item_effects_are_those_of_scikit_learns_ridge() -> None:
    part, texts = world()
    label = part.label.astype(np.float64)
    text = components(texts.numpy(), 3)
    penalties = Penalties(user=5.0, item=2.5, text=8.0, static=1.0)
    found = fit_effects(part.user, part.item, label, text, np.zeros((ITEMS, 0)), penalties)
    count = np.bincount(part.item, minlength=ITEMS)
    told = np.hstack([np.log1p(count)[:, None] / 3.0, text])
    design = np.hstack([np.eye(USERS)[part.user], np.eye(ITEMS)[part.item], told[part.item]])
    ridge = np.concatenate([np.full(USERS, 5.0), np.full(ITEMS, 2.5), [1.0], np.full(3, 8.0)])
    fit = Ridge(alpha=1.0, fit_intercept=False).fit(design / np.sqrt(ridge), label - label.mean())
    weights = fit.coef_ / np.sqrt(ridge)
    expected = weights[USERS : USERS + ITEMS] + told @ weights[USERS + ITEMS :]
    np.testing.assert_allclose(found.item, expected, atol=1e-4)
    np.testing.assert_array_equal(found.count, count)


def test_contributions_of_entries_and_prior_sum_to_the_offset() -> None:
    part, texts = world()
    made = signal(part, texts, drift=(1.0,), text_drift=True)
    batch = batch_of(part, texts, np.arange(0, 200, 7))
    with torch.no_grad():
        prior, _, _ = made._posterior(batch)
        parts = made.contributions(batch)
        torch.testing.assert_close(prior + parts.sum(1), made.offset(batch), atol=1e-5, rtol=1e-5)
    assert parts.shape == batch.history.shape  # type: ignore[union-attr]
    assert float(parts.abs().max()) > 0.01


def test_examples_looked_at_by_length_get_what_all_of_them_at_once_get() -> None:
    part, texts = world()
    made = signal(part, texts, drift=(2.0,))
    batch = batch_of(part, texts, np.random.default_rng(1).permutation(len(part.user))[:90], label=True)
    hidden = torch.rand(batch.history.shape, generator=torch.Generator().manual_seed(2)) < 0.3  # type: ignore[union-attr]
    batch.history = batch.history.masked_fill(hidden, 0)  # type: ignore[union-attr]
    batch.history[:3] = 0
    for training in (False, True):
        made.parts.train(training)
        prior, weights, variance = made._by_entry(batch)
        for found, expected in zip(made._posterior(batch), (prior, weights.sum(1), variance), strict=True):
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert float(weights.abs().max()) > 0.01


def test_own_user_is_left_out_of_the_effects_that_training_reads() -> None:
    """Turning all labels of one part of the users changes nothing in what they are trained with."""
    part, texts = world()
    made = signal(part, texts)
    fold = made.parts["folds"].of_user
    inside = np.isin(part.user, np.flatnonzero(fold.numpy() == 2))
    turned = replace(part, label=np.where(inside, 1.0 - part.label, part.label).astype(np.float32))
    other = signal(turned, texts)
    torch.testing.assert_close(made.parts["folds"].effect[2], other.parts["folds"].effect[2], atol=0.05, rtol=0)
    moved = (made.parts["folds"].effect[1] - other.parts["folds"].effect[1]).abs().max()
    assert float(moved) > 0.05


def test_prediction_in_training_does_not_read_the_examples_own_label() -> None:
    part, texts = world()
    made = signal(part, texts)
    made.parts.train()
    rows = np.arange(40, 60)
    batch = batch_of(part, texts, rows, label=True)
    flipped = replace(batch, label=1.0 - batch.label)  # type: ignore[operator]
    torch.testing.assert_close(made.offset(batch), made.offset(flipped))


def test_user_without_outcomes_is_the_mean_user_and_padding_is_nothing() -> None:
    part, texts = world()
    made = signal(part, texts, drift=(1.0,))
    rows = np.arange(5, 12)
    batch = batch_of(part, texts, rows)
    with torch.no_grad():
        prior, _, _ = made._posterior(batch)
        none = replace(batch, history=torch.zeros_like(batch.history))  # type: ignore[type-var]
        torch.testing.assert_close(made.offset(none), prior)
        pad = lambda t: torch.cat([torch.zeros_like(t[:, :3]), t], dim=1)  # noqa: E731
        wider = replace(
            batch,
            history=pad(batch.history),
            history_label=pad(batch.history_label),
            history_age=pad(batch.history_age),
        ).with_vectors(history=pad(batch.vectors["history"]))
        torch.testing.assert_close(made.offset(wider), made.offset(batch), atol=1e-5, rtol=1e-5)
        empty = Histories.empty(len(rows))
        bare = replace(batch)
        bare.read(empty, 100, part.timestamp[rows])
        bare = bare.with_vectors(history=texts[bare.history])
        torch.testing.assert_close(made.offset(bare), prior)


def test_certainty_moderates_the_logit() -> None:
    part, texts = world()
    made = signal(part, texts)
    batch = batch_of(part, texts, np.arange(10, 15))
    with torch.no_grad():
        prior, mean, variance = made._posterior(batch)
        expected = prior + mean / torch.sqrt(1.0 + LOGIT_VARIANCE * variance)
    torch.testing.assert_close(made.offset(batch), expected)
    assert float(variance.min()) > 0.0


def test_followed_outcomes_move_item_effects_and_counts() -> None:
    part, texts = world()
    made = signal(part, texts)
    before, count = (made.parts["known"][name].clone() for name in ("effect", "count"))
    made.remember(part)
    liked = Batch(torch.tensor([1, 2, 3]), torch.tensor([5, 5, 0]), label=torch.ones(3))
    made.follow(liked)
    after = made.parts["known"]["effect"]
    assert float(after[5]) > float(before[5])
    assert float(made.parts["known"]["count"][5]) == float(count[5]) + 2.0
    untouched = torch.arange(ITEMS) != 5
    torch.testing.assert_close(after[untouched], before[untouched])


def test_fold_leaves_scores_and_no_trace_of_parts() -> None:
    part, texts = world()
    made = signal(part, texts)
    batch = batch_of(part, texts, np.arange(30))
    before = made.offset(batch)
    made.fold()
    assert "folds" not in made.parts
    torch.testing.assert_close(made.offset(batch), before)
    state = made.parts.state_dict()
    again = Taste(made.config)
    again.parts = again.build(SignalContext(USERS, ITEMS, 4, None, None, None, state, task="click"))
    again.parts.load_state_dict(state)
    again.parts.eval()
    torch.testing.assert_close(again.offset(batch), before)


def test_records_of_one_person_are_found_and_counted_once() -> None:
    judged = [(1, 1.0), (2, 0.0), (3, 1.0), (4, 1.0), (5, 0.0), (6, 1.0), (7, 0.0)]
    user = np.repeat([1, 2, 3], 7).astype(np.int64)
    item = np.array([i for i, _ in judged] * 2 + [i + 20 for i, _ in judged], np.int64)
    label = np.array([y for _, y in judged] * 3)
    person = people(user, item, label)
    assert person[0] == person[7]
    assert person[0] != person[14]
    label[7:14] = 1.0 - label[7:14]
    assert len(np.unique(people(user, item, label))) == 3


def test_text_decides_where_only_text_tells() -> None:
    """Trained for a moment, the text kernel finds who likes what; without texts it cannot."""
    part, texts = world()
    rng = np.random.default_rng(5)
    late = np.flatnonzero(part.history.lengths >= 12)  # type: ignore[union-attr]
    rows = rng.permutation(late)
    train, test = rows[: len(rows) // 2], rows[len(rows) // 2 :]

    def accuracy(text: bool) -> float:
        torch.manual_seed(0)
        made = signal(part, texts, text=text)
        made.parts.train()
        optimizer = torch.optim.Adam([p for p in made.parts.parameters() if p.requires_grad], lr=0.05)
        for _ in range(30):
            batch = batch_of(part, texts, train, label=True)
            loss = torch.nn.functional.binary_cross_entropy_with_logits(made.offset(batch), batch.label)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        made.parts.eval()
        with torch.no_grad():
            guessed = made.offset(batch_of(part, texts, test)) > 0.0
        return float((guessed.numpy() == (part.label[test] > 0.5)).mean())

    assert accuracy(True) > accuracy(False) + 0.08


def test_wrong_columns_and_rankings_are_refused_in_one_line() -> None:
    part, texts = world()
    with pytest.raises(InputError, match="items have no column 'year'; there are title"):
        context = SignalContext(USERS, ITEMS, 4, part, texts, None, task="click", items={"title": ["x"] * (ITEMS - 1)})
        Taste(TasteOptions(columns=("year",))).build(context)
    with pytest.raises(InputError, match="column 'title' holds no numbers"):
        Taste(TasteOptions(columns=("title",))).build(context)
    with pytest.raises(InputError, match="a ranking has none"):
        signal(part, texts, task="ranking")

"""Following: outcomes taken note of one by one say what histories rebuilt from all of them say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from learning import Task, error, fit, interactions, model_of, signs

from llmrec_peft.data.batches import Batch
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.signals.collaborative import Collaborative
from llmrec_peft.signals.parts.rating_history import RatingHistory

Make = Callable[..., Collaborative]
USERS, ITEMS = 9, 8
EVERY_USER, EVERY_ITEM = (torch.from_numpy(side.ravel()) for side in np.meshgrid(np.arange(USERS), np.arange(ITEMS)))
KINDS: list[dict[str, Any]] = [
    {},
    {"factors": False},
    {"items": False},
    {"user_history": "implicit", "item_history": "explicit"},
    {"user_history": "explicit", "item_history": "none"},
]


def predictions(signal: Collaborative) -> torch.Tensor:
    """Offset and product of vectors for every pair, cold and unknown ones among them."""
    batch = Batch(EVERY_USER, EVERY_ITEM)
    item, user, total = signal.item(batch), signal.user(batch), signal.offset(batch)
    if user is not None and item is not None:
        total = total + (user * item).sum(-1)
    return total.detach()


def later(ratings: Interactions) -> Interactions:
    """Outcomes that were not trained on: of known pairs, of a new user, of a new item, and of both."""
    del ratings
    return interactions([1, 2, 8, 8, 3, 8, 8, 1], [2, 5, 1, 4, 7, 7, 2, 7], [5, 1, 2, 4, 5, 3, 5, 1])


def both(one: Interactions, other: Interactions) -> Interactions:
    names = ("user", "item", "label", "timestamp")
    return Interactions(*(np.concatenate([getattr(one, name), getattr(other, name)]) for name in names))


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_unfolded_remembered_and_folded_predictions_are_the_same(
    options: dict[str, Any], ratings: Interactions, collaborative: Make
) -> None:
    signal = collaborative(ratings, **options)
    signal.parts.eval()
    unfolded = predictions(signal)
    assert unfolded.abs().max() > 0.1
    signal.remember(ratings)
    torch.testing.assert_close(predictions(signal), unfolded, rtol=0, atol=1e-5)
    signal.fold()
    torch.testing.assert_close(predictions(signal), unfolded, rtol=0, atol=1e-5)
    signal.remember(ratings)
    torch.testing.assert_close(predictions(signal), unfolded, rtol=0, atol=1e-5)


def test_rows_that_were_not_trained_count_for_nothing_however_much_is_remembered(
    ratings: Interactions, collaborative: Make
) -> None:
    signal = collaborative(ratings, user_history="none", item_history="none")
    signal.parts.eval()
    known = predictions(signal)
    assert not (set(later(ratings).user.tolist()) | {0}) <= set(ratings.user.tolist())
    signal.remember(both(ratings, later(ratings)))
    user, item = (
        signal.user(Batch(torch.tensor([8]), torch.tensor([7]))),
        signal.item(Batch(torch.tensor([8]), torch.tensor([7]))),
    )
    assert user is not None
    assert item is not None
    for side, met, index in ((user, ratings.user, 8), (item, ratings.item, 7)):
        assert index not in met
        assert not side.abs().any(), "its row is where it started, at random"
    grown = predictions(signal).reshape(ITEMS, USERS)
    trained = np.ix_(np.unique(ratings.item), np.unique(ratings.user))
    torch.testing.assert_close(grown[trained], known.reshape(ITEMS, USERS)[trained], rtol=0, atol=0.5)


@pytest.mark.parametrize("options", KINDS, ids=str)
@pytest.mark.parametrize("at_a_time", [1, 3, 8])
def test_following_is_rebuilding_from_all_outcomes(
    at_a_time: int, options: dict[str, Any], ratings: Interactions, collaborative: Make
) -> None:
    """Means of ratings and tables stay those of training: they are weights."""
    new = later(ratings)
    signal = collaborative(ratings, **options)
    signal.parts.eval()
    before = predictions(signal)
    signal.remember(ratings)
    for start in range(0, len(new), at_a_time):
        signal.follow(Batch.of(new, np.arange(start, min(start + at_a_time, len(new))), torch.device("cpu")))
    followed = predictions(signal)
    rebuilt = collaborative(ratings, **options)
    rebuilt.parts.eval()
    rebuilt.parts["history"] = RatingHistory(both(ratings, new), USERS, ITEMS, ratings)
    torch.testing.assert_close(followed, predictions(rebuilt), rtol=0, atol=1e-5)
    assert (followed - before).abs().max() > 0.05, "the new outcomes say something"


def test_table_rows_that_were_never_trained_stay_hidden_when_their_owner_is_followed(
    ratings: Interactions, collaborative: Make
) -> None:
    signal = collaborative(ratings, user_history="none", item_history="none")
    signal.parts.eval()
    signal.remember(ratings)
    signal.follow(Batch.of(later(ratings), np.arange(8), torch.device("cpu")))
    new = Batch(torch.tensor([8]), torch.tensor([7]))
    assert signal.user(new).abs().max() == 0
    assert signal.item(new).abs().max() == 0
    for side in ("user", "item"):
        torch.nn.init.zeros_(signal.parts[f"{side}_statistics"].weight)
    assert signal.offset(new).abs().max() == 0


def kinds_of_users(kind: str) -> tuple[Task, Interactions, Interactions]:
    """Users of two kinds, which only histories reveal for new users, and their first and later interactions.

    Half of the items reveal a user's kind (by whether he interacts with them, or how he rates them), the other half is
    liked by one kind. The new users' first outcomes are followed; the later ones are predicted.
    """
    rng = np.random.default_rng(0)
    users, items, marks = 81, 41, 20
    of_user, of_item = signs(rng, users), signs(rng, items)
    rows = []
    for user in range(1, users):
        for item in range(1, items):
            alike = of_user[user] * of_item[item]
            if item > marks:
                rows.append((user, item, 3.0 + 1.5 * alike))
            elif kind == "explicit":
                rows.append((user, item, 3.0 + alike))
            elif alike > 0:
                rows.append((user, item, 3.0))
    user, item, label = (np.array(column) for column in zip(*rows, strict=True))
    whole = interactions(user, item, label)
    new = whole.user > 60
    parts = (~new, new & (whole.item <= marks), new & (whole.item > marks))
    train, first, then = (whole.take(np.flatnonzero(part)) for part in parts)
    return Task(train, then, users, items), first, then


@pytest.mark.trains
@pytest.mark.parametrize("side", ["user", "item"])
@pytest.mark.parametrize("kind", ["implicit", "explicit"])
def test_histories_tell_the_taste_of_those_who_came_after_training(kind: str, side: str) -> None:
    task, first, then = kinds_of_users(kind)
    if side == "item":  # the same with users and items exchanged
        task, first, then = _turned(task), _turned_part(first), _turned_part(then)
    found = {}
    for name in (kind, "none"):
        options = {"user_history": "none", "item_history": "none", f"{side}_history": name}
        model = fit(model_of(task, {"collaborative": options}), task, epochs=8, rate=0.01)
        signal = model.signals["collaborative"]
        signal.remember(task.train)
        silent = error(model, then)
        signal.follow(Batch.of(first, np.arange(len(first)), torch.device("cpu")))
        found[name] = (silent, error(model, then))
    assert found[kind][1] < 0.6 * found[kind][0], "what they did first tells"
    assert found[kind][1] < 0.6 * found["none"][1], "and the history is what tells it"


def _turned_part(part: Interactions) -> Interactions:
    return Interactions(part.item, part.user, part.label, part.timestamp)


def _turned(task: Task) -> Task:
    return Task(_turned_part(task.train), _turned_part(task.test), task.num_items, task.num_users)


@pytest.mark.trains
def test_statistics_tell_how_much_a_newcomer_likes() -> None:
    rng = np.random.default_rng(0)
    users, items = 81, 21
    leaning = signs(rng, users)
    user, item = np.meshgrid(np.arange(1, users), np.arange(1, items), indexing="ij")
    whole = interactions(user.ravel(), item.ravel(), 3.0 + 1.5 * leaning[user.ravel()])
    new = whole.user > 60
    train, first, then = (
        whole.take(np.flatnonzero(part)) for part in (~new, new & (whole.item <= 10), new & (whole.item > 10))
    )
    task = Task(train, then, users, items)
    model = fit(model_of(task, {"collaborative": {"factors": False}}), task, epochs=20)
    model.signals["collaborative"].remember(train)
    silent = error(model, then)
    model.signals["collaborative"].follow(Batch.of(first, np.arange(len(first)), torch.device("cpu")))
    assert error(model, then) < 0.6 * silent


@pytest.mark.trains
def test_scores_in_time_are_those_of_following_by_hand_and_leave_the_model_as_it_was() -> None:
    task, first, then = kinds_of_users("explicit")
    model = fit(model_of(task, {"collaborative": {"item_history": "none"}}), task, epochs=4, rate=0.01)
    part = both(first, then)
    order = np.random.default_rng(0).permutation(len(part))
    part = Interactions(part.user[order], part.item[order], part.label[order], np.arange(len(part)) // 7)
    plain = model.scores(part)
    found = model.scores_in_time(part, task.train)
    assert not model.training
    assert not model.fusion.training
    assert not any(head.parts.training for head in model.heads.values())
    np.testing.assert_array_equal(model.scores(part), plain)
    signal = model.signals["collaborative"]
    signal.remember(task.train)
    for moment in range(int(part.timestamp.max()) + 1):
        rows = np.flatnonzero(part.timestamp == moment)
        np.testing.assert_allclose(found[rows], model.scores(part.take(rows)), atol=1e-5)
        signal.follow(Batch.of(part, rows, torch.device("cpu")))
    late = part.timestamp > part.timestamp.max() // 2
    rmse = [np.sqrt(np.mean((scores - part.label)[late] ** 2)) for scores in (found, plain)]
    assert rmse[0] < 0.8 * rmse[1]

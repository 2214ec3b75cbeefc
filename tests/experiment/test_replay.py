"""Which old interactions an update's epochs see beside the new ones."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec_peft.data.interactions import Interactions
from llmrec_peft.experiment.replay import Replay
from llmrec_peft.recipe.update_section import UpdateSection

OLD, NEW = 900, 100


def interactions() -> Interactions:
    """Nine hundred old interactions, of which one user has eight hundred, and a hundred new ones."""
    user = np.concatenate([np.zeros(800, np.int64), np.arange(1, 101), np.arange(NEW)]).astype(np.int64)
    time = np.concatenate([np.arange(OLD)[::-1], OLD + np.arange(NEW)]).astype(np.int64)
    return Interactions(user, user + 1, np.ones(len(user), np.float32), time)


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.25, 33), (0.5, 100), (0.95, OLD)])
def test_epoch_has_all_new_interactions_and_its_share_of_old_ones(share: float, count: int) -> None:
    replay = Replay(interactions(), OLD, UpdateSection(replay=share), seed=1)
    rows = replay(0)
    assert replay.count == count == (rows < OLD).sum()
    assert rows[rows >= OLD].tolist() == list(range(OLD, OLD + NEW))
    assert (np.diff(rows) > 0).all()


def test_epochs_draw_anew_and_the_same_again_after_an_interruption() -> None:
    first, second = (Replay(interactions(), OLD, UpdateSection(), seed=1) for _ in range(2))
    assert first(3).tolist() == second(3).tolist()
    assert first(3).tolist() != first(4).tolist()
    assert first(3).tolist() != Replay(interactions(), OLD, UpdateSection(), seed=2)(3).tolist()


def test_newest_are_the_newest() -> None:
    replay = Replay(interactions(), OLD, UpdateSection(policy="newest"), seed=1)
    assert replay(0)[:100].tolist() == list(range(100)), "the file's first rows are its newest ones"


def test_by_user_draws_of_every_user_and_uniform_of_the_busiest() -> None:
    train = interactions()
    drawn = {
        policy: train.user[Replay(train, OLD, UpdateSection(policy=policy), seed=1)(0)[:100]]
        for policy in ("uniform", "by-user")
    }
    assert (drawn["uniform"] == 0).mean() > 0.7
    assert (drawn["by-user"] == 0).mean() < 0.1

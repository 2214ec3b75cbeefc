"""Early stopping: the first of equal figures counts, and patience is counted from the best."""

from __future__ import annotations

import math

from llmrec_peft.training.early_stopping import EarlyStopping


def test_stops_after_patience_epochs_without_a_better_figure() -> None:
    watch = EarlyStopping(patience=2, lower_is_better=True)
    assert [watch.update(figure) for figure in (1.0, 0.8, 0.9)] == [True, True, False]
    assert not watch.stop
    assert not watch.update(0.8)  # as good is not better
    assert watch.stop
    assert (watch.best, watch.best_epoch, watch.history) == (0.8, 2, [1.0, 0.8, 0.9, 0.8])


def test_direction_can_be_up() -> None:
    watch = EarlyStopping(patience=1, lower_is_better=False)
    assert [watch.update(figure) for figure in (0.5, 0.7, 0.6)] == [True, True, False]
    assert watch.stop
    assert watch.best_epoch == 2


def test_without_patience_nothing_stops() -> None:
    watch = EarlyStopping(patience=None, lower_is_better=True)
    for figure in (1.0, 2.0, 3.0, 4.0):
        watch.update(figure)
    assert not watch.stop
    assert watch.best_epoch == 1


def test_not_a_number_is_never_best_once_a_figure_is_there() -> None:
    watch = EarlyStopping(patience=None, lower_is_better=True)
    watch.update(1.0)
    assert not watch.update(float("nan"))
    assert watch.best == 1.0


def test_figure_that_is_not_finite_is_never_the_best() -> None:
    watch = EarlyStopping(patience=2, lower_is_better=True)
    assert [watch.update(figure) for figure in (math.nan, 0.9, math.inf, math.nan)] == [False, True, False, False]
    assert (watch.best, watch.best_epoch, watch.stop) == (0.9, 2, True)

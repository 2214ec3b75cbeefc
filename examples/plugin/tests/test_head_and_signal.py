"""The suites of heads and signals, by their fixtures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def test_bounded_rating_keeps_to_every_rule(check_task_head: Callable[..., Any]) -> None:
    check_task_head("bounded-rating")


def test_item_mean_keeps_to_every_rule(check_signal: Callable[..., Any]) -> None:
    check_signal("item-mean")

"""The conformance suite of heads, by the fixture that llmrec-peft's pytest plugin brings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def test_bounded_rating_keeps_to_every_rule(check_task_head: Callable[..., Any]) -> None:
    check_task_head("bounded-rating")

"""The conformance suite of signals, by the fixture that llmrec-peft's pytest plugin brings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def test_item_mean_keeps_to_every_rule(check_signal: Callable[..., Any]) -> None:
    check_signal("item-mean")

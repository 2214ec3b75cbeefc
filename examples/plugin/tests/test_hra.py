"""The conformance suite of adapters, by the fixture that llmrec-peft's pytest plugin brings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.mark.parametrize("backbone", ["tiny-bert", "tiny-llama"])
def test_hra_keeps_to_every_rule(check_adapter_method: Callable[..., Any], backbone: str) -> None:
    check_adapter_method("hra", backbone=backbone)

"""Runs of one base that answer recognizably differently, and stores to seal them in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmrec_peft.serving.engine import Engine

RIVALS: tuple[dict[str, Any], ...] = (
    {"seed": 1},
    {"seed": 2, "adapter": {"method": "lora", "rank": 3, "layers": "all"}},
    {"seed": 3, "adapter": {"method": "none"}},
)


@pytest.fixture(scope="session")
def rivals(quick_run: Callable[..., Path]) -> list[Path]:
    """Three runs of one data set, trained from other seeds with other adapters; copy one before changing it."""
    return [quick_run("movies", {**change, "training.epochs": 4}) for change in RIVALS]


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    """An engine with an empty store that keeps no lists."""
    return Engine(tmp_path / "store", device="cpu", cache_bytes=0)

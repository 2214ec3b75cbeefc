"""Fixtures of the tests of serving: an engine over an empty store."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmrec_peft.serving.engine import Engine


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    """An engine with an empty store that keeps no lists."""
    return Engine(tmp_path / "store", device="cpu", cache_bytes=0)

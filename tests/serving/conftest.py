"""Fixtures of the tests of serving: an engine over an empty store, and pools of adapters on one base."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from mixed_pool import Pool, make_pool

from llmrec_peft.serving.engine import Engine


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """An engine with an empty store that keeps no lists."""
    with Engine(tmp_path / "store", device="cpu", cache_bytes=0) as engine:
        yield engine


@pytest.fixture(scope="session")
def pool_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Pool]:
    """Pool of adapters on a base in a precision; made once."""
    return cache(lambda name, precision: make_pool(name, precision, tmp_path_factory.mktemp(f"{name}-{precision}")))

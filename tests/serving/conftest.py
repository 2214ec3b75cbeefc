"""Fixtures of the serving tests."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
from mixed_pool import Pool, make_pool


@pytest.fixture(scope="session")
def pool_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Pool]:
    """Pool of adapters on a base in a precision; made once."""
    return cache(lambda name, precision: make_pool(name, precision, tmp_path_factory.mktemp(f"{name}-{precision}")))

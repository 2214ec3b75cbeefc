"""Fixtures of the tests of the HTTP server: a registry over an empty store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llmrec_peft.serving.http.registry.registry import FILE, Registry
from llmrec_peft.serving.sealed_store import SealedStore


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A server's state folder, which is not there yet."""
    return tmp_path / "state"


@pytest.fixture
def opened(state: Path) -> Iterator[Callable[[], Registry]]:
    """Opens the registry of the state folder; one that was opened before is closed."""
    ones = list[Registry]()

    def open_again() -> Registry:
        for one in ones:
            one.close()
        ones[:] = [Registry(state / FILE, SealedStore(state / "store"), busy_s=0.05)]
        return ones[0]

    yield open_again
    for one in ones:
        one.close()


@pytest.fixture
def registry(opened: Callable[[], Registry]) -> Registry:
    """An empty registry."""
    return opened()

"""A server that is killed keeps what it acknowledged; a short run of tests/soak/test_registry_kills_soak.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from registry_kills import kill_and_restart

pytestmark = [pytest.mark.trains, pytest.mark.slow]


def test_nothing_acknowledged_is_lost_and_nothing_is_there_twice(rivals: list[Path], tmp_path: Path) -> None:
    counts = kill_and_restart(rivals, 5, 1, tmp_path)
    assert counts.wrong == []
    assert counts.kills == 5
    assert counts.changes > 10
    assert counts.events > 10
    assert counts.answers > 0
    assert counts.audits > 0

"""The short fuzz of `make test`: a seeded handful of every subject; `make soak` is the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuzz.harness import fuzz_subject, subjects

SHORT = 150
"""Inputs of each subject."""
ROOM_MIB = 600
"""Memory that the inputs of one subject may take beyond what the process took before."""


@pytest.mark.trains
@pytest.mark.timeout(120)
@pytest.mark.parametrize("subject", subjects())
def test_no_input_ends_in_a_traceback_a_hang_or_a_broken_promise(subject: str, tmp_path: Path) -> None:
    tally = fuzz_subject(subject, SHORT, seed=1, folder=tmp_path)
    assert tally.inputs == SHORT
    assert not tally.defects, "\n".join(tally.defects[:10])
    assert tally.refused, "no input was refused: the mutations do not reach the code"
    assert tally.peak_mib < ROOM_MIB

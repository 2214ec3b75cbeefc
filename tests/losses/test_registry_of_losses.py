"""Losses by name."""

from __future__ import annotations

import subprocess
import sys

import pytest

from llmrec_peft.losses import CLICK_LOSSES, RANKING_LOSSES, RATING_LOSSES, loss

EVERY = (*RATING_LOSSES, *CLICK_LOSSES, *RANKING_LOSSES)


@pytest.mark.trains
def test_names_are_read_without_torch() -> None:
    code = "import sys, llmrec_peft.losses as l; l.RANKING_LOSSES; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", EVERY)
def test_a_name_gives_the_function_of_its_own_file_with_a_docstring(name: str) -> None:
    function = loss(name)
    assert (function.__module__, function.__name__) == (f"llmrec_peft.losses.{name}", name)
    for section in ("Args:", "Returns:"):
        assert section in (function.__doc__ or "")


def test_names_are_of_one_kind_each() -> None:
    assert len(set(EVERY)) == len(EVERY)

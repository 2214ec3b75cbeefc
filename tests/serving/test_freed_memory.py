"""Freed memory is kept: large tensors that come and go cost no page faults."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.trains

CHILD = """
import resource, sys
import numpy as np
from llmrec_peft.serving.mixing.freed_memory import keep_freed_memory
if sys.argv[1] == "keep":
    print("set", keep_freed_memory())

def layer():
    states = [np.ones(1 << 20, np.float32) for _ in range(4)]
    del states

layer()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    layer()
print("faults", resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def told(how: str, **environment: str) -> dict[str, str]:
    """What a process says that frees four megabytes four times, twenty times over."""
    base = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", CHILD, how]
    out = subprocess.run(command, env={**base, **environment}, check=True, capture_output=True, text=True).stdout
    return dict(line.split() for line in out.splitlines())


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told")
def test_large_blocks_that_come_and_go_cost_no_page_faults() -> None:
    default, kept = told("default"), told("keep")
    assert kept["set"] == "True"
    assert int(default["faults"]) > 1000
    assert int(kept["faults"]) < int(default["faults"]) // 10


def test_what_the_environment_says_is_left_as_it_is() -> None:
    assert told("keep", MALLOC_TRIM_THRESHOLD_="1000000")["set"] == "False"

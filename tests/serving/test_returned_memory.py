"""Freed memory between objects that stay goes back to the system."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.trains

CHILD = """
import sys
from pathlib import Path
from llmrec_peft.serving.tiers.returned_memory import return_freed_memory

def private():
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("Private_Dirty")).split()[1]) // 1024

freed, stays = [], []
for _ in range(2000):
    freed.append(bytearray(b"x" * (60 << 10)))  # below the size from which glibc maps blocks of their own
    stays.append(bytearray(600))
full = private()
freed.clear()
kept = private()
return_freed_memory()
print(full, kept, private())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries keep freed memory as they like")
def test_memory_between_objects_that_stay_is_returned() -> None:
    done = subprocess.run([sys.executable, "-c", CHILD], check=True, capture_output=True, text=True)
    full, kept, after = map(int, done.stdout.split())
    assert full > 110, "MiB"
    assert kept > full - 30, "the C library keeps it"
    assert after < full - 90

"""Many tenants on one base: mixed batches, the cliff, swaps, loading and tuning together, with tables and plots.

    python benchmarks/tenants.py [--part mixing cliff texts swaps ...] [--small] [--out FILE]

Parts are measured one after the other, each in a process of its own, so that none inherits another's memory. FILE keeps
the parts that were not asked for. Beside it lie the tables (.md) and the plots (FILE-PART.png). Runs that tenants are
made of are trained once and kept in `runs/tenants`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from serving.parts import Benchmark

PARTS = ("mixing", "cliff", "texts", "swaps", "capacity", "loading", "joint")
HERE = Path(__file__)
BENCHMARK = Benchmark(HERE, "Many tenants on one base", PARTS, HERE.parent / "results" / "tenants.json")

if __name__ == "__main__":
    sys.exit(BENCHMARK.run(__doc__ or ""))

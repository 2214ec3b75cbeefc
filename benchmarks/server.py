"""The HTTP server: latency beside the engine's, swaps under load, many tenants, new items, restarts.

    python benchmarks/server.py [--part latency swapping shops flood new_items restart] [--small] [--out FILE]

Each part starts `llmrec serve` in a process of its own and asks it over loopback from another one; both share the
machine's cores. FILE keeps the parts that were not asked for. Beside it lie the tables (.md) and plots (FILE-PART.png).
Runs that tenants are made of are trained once and kept in `runs/`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from serving.parts import Benchmark

PARTS = ("latency", "swapping", "shops", "flood", "new_items", "restart")
HERE = Path(__file__)
BENCHMARK = Benchmark(HERE, "The HTTP server", PARTS, HERE.parent / "results" / "server.json")

if __name__ == "__main__":
    sys.exit(BENCHMARK.run(__doc__ or ""))

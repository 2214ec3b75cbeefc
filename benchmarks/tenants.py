"""Many tenants on one base: mixed batches, the cliff, swaps, loading and tuning together, with tables and plots.

    python benchmarks/tenants.py [--part mixing cliff texts swaps ...] [--small] [--out FILE]

A part is a module of `benchmarks/serving/` with three functions:

    measure(small: bool) -> dict      what was measured, as plain values
    table(found: dict) -> str         the same in Markdown
    plot(found: dict, target: Path)   the same drawn as a PNG

Parts are measured one after the other, each in a process of its own, so that none inherits another's memory. FILE keeps
the parts that were not asked for. Beside it lie the tables (.md) and the plots (FILE-PART.png). Runs that tenants are
made of are trained once and kept in `runs/tenants`.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

PARTS = ("mixing", "cliff", "texts", "swaps", "capacity", "loading", "joint")
RESULT = Path(__file__).parent / "results" / "tenants.json"


def main() -> int:
    """Measure the parts that were asked for, and write figures, tables and plots."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--part", nargs="+", default=["all"], choices=["all", *PARTS], help="all by default")
    parser.add_argument("--small", action="store_true", help="a few tenants and asks: whether it runs, no figures")
    parser.add_argument("--out", type=Path, default=None, help=f"by default {RESULT.name} in benchmarks/results")
    parser.add_argument("--redraw", action="store_true", help="write tables and plots of FILE, measure nothing")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(measured(given.child, given.small)))
        return 0
    if given.small and given.out is None:
        parser.error("--small needs --out: its figures are not kept among the results")
    out: Path = given.out or RESULT
    asked = PARTS if "all" in given.part else tuple(dict.fromkeys(given.part))
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else {}
    for name in () if given.redraw else asked:
        if importlib.util.find_spec(f"serving.{name}") is None:
            print(f"{name}: there is no benchmarks/serving/{name}.py")
            continue
        found[name] = child(name, given.small)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(importlib.import_module(f"serving.{name}").table(found[name]), flush=True)
    drawn(found, out)
    return 0


def child(name: str, small: bool) -> dict[str, Any]:
    """Measure a part in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, __file__, "--child", name, *(["--small"] if small else [])]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def measured(name: str, small: bool) -> dict[str, Any]:
    """Measure a part in this process, and say when, with what and on what."""
    from llmrec_peft.artifact.hardware import hardware, versions

    began = time.monotonic()
    figures = importlib.import_module(f"serving.{name}").measure(small)
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "small": small,
        "seconds": round(time.monotonic() - began, 1),
        "hardware": hardware("cpu"),
        "versions": versions(),
        **figures,
    }


def drawn(found: dict[str, Any], out: Path) -> None:
    """Write the tables and plots of all parts that were measured."""
    known = {name: part for name, part in found.items() if name in PARTS}
    parts: dict[str, ModuleType] = {name: importlib.import_module(f"serving.{name}") for name in known}
    lines = ["# Many tenants on one base", "", "Written by `python benchmarks/tenants.py`.", ""]
    for name, part in known.items():
        machine = part["hardware"]
        versions = ", ".join(f"{one} {part['versions'][one]}" for one in ("torch", "transformers", "peft"))
        where = machine["cuda"] if machine["device"] == "cuda" else f"{machine['processor']}, {machine['cores']} cores"
        lines += [f"## {name.capitalize()}", "", parts[name].table(part), ""]
        lines += [f"{part['date']}; {where}, {machine['threads']} thread(s); {versions}.", ""]
        target = out.with_name(f"{out.stem}-{name}.png")
        if hasattr(parts[name], "plot"):
            parts[name].plot(part, target)
        if target.is_file():
            lines += [f"![{name}]({target.name})", ""]
    out.with_suffix(".md").write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    print(out.with_suffix(".md"))


if __name__ == "__main__":
    sys.exit(main())

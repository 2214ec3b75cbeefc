"""Parts: a benchmark of several measurements, each in a process of its own, with tables and plots.

A part is a module of `benchmarks/serving/` with three functions:

    measure(small: bool) -> dict      what was measured, as plain values
    table(found: dict) -> str         the same in Markdown
    plot(found: dict, target: Path)   the same drawn as a PNG, if there is something to draw
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any


@dataclass(frozen=True)
class Benchmark:
    """A script with parts.

    Attributes:
        script: Its file.
        title: Heading of its tables.
        parts: Names of its parts.
        result: File of its figures.
    """

    script: Path
    title: str
    parts: Sequence[str]
    result: Path

    def run(self, about: str) -> int:
        """Measure the parts that were asked for, and write figures, tables and plots."""
        parser = argparse.ArgumentParser(description=about.partition("\n")[0])
        parser.add_argument("--part", nargs="+", default=["all"], choices=["all", *self.parts], help="all by default")
        parser.add_argument("--small", action="store_true", help="few tenants and asks: whether it runs, no figures")
        parser.add_argument("--out", type=Path, default=None, help=f"by default {self.result.name} among the results")
        parser.add_argument("--redraw", action="store_true", help="write tables and plots of FILE, measure nothing")
        parser.add_argument("--child", help=argparse.SUPPRESS)
        given = parser.parse_args()
        if given.child:
            print(json.dumps(measured(given.child, given.small)))
            return 0
        if given.small and given.out is None:
            parser.error("--small needs --out: its figures are not kept among the results")
        out: Path = given.out or self.result
        asked = self.parts if "all" in given.part else tuple(dict.fromkeys(given.part))
        found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else {}
        for name in () if given.redraw else asked:
            found[name] = self._child(name, given.small)
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            print(module_of(name).table(found[name]), flush=True)
        self.draw(found, out)
        return 0

    def _child(self, name: str, small: bool) -> dict[str, Any]:
        """Measure a part in a process of its own."""
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}
        command = [sys.executable, str(self.script), "--child", name, *(["--small"] if small else [])]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return told

    def draw(self, found: dict[str, Any], out: Path) -> None:
        """Write the tables and plots of all parts that were measured."""
        known = {name: part for name, part in found.items() if name in self.parts}
        lines = [f"# {self.title}", "", f"Written by `python benchmarks/{self.script.name}`.", ""]
        for name, part in known.items():
            module, machine = module_of(name), part["hardware"]
            versions = ", ".join(f"{one} {part['versions'][one]}" for one in ("torch", "transformers", "peft"))
            where = (
                machine["cuda"] if machine["device"] == "cuda" else f"{machine['processor']}, {machine['cores']} cores"
            )
            lines += [f"## {name.replace('_', ' ').capitalize()}", "", module.table(part), ""]
            lines += [f"{part['date']}; {where}, {machine['threads']} thread(s); {versions}.", ""]
            target = out.with_name(f"{out.stem}-{name}.png")
            if hasattr(module, "plot"):
                module.plot(part, target)
            if target.is_file():
                lines += [f"![{name}]({target.name})", ""]
        out.with_suffix(".md").write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
        print(out.with_suffix(".md"))


def module_of(name: str) -> ModuleType:
    """Return the module of a part."""
    return importlib.import_module(f"serving.{name}")


def measured(name: str, small: bool) -> dict[str, Any]:
    """Measure a part in this process, and say when, with what and on what."""
    from llmrec_peft.artifact.hardware import hardware, versions

    began = time.monotonic()
    figures = module_of(name).measure(small)
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "small": small,
        "seconds": round(time.monotonic() - began, 1),
        "hardware": hardware("cpu"),
        "versions": versions(),
        **figures,
    }

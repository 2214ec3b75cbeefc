"""What loading a run for serving takes, at two sizes of the catalogue, and the memory that a loaded tenant has alone.

    python benchmarks/serving/loading.py              # 1,682 and 20,825 items; trains its runs, a few minutes
    python benchmarks/serving/loading.py --small      # 300 and 3,000 items
    python benchmarks/serving/loading.py --runs DIR   # keeps the runs there instead of in runs/loading

Runs of both sizes are loaded from a sealed store by turns, and the smaller one once more in each turn: the ratio of
that one to itself is what the measurement can tell apart. Hashing, which reads every byte, is timed apart. Seconds are
those of the processor, which other work on the machine changes little. The first load in a process also checks the
contents of the files (UTF-8, order of ids, bounds, finite numbers); later ones of the same bytes hash them alone.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import datetime
import gc
import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from serving.made_runs import made_base, made_run

RESULT = Path(__file__).resolve().parents[1] / "results" / "loading.json"
RUNS = Path(__file__).resolve().parents[2] / "runs" / "loading"
SIZES = ((1682, 943), (20_825, 12_076))
"""Items and users: those of MovieLens-100K and of IISAN's Scientific."""
SMALL = ((300, 100), (3000, 300))
MEMORY = (2000, 1000)
TENANTS = 50
ROUNDS = 40
LIMIT, PRIVATE_KB = 1.2, 512


def measure(small: bool = False, runs: Path | None = None) -> dict[str, Any]:
    """Train the runs that are missing, load them by turns, and return the figures.

    Args:
        small: Whether catalogues are small, to try the script.
        runs: Folder of the runs; by default ``runs/loading`` of the repository, where they are kept.
    """
    import torch

    from llmrec_peft.artifact.hardware import hardware, versions

    torch.set_num_threads(1)
    sizes, memory = (SMALL, SMALL[0]) if small else (SIZES, MEMORY)
    with contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="llmrec-loading-")))
        folder = runs or RUNS
        folder.mkdir(parents=True, exist_ok=True)
        made = {size: _run(folder, *size) for size in dict.fromkeys((*sizes, memory))}
        loads = _loads({size: made[size] for size in sizes}, work / "store", 5 if small else ROUNDS)
        store = work / "store"
        private = {name: _in_child(made[memory], store, name == "asked") for name in ("loaded", "asked")}
    few, many = (loads[str(items)] for items, _ in sizes)
    return {
        "date": datetime.date.today().isoformat(),
        "hardware": hardware("cpu"),
        "versions": versions(),
        "rounds": 5 if small else ROUNDS,
        "sizes": loads,
        "ratio": round(many["rest_ms"] / few["rest_ms"], 3),
        "resolution": round(loads["again"]["rest_ms"] / few["rest_ms"], 3),
        "limit": LIMIT,
        "private_kb_a_tenant": {"items": memory[0], "tenants": TENANTS, "limit": PRIVATE_KB, **private},
    }


def _run(folder: Path, items: int, users: int) -> Path:
    run = folder / f"{items}-{users}"
    if (run / "manifest.json").is_file():
        return run
    base = folder / "base"
    if not (base / "config.json").is_file():
        made_base(base)
    return made_run(run, base, items, users)


class Hashing:
    """Seconds of the processor that are spent in hashing files."""

    def __init__(self) -> None:
        self.seconds = 0.0

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """Count what is hashed inside the block."""
        from llmrec_peft.artifact import manifest, mapped_files, sealed

        def timed(call: Any) -> Any:
            def inner(*given: Any) -> Any:
                began = time.process_time()
                try:
                    return call(*given)
                finally:
                    self.seconds += time.process_time() - began

            return inner

        names = SimpleNamespace(sha256=timed(hashlib.sha256))
        with (
            patch.object(sealed, "hashlib", names),
            patch.object(mapped_files, "hashlib", names),
            patch.object(manifest, "_file_digest", timed(manifest._file_digest)),
        ):
            yield


def _loads(runs: dict[tuple[int, int], Path], store: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Load each run by turns; milliseconds of the processor, medians."""
    import torch

    from llmrec_peft.known_contents import forget
    from llmrec_peft.serving.loading import Loading
    from llmrec_peft.serving.sealed_store import SealedStore

    sealed = {str(size[0]): SealedStore(store).add(run) for size, run in runs.items()}
    first = next(iter(sealed))
    cases = {**sealed, "again": sealed[first]}
    loading, hashing = Loading(torch.device("cpu"), try_adapters=False), Hashing()
    times: dict[str, dict[str, list[float]]] = {
        name: {kind: [] for kind in ("first", "first hashing", "load", "hashing", "wall", "ask")} for name in cases
    }
    for at in range(rounds + 1):
        for name in cases if at % 2 else reversed(cases):
            for kind in ("first", "load"):
                if kind == "first":
                    forget()
                gc.collect()
                hashing.seconds, began, wall = 0.0, time.process_time(), time.perf_counter()
                with hashing.counted():
                    version = loading.load(cases[name])
                took = time.process_time() - began
                if at == 0:  # what is imported and compiled once
                    continue
                times[name][kind].append(took)
                times[name]["hashing" if kind == "load" else "first hashing"].append(hashing.seconds)
                if kind == "load":
                    times[name]["wall"].append(time.perf_counter() - wall)
                    began = time.process_time()
                    version.tenant.recommend([version.tenant.vocabulary.users[at]], 10, False)
                    times[name]["ask"].append(time.process_time() - began)
                del version
    return {name: _figures(cases[name].folder, kinds) for name, kinds in times.items()}


def _figures(folder: Path, kinds: dict[str, list[float]]) -> dict[str, float]:
    """Return medians in milliseconds: a load, its hashing and the rest; the first load's checks of contents."""
    rest = [load - hashed for load, hashed in zip(kinds["load"], kinds["hashing"], strict=True)]
    first = [load - hashed for load, hashed in zip(kinds["first"], kinds["first hashing"], strict=True)]
    size = sum(path.stat().st_size for path in folder.iterdir()) / 2**20

    def ms(values: list[float]) -> float:
        return round(1000 * statistics.median(values), 2)

    return {
        "mib": round(size, 1),
        "load_ms": ms(kinds["load"]),
        "wall_ms": ms(kinds["wall"]),
        "hashing_ms": ms(kinds["hashing"]),
        "rest_ms": ms(rest),
        "contents_ms": round(max(0.0, ms(first) - ms(rest)), 2),
        "first_ask_ms": ms(kinds["ask"]),
    }


def _in_child(run: Path, store: Path, asks: bool) -> float:
    """Return `private_kb` of a process of its own, which has freed nothing that a tenant could take."""
    command = [sys.executable, str(Path(__file__).resolve()), "--private", str(run), str(store), str(int(asks))]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.splitlines()[-1])


def private_kb(run: Path, store: Path, asks: bool) -> float:
    """Return the private memory of one more loaded tenant without an adapter in memory, KiB; each may answer once."""
    import torch

    from llmrec_peft.serving.loading import Loading
    from llmrec_peft.serving.sealed_store import SealedStore

    sealed, loading = SealedStore(store).add(run), Loading(torch.device("cpu"), try_adapters=False)
    kept: list[Any] = []

    def more(count: int) -> None:
        for _ in range(count):
            version = loading.load(sealed)
            if asks:
                version.tenant.recommend([version.tenant.vocabulary.users[0]], 10, False)
            kept.append(version)

    more(5)
    before = _private()
    more(TENANTS)
    return round((_private() - before) / TENANTS, 1)


def _private() -> int:
    """Return the private written memory of this process, KiB."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="utf-8").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty"))


def table(figures: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    lines = [
        "| items | files, MiB | load, ms | hashing | the rest | contents, once a process | first list of ten |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, one in figures["sizes"].items():
        label = "the first again" if name == "again" else f"{int(name):,}"
        cells = ("mib", "load_ms", "hashing_ms", "rest_ms", "contents_ms", "first_ask_ms")
        lines.append(f"| {label} | " + " | ".join(f"{one[cell]:.1f}" for cell in cells) + " |")
    private = figures["private_kb_a_tenant"]
    lines += [
        "",
        f"Without hashing, a load of the larger catalogue takes {figures['ratio']:.2f} times that of the smaller one"
        f" (limit {figures['limit']}; the smaller one again: {figures['resolution']:.2f}).",
        f"Private memory of a tenant with {private['items']:,} items, its adapter not in memory:"
        f" {private['loaded']:.0f} KiB loaded, {private['asked']:.0f} KiB after its first answer (limit"
        f" {private['limit']} KiB).",
    ]
    return "\n".join(lines)


def plot(figures: dict[str, Any], target: Path) -> None:
    """Draw what a load consists of at both sizes, as a PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    sizes = [name for name in figures["sizes"] if name != "again"]
    drawn, axes = pyplot.subplots(figsize=(6, 3.2))
    left = [0.0] * len(sizes)
    parts = (("rest_ms", "the rest"), ("hashing_ms", "hashing"), ("contents_ms", "contents, once a process"))
    for part, label in parts:
        widths = [figures["sizes"][name][part] for name in sizes]
        axes.barh([f"{int(name):,} items" for name in sizes], widths, left=left, label=label)
        left = [before + width for before, width in zip(left, widths, strict=True)]
    axes.set_xlabel("milliseconds of the processor")
    axes.set_title(f"Loading a run: without hashing and contents {figures['ratio']:.2f} times")
    axes.legend()
    drawn.tight_layout()
    drawn.savefig(target, dpi=120)
    pyplot.close(drawn)


def main() -> int:
    """Measure, print, write, and end with 1 where a limit does not hold."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--small", action="store_true", help="small catalogues, nothing is written unless --out")
    parser.add_argument("--runs", type=Path, help="folder of the runs")
    parser.add_argument("--out", type=Path, help="JSON to write; a table of the same name with .md beside it")
    parser.add_argument("--private", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.private:
        run, store, asks = given.private
        print(private_kb(Path(run), Path(store), asks == "1"))
        return 0
    figures = measure(given.small, given.runs)
    print(table(figures))
    out = given.out or (None if given.small else RESULT)
    if out is not None:
        out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        plot(figures, out.with_suffix(".png"))
        out.with_suffix(".md").write_text(f"# Loading a run for serving\n\n{table(figures)}\n", encoding="utf-8")
    private = figures["private_kb_a_tenant"]
    return int(figures["ratio"] > LIMIT or max(private["loaded"], private["asked"]) > PRIVATE_KB)


if __name__ == "__main__":
    sys.exit(main())

"""Time 16 rows of 8 tenants, each row changed by its own tenant's adapter, against the bare base.

    python benchmarks/tenants.py --part mixing
    python benchmarks/serving/mixing.py --case "eight unlike methods" --precision fp32 --threads 1

Every way to compute the rows is timed in turns with the others in one process, and divided round by round by the bare
base's time; "base again" is the base once more, so its ratio tells what can be told apart. Before anything is timed,
each row's vector is held against the one that its text has alone, unpadded, under its tenant's adapter in a single run.
One thread is timed by its processor time, two by the wall.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a package beside the scripts that use it

import torch
from torch import Tensor

from llmrec_peft.artifact.hardware import hardware, versions
from llmrec_peft.backbone.load import load_backbone
from llmrec_peft.backbone.precision import computes_bf16
from llmrec_peft.backbone.quiet import quiet_transformers
from llmrec_peft.serving.mixing.freed_memory import keep_freed_memory
from llmrec_peft.serving.mixing.slots import Slots
from llmrec_peft.testing.adapters.suite import section_of
from serving.mixing_cases import BUDGET, CASES, TENANTS, Ways, made_rows
from serving.turns import in_turns

RESULTS = Path(__file__).resolve().parents[1] / "results" / "mixing.json"
TARGETS = {"fp32": (1.1, 1.2, 1.4), "bf16": (1.15, 1.3, 1.5)}
"""Ratio to the bare base that each case of `CASES` should not exceed, in their order."""
NEAR = 1e-5
"""Largest distance in fp32, as a share of the norm, of a row's vector and the one that it has alone."""
COSINE = 1e-4
"""Largest 1 - cosine of the two in bf16, where states are rounded."""
SECONDS, LEAST = 45.0, 30
"""How long a cell is timed, and rounds at least."""
BASE, AGAIN, MIXED = "bare base", "base again", "mixed pass"


def main() -> None:
    """Measure the cells that are asked for, print them, and keep them with the others."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--case", nargs="*", choices=list(CASES), default=list(CASES))
    parser.add_argument("--backbone", nargs="*", default=["minilm"])
    parser.add_argument("--precision", nargs="*", choices=list(TARGETS), default=list(TARGETS))
    parser.add_argument("--threads", nargs="*", type=int, default=[1, 2])
    parser.add_argument("--way", nargs="*", help="ways beside the base and the mixed pass; all by default")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long each cell is timed")
    parser.add_argument("--rounds", type=int, default=LEAST, help="rounds of each cell at least")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--plot", type=Path, help="PNG file to draw")
    parser.add_argument("--out", type=Path, help="JSON file to write; cells that it has already stay or are replaced")
    asked = parser.parse_args()
    wanted = [
        (case, backbone, precision, threads)
        for backbone in asked.backbone
        for precision in asked.precision
        for threads in asked.threads
        for case in asked.case
    ]
    found: dict[str, Any] = {}
    for one in wanted:
        found = _joined(found, _report([one], asked.seconds, asked.way, torch.device(asked.device), asked.rounds))
    if asked.out is not None and asked.out.is_file():
        found = _joined(json.loads(asked.out.read_text(encoding="utf-8")), found)
    print(table(found))
    if asked.plot is not None:
        plot(found, asked.plot)
    if asked.out is not None:
        asked.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def measure(small: bool = False) -> dict[str, Any]:
    """Measure every case on MiniLM in fp32 and bf16, with one thread and with two, and one case on SmolLM2.

    Args:
        small: Whether a few rounds of one case are enough.
    """
    first = next(iter(CASES))
    if small:
        return _report([(first, "minilm", "fp32", 1)], 2.0, None, torch.device("cpu"))
    wanted = [(case, "minilm", precision, threads) for precision in TARGETS for threads in (1, 2) for case in CASES]
    wanted += [(first, "smollm2", "bf16", 1)]
    return _report(wanted, SECONDS, None, torch.device("cpu"))


def table(report: Mapping[str, Any]) -> str:
    """Return the report as Markdown: a row a cell, and one for each way of it."""
    native = "computes bf16 in hardware" if report["computes_bf16"] else "emulates bf16"
    lines = [
        f"{report['hardware']['processor']}, which {native}; {report['date']}. Milliseconds are medians; ratios are"
        " medians over rounds, with their 95 % limits.",
        "",
        "| case | model | format | threads | way | ms | ratio to the base | limits | target |",
        "| --- | --- | --- | ---: | --- | ---: | ---: | --- | --- |",
    ]
    for cell in report["cells"]:
        what = f"| {cell['case']} | {cell['backbone']} | {cell['precision']} | {cell['threads']} |"
        for name, way in cell["ways"].items():
            target = cell["target"] if name == MIXED and cell["target"] else None
            said = "" if target is None else f"{'≤' if way['ratio'] <= target else 'missed:'} {target}"
            limits = f"{way['low']:.3f} - {way['high']:.3f}"
            lines.append(f"{what} {name} | {way['ms']:.1f} | {way['ratio']:.3f} | {limits} | {said} |")
    return "\n".join(lines)


def plot(report: Mapping[str, Any], path: Path) -> None:
    """Draw the ratios of every cell with one thread, a group of bars a case."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    shown = (AGAIN, "hooks that change nothing", MIXED, "PEFT, adapter_names", "one after another", "PEFT, set_adapter")
    colours = ("#9aa5b1", "#5f7183", "#2f6f9f", "#c98a2b", "#7a5195", "#b35c5c")
    cells = [cell for cell in report["cells"] if cell["threads"] == 1] or report["cells"]
    figure, axes = plt.subplots(figsize=(10, 0.75 * len(cells) + 1.4))
    for place, (name, colour) in enumerate(zip(shown, colours, strict=True)):
        there = [(at, cell["ways"][name]["ratio"]) for at, cell in enumerate(cells) if name in cell["ways"]]
        heights = [at + 0.14 * (place - 2.5) for at, _ in there]
        axes.barh(heights, [ratio for _, ratio in there], 0.13, color=colour, label=name)
        for height, (_, ratio) in zip(heights, there, strict=True):
            axes.text(ratio + 0.01, height, f"{ratio:.2f}", va="center", fontsize=6)
    for at, cell in enumerate(cells):
        if cell["target"]:
            axes.plot([cell["target"]] * 2, [at - 0.45, at + 0.45], "k--", linewidth=0.8)
    names = [f"{cell['case']}\n{cell['backbone']}, {cell['precision']}" for cell in cells]
    axes.set_yticks(range(len(cells)), names, fontsize=7)
    axes.invert_yaxis()
    axes.axvline(1.0, color="#9aa5b1", linewidth=0.8)
    axes.set_xlabel("time of 16 rows of 8 tenants, divided by the bare base's; dashed: the target of the mixed pass")
    axes.legend(frameon=False, fontsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=130)


def _report(
    wanted: Iterable[tuple[str, str, str, int]],
    seconds: float,
    ways: list[str] | None,
    device: torch.device,
    least: int = LEAST,
) -> dict[str, Any]:
    cells = []
    for case, backbone, precision, threads in wanted:
        cells.append(_cell(case, backbone, precision, threads, seconds, ways, device, least))
        own = cells[-1]["ways"]
        print(
            f"{case}, {backbone}, {precision}, {threads} threads: {cells[-1]['rounds']} rounds; "
            + "; ".join(f"{name} {way['ratio']:.3f}" for name, way in own.items()),
            file=sys.stderr,
            flush=True,
        )
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "hardware": hardware(device.type),
        "versions": versions(),
        "computes_bf16": computes_bf16(device),
        "rows": 2 * TENANTS,
        "tenants": TENANTS,
        "cells": cells,
    }


def _cell(
    case: str,
    name: str,
    precision: str,
    threads: int,
    seconds: float,
    chosen: list[str] | None,
    device: torch.device,
    least: int,
) -> dict[str, Any]:
    """Measure one case in one number format with some threads."""
    torch.set_num_threads(threads)
    keep_freed_memory()  # as `MixedEncoder` does; the base gains from it too
    with tempfile.TemporaryDirectory(prefix="llmrec-mixing-") as work, warnings.catch_warnings(), quiet_transformers():
        warnings.simplefilter("ignore")
        backbone = load_backbone(section_of(name, precision), device)
        slots = Slots(BUDGET, backbone.device)
        ways = Ways(backbone, slots, made_rows(backbone, slots, CASES[case], Path(work)))
        with torch.inference_mode():
            every = _ways(ways, all(tenant[0] == "lora" for tenant in CASES[case]))
            named = {one: way for one, way in every.items() if chosen is None or one in (BASE, AGAIN, MIXED, *chosen)}
            apart = _apart(ways, named, precision)
            timed = in_turns(named, BASE, seconds, least, _clock(device, threads))
    targets = dict(zip(CASES, TARGETS[precision], strict=False))
    return {
        "case": case,
        "backbone": name,
        "precision": precision,
        "threads": threads,
        "clock": "processor" if threads == 1 and device.type == "cpu" else "wall",
        "tokens": _lengths(ways),
        "rounds": timed.pop("rounds"),
        "target": targets.get(case) if name == "minilm" else None,
        "apart": apart,
        "ways": timed,
    }


def _joined(found: Mapping[str, Any], further: Mapping[str, Any]) -> dict[str, Any]:
    """Return a report with the cells of both; of a cell that both have, the further one."""
    what = ("case", "backbone", "precision", "threads")
    cells = {tuple(cell[name] for name in what): cell for one in (found, further) for cell in one.get("cells", [])}
    return {**found, **further, "cells": list(cells.values())}


def _ways(ways: Ways, lora: bool) -> dict[str, Callable[[], Tensor]]:
    through_peft = {"PEFT, adapter_names": ways.adapter_names, "PEFT, set_adapter": ways.set_adapter} if lora else {}
    return {
        BASE: ways.bare,
        MIXED: ways.mixed,
        "hooks that change nothing": ways.hooks,
        "served, bare base": ways.served_bare,
        "served, mixed": ways.served,
        **through_peft,
        "one after another": ways.one_after_another,
        AGAIN: ways.bare,
    }


def _apart(ways: Ways, named: Mapping[str, Callable[[], Tensor]], precision: str) -> dict[str, float]:
    """Return how far each way's vectors are from those of texts alone, and refuse to time one that is too far.

    Distances are shares of the norm in fp32 and 1 - cosine in bf16. Where states are rounded, PEFT's and the single
    run's own vectors in another shape may be as far from each other, so the mixed pass may be as far as they are.
    """
    alone = torch.empty_like(ways.bare())
    bare = ways.bare()
    for tenant in range(len(ways.rows.tenants)):
        with ways.alone(tenant) as vector:
            for row in ways.rows.of(tenant):
                alone[row] = vector(ways.rows.ids[row])
    tuned = {name: way() for name, way in named.items() if name not in (BASE, AGAIN) and "bare" not in name}
    tuned.pop("hooks that change nothing", None)
    measure = _distance if precision == "fp32" else _unlike
    found = {name: measure(vectors, alone) for name, vectors in tuned.items()}
    allowed = NEAR if precision == "fp32" else max(COSINE, found.get("one after another", 0.0))
    for name, far in found.items():
        if not far <= allowed:
            raise SystemExit(f"{name}: vectors are {far:.2g} from those of texts alone, more than {allowed:.2g}")
    changed = [row for row, owner in enumerate(ways.rows.owners) if ways.rows.tenants[owner][0] != "none"]
    if not bool(((alone - bare).norm(dim=1) > 1e-3 * bare.norm(dim=1))[changed].all()):
        raise SystemExit("an adapter leaves its rows as the base has them")
    return {name: float(f"{far:.2g}") for name, far in found.items()}


def _distance(vectors: Tensor, others: Tensor) -> float:
    return float(((vectors - others).norm(dim=1) / others.norm(dim=1)).max())


def _unlike(vectors: Tensor, others: Tensor) -> float:
    return 1.0 - float(torch.cosine_similarity(vectors.double(), others.double()).min())


def _lengths(ways: Ways) -> list[int]:
    lengths = sorted(map(len, ways.rows.ids))
    return [lengths[0], lengths[len(lengths) // 2], lengths[-1]]


def _clock(device: torch.device, threads: int) -> Callable[[], float]:
    if device.type == "cuda":

        def synchronized() -> float:
            torch.cuda.synchronize()
            return time.perf_counter()

        return synchronized
    return time.process_time if threads == 1 else time.perf_counter


if __name__ == "__main__":
    main()

"""Memory that `llmrec memory` predicts against what training takes, each cell trained in a process of its own.

    python benchmarks/footprint.py

A cell is one backbone, method, precision and batch. Its run is the real one: `prepare`, `load_backbone`, the untuned
vectors, one epoch of `fit_variant` with a checkpoint after every step. Measured is the highest resident memory of the
process (`VmHWM`, mapped weight files included, reset just before) above its resident memory after everything was
imported and a tiny model of the same architecture had been trained once, so that what libraries load or reserve on
first use counts as theirs. glibc's threshold for giving freed blocks back is fixed at its own default (see
`ALLOCATOR`). Cells marked `held_out` were chosen before any was measured, and nothing was calibrated
on them.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "footprint.json"
USERS = 40
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "131072"}
"""glibc raises this threshold (128 KiB) by itself as blocks are freed, up to 32 MiB, and then keeps freed activations:
the third cell took 489 and 585 MiB in two runs so, and 283 MiB in each with the threshold fixed."""

MINILM = {"backbone.name": "minilm", "views.item.max_length": 64}
SMOLLM2 = {"backbone.name": "smollm2", "backbone.pooling": "last-token", "views.item.max_length": 48}


def _cell(
    base: dict[str, Any], method: dict[str, Any], precision: str, batch: int, held_out: bool = False, **more: Any
) -> dict[str, Any]:
    """One cell: `precision` is fp32, bf16, or a quantization (computed in bf16)."""
    quantized = precision in ("int8", "nf4")
    return {
        "held_out": held_out,
        "items": max(batch, 64 if base is MINILM else 16),
        "set": {
            **base,
            "adapter": method,
            "backbone.precision": "bf16" if quantized else precision,
            "backbone.quantization": precision if quantized else "none",
            "training.items_per_batch": batch,
            **more,
        },
    }


def _lora(layers: str) -> dict[str, Any]:
    return {"method": "lora", "rank": 8, "alpha": 16, "layers": layers}


CELLS = [
    _cell(MINILM, _lora("top-2"), "fp32", 32),
    _cell(MINILM, _lora("top-2"), "fp32", 128),
    _cell(MINILM, _lora("all"), "fp32", 32),
    _cell(MINILM, _lora("all"), "fp32", 64, held_out=True),
    _cell(MINILM, _lora("all"), "bf16", 64),
    _cell(MINILM, _lora("all"), "nf4", 32),
    _cell(MINILM, _lora("all"), "int8", 64, held_out=True),
    _cell(MINILM, {"method": "full"}, "fp32", 32),
    _cell(MINILM, {"method": "full"}, "bf16", 32, held_out=True),
    _cell(MINILM, {"method": "none"}, "fp32", 32),
    _cell(MINILM, {"method": "prefix"}, "fp32", 32),
    _cell(MINILM, {"method": "bottleneck"}, "bf16", 64),
    _cell(MINILM, _lora("all"), "fp32", 64, **{"training.gradient_checkpointing": True}),
    _cell(SMOLLM2, _lora("top-4"), "bf16", 16),
    _cell(SMOLLM2, _lora("all"), "bf16", 16, held_out=True),
    _cell(SMOLLM2, _lora("all"), "nf4", 8),
    _cell(SMOLLM2, _lora("all"), "fp32", 8),
    _cell(SMOLLM2, {"method": "ia3"}, "bf16", 8),
    _cell(SMOLLM2, {"method": "bottleneck"}, "nf4", 16, held_out=True),
    _cell(SMOLLM2, _lora("all"), "bf16", 16, **{"training.gradient_checkpointing": True}),
    _cell(SMOLLM2, {"method": "adalora"}, "bf16", 8, held_out=True),
]
COMMON = {
    "views.item.template": "{{ title }}",
    "signals": {"text": True, "collaborative": {"user_history": "none", "item_history": "none"}},
    "training.batching": "by-item",
    "training.epochs": 1,
    "training.refit": False,
    "training.adapter_epochs": None,
    "training.average": 0.99,
    "training.checkpoint_seconds": 0,
    "data.split": "official",
}


def main() -> None:
    """Measure every cell, or the one that a parent process asks for, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cell", type=int, help="measure this cell alone, in this process, and print it")
    parser.add_argument("--only", type=int, nargs="*", help="cells to measure again; the others keep their figures")
    parser.add_argument("--predict", action="store_true", help="keep what was measured, predict anew")
    given = parser.parse_args()
    if given.cell is not None:
        print(json.dumps(measure(CELLS[given.cell])))
        return
    earlier = json.loads(RESULTS.read_text(encoding="utf-8"))["cells"] if RESULTS.is_file() else []
    known = {json.dumps(cell["set"], sort_keys=True): cell for cell in earlier}
    rows = []
    for number, cell in enumerate(CELLS):
        kept = known.get(json.dumps(cell["set"], sort_keys=True))
        again = (number in given.only) if given.only is not None else not given.predict
        row = _measured_apart(number) if again or kept is None else kept
        rows.append({**row, "held_out": cell["held_out"], **predicted(cell, row)})
        _say(rows[-1])
        _write(rows)


def measure(cell: dict[str, Any]) -> dict[str, Any]:
    """Train the cell in this process; megabytes (MiB) are above the resident size after imports."""
    from llmrec_peft.artifact.hardware import hardware, versions

    with tempfile.TemporaryDirectory() as scratch:
        _train(_recipe(cell, Path(scratch) / "tiny", tiny=Path(scratch) / "model"), Path(scratch) / "tiny-run")
        recipe = _recipe(cell, Path(scratch) / "data")
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget the highest so far
        before = _status("VmRSS")
        started = time.monotonic()
        _train(recipe, Path(scratch) / "run")
        peak = _status("VmHWM")
    return {
        "set": cell["set"],
        "items": cell["items"],
        "measured_mib": round(peak - before, 1),
        "after_imports_mib": round(before, 1),
        "seconds": round(time.monotonic() - started, 1),
        "hardware": hardware("cpu"),
        "versions": versions(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def predicted(cell: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    """What `llmrec memory` says of the cell."""
    from llmrec_peft.footprint.check import footprint_of

    with tempfile.TemporaryDirectory() as scratch:
        total = footprint_of(_recipe(cell, Path(scratch) / "data")).total / 2**20
    return {"predicted_mib": round(total, 1), "ratio": round(total / row["measured_mib"], 3)}


def _train(recipe: Any, work: Path) -> None:
    """The part of `llmrec train` that computes: encode with the untuned model, then fit."""
    import torch

    from llmrec_peft.backbone.load import load_backbone
    from llmrec_peft.experiment.experiment import Experiment
    from llmrec_peft.experiment.fitting import fit_variant
    from llmrec_peft.experiment.prepare import prepare
    from llmrec_peft.experiment.texts import Texts
    from llmrec_peft.training.accelerator import make_accelerator

    prepared = prepare(recipe)
    recipe = prepared.recipe
    accelerator = make_accelerator((), work)
    backbone = load_backbone(recipe.backbone, torch.device("cpu"))
    texts = Texts(backbone, prepared, recipe)
    fit_variant(Experiment(prepared, accelerator, work.parent, texts), recipe, work.name, "")


def _recipe(cell: dict[str, Any], data: Path, tiny: Path | None = None) -> Any:
    """The cell's recipe over made-up films; with `tiny`, over a small random model of the same architecture."""
    from llmrec_peft.recipe import load_recipe

    _write_films(data, 8 if tiny else cell["items"])
    changes = {**COMMON, **cell["set"], "data.path": str(data)}
    if tiny is not None:
        _write_tiny(cell["set"]["backbone.name"], tiny)
        adapter = {k: "all" if k == "layers" else v for k, v in cell["set"]["adapter"].items()}
        changes |= {"backbone.name": str(tiny), "adapter": adapter, "training.items_per_batch": 4}
    return load_recipe("movies", changes=changes)


def _write_tiny(name: str, folder: Path) -> None:
    """Two layers of the backbone's architecture with random weights, and its tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModel

    from llmrec_peft.backbone.locate import locate

    source = locate(name).folder
    config = AutoConfig.from_pretrained(source)
    config.num_hidden_layers, config.hidden_size, config.intermediate_size = 2, 64, 128
    config.num_attention_heads = config.num_key_value_heads = 2
    config.head_dim = 32
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:2]
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(folder)
    for file in source.iterdir():
        if file.name.startswith(("tokenizer", "special_tokens", "vocab", "merges")):
            shutil.copy(file, folder / file.name)


def _write_films(folder: Path, items: int) -> None:
    """Films in GroupLens' layout whose titles are longer than any length that is asked for."""
    words = "night river glass stone light winter garden silent train letter shadow island summer".split()
    draw = random.Random(0)  # noqa: S311 - made-up films
    folder.mkdir(parents=True)
    (folder / "u.genre").write_text("".join(f"g{at}|{at}\n" for at in range(19)), encoding="latin-1")
    flags = "|".join(["0"] * 19)
    titles = [" ".join(draw.choice(words) for _ in range(90)) for _ in range(items)]
    lines = [f"{at}|{title} (1990)|01-Jan-1990||http://example.org|{flags}" for at, title in enumerate(titles, 1)]
    (folder / "u.item").write_text("\n".join(lines) + "\n", encoding="latin-1")
    people = [f"{user}|30|F|writer|00000" for user in range(1, USERS + 1)]
    (folder / "u.user").write_text("\n".join(people) + "\n", encoding="latin-1")
    rows = [
        f"{user}\t{item}\t{draw.randint(1, 5)}\t{880000000 + user * items + item}"
        for item in range(1, items + 1)
        for user in draw.sample(range(1, USERS + 1), 12)
    ]
    draw.shuffle(rows)
    (folder / "u1.base").write_text("\n".join(rows[items:]) + "\n", encoding="utf-8")
    (folder / "u1.test").write_text("\n".join(rows[:items]) + "\n", encoding="utf-8")


def _measured_apart(number: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--cell", str(number)]
    environment = {**os.environ, **ALLOCATOR, "HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"cell {number} failed:\n{done.stderr[-3000:]}")
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def _status(field: str) -> float:
    """A field of this process's status, in MiB."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 2**10
    raise SystemExit(f"/proc/self/status has no {field}: this benchmark needs Linux")


def _say(row: dict[str, Any]) -> None:
    asked = row["set"]
    precision = asked["backbone.quantization"]
    precision = asked["backbone.precision"] if precision == "none" else precision
    layers = asked["adapter"].get("layers", "")
    recomputed = " recomputed" if asked.get("training.gradient_checkpointing") else ""
    name = f"{asked['backbone.name']} {asked['adapter']['method']} {layers} {precision}"
    name += f" batch {asked['training.items_per_batch']}{recomputed}{' (held out)' if row['held_out'] else ''}"
    print(f"{name:60s} measured {row['measured_mib']:7.1f} predicted {row['predicted_mib']:7.1f} {row['ratio']:.3f}")


def _write(rows: list[dict[str, Any]]) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    ratios = [abs(row["ratio"] - 1.0) for row in rows]
    held = [abs(row["ratio"] - 1.0) for row in rows if row["held_out"]]
    report = {
        "command": "python benchmarks/footprint.py",
        "worst": round(max(ratios), 3),
        "worst_held_out": round(max(held), 3) if held else None,
        "cells": rows,
    }
    RESULTS.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

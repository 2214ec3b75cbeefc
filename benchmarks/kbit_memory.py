"""Peak memory and loss of a quantized training run, with and without `prepare_model_for_kbit_training`.

    python benchmarks/kbit_memory.py

Each way runs in a process of its own: (a) as `llmrec` loads (weights frozen, no cast), (b) PEFT's preparation, which
casts norms and embeddings to fp32, and (c) the same with gradient checkpointing, its default. LoRA in the top four
layers and a linear probe learn to tell which of two genres a made-up film title belongs to.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Self

RESULTS = Path(__file__).parent / "results" / "kbit_memory.json"
WAYS = ("plain", "prepared", "prepared+checkpointing")


def main() -> None:
    """Run every cell and write the summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", nargs="+", default=["smollm2", "minilm"])
    parser.add_argument("--quantization", nargs="+", default=["nf4", "int8"])
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--cell", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.cell:
        backbone, quantization, way, seed = given.cell
        print(json.dumps(_cell(backbone, quantization, way, int(seed), given.steps)))
        return
    cells = [
        _in_a_process(backbone, quantization, way, seed, given.steps)
        for backbone in given.backbone
        for quantization in given.quantization
        for way in WAYS
        for seed in range(given.seeds)
    ]
    from llmrec_peft.artifact.hardware import hardware, versions

    report = {
        "command": "python benchmarks/kbit_memory.py " + " ".join(sys.argv[1:]),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "steps": given.steps,
        "texts": len(_texts()),
        "hardware": hardware("cpu"),
        "versions": versions(),
        "rows": _rows(cells),
        "cells": cells,
    }
    given.out.parent.mkdir(exist_ok=True)
    given.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    for row in report["rows"]:
        print(row)


def _in_a_process(backbone: str, quantization: str, way: str, seed: int, steps: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--steps", str(steps), "--cell", backbone, quantization, way, str(seed)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "HF_HUB_OFFLINE": "1"}
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _texts() -> list[tuple[str, int]]:
    """32 titles of two genres."""
    nouns = ["Harbour", "Winter", "Letter", "Garden", "Bridge", "Stranger", "Mirror", "Island"]
    comedies = [f"My Funny {noun}, a comedy of errors" for noun in nouns] + [f"{noun} Goes Wrong" for noun in nouns]
    dramas = [f"The Last {noun}, a drama of loss" for noun in nouns] + [f"{noun} of Sorrow" for noun in nouns]
    return [*((text, 0) for text in comedies), *((text, 1) for text in dramas)]


def _cell(backbone: str, quantization: str, way: str, seed: int, steps: int) -> dict[str, Any]:
    """Train one way and say what it took."""
    import torch
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    from llmrec_peft.backbone.load import load_backbone
    from llmrec_peft.backbone.pooling import pool
    from llmrec_peft.recipe.sections import BackboneSection

    section = BackboneSection(name=backbone, quantization=quantization)
    base = load_backbone(section, torch.device("cpu"))
    loaded, weights = _held_mb(), _weights_mb(base.model)
    model: Any = base.model
    if way != "plain":
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=way.endswith("checkpointing"))
    prepared = _weights_mb(model)
    torch.manual_seed(seed)
    top = [module for module in base.shapes.linears if (module.layer or 0) >= base.depth - 4]
    targets = [module.name for module in top if module.leaf in ("q_proj", "v_proj", "query", "value")]
    config = LoraConfig(task_type="FEATURE_EXTRACTION", r=8, lora_alpha=16, target_modules=targets)
    tuned = get_peft_model(model, config).train()
    probe = torch.nn.Linear(base.width, 2)
    trained = [parameter for parameter in tuned.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW([{"params": trained, "lr": 1e-3}, {"params": probe.parameters(), "lr": 1e-2}])
    rows = base.tokenize([text for text, _ in _texts()], 64)
    longest = max(map(len, rows))
    ids = torch.tensor([row + [base.pad_id] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    labels = torch.tensor([label for _, label in _texts()])
    losses, started = [], time.monotonic()
    with _Peak() as peak:
        for _ in range(steps):
            states = tuned(input_ids=ids, attention_mask=mask).last_hidden_state
            vectors = torch.nn.functional.normalize(pool(states, mask, "mean").float(), dim=-1)
            loss: Any = torch.nn.functional.cross_entropy(probe(vectors), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(round(float(loss.detach()), 6))
    return {
        "backbone": backbone,
        "quantization": quantization,
        "way": way,
        "seed": seed,
        "compute": base.identity.compute,
        "weights_mb": round(prepared, 1),
        "weights_mb_added_by_preparing": round(prepared - weights, 1),
        "held_mb_after_loading": round(loaded, 1),
        "peak_mb_of_training": round(peak.mb, 1),
        "seconds_a_step": round((time.monotonic() - started) / steps, 3),
        "losses": losses,
    }


def _held_mb() -> float:
    """Memory of the process's own; pages of the weight file, which the kernel may drop, are not in it."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("RssAnon")).split()[1]) / 1024


def _weights_mb(model: Any) -> float:
    """Bytes of the frozen weights."""
    tensors = [*model.parameters(), *model.buffers()]
    return float(sum(tensor.numel() * tensor.element_size() for tensor in tensors)) / 2**20


class _Peak:
    """Most memory held while the block runs, looked at every 5 ms."""

    def __enter__(self) -> Self:
        self.mb = _held_mb()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.005):
            self.mb = max(self.mb, _held_mb())


def _rows(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means over seeds."""
    rows = []
    for key in dict.fromkeys((cell["backbone"], cell["quantization"], cell["way"]) for cell in cells):
        own = [cell for cell in cells if (cell["backbone"], cell["quantization"], cell["way"]) == key]
        last = [cell["losses"][-1] for cell in own]
        measured = (
            "weights_mb",
            "weights_mb_added_by_preparing",
            "held_mb_after_loading",
            "peak_mb_of_training",
            "seconds_a_step",
        )
        rows.append(
            {
                **dict(zip(("backbone", "quantization", "way"), key, strict=True)),
                **{name: round(statistics.fmean(cell[name] for cell in own), 3) for name in measured},
                "first_loss": round(statistics.fmean(cell["losses"][0] for cell in own), 4),
                "last_loss": round(statistics.fmean(last), 4),
                "last_loss_spread": round(max(last) - min(last), 4),
            }
        )
    return rows


if __name__ == "__main__":
    main()

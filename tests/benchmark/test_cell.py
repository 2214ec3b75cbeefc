"""A cell in its own process, beside what the kernel and stock peft say of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llmrec_peft.benchmark.cells import expand
from llmrec_peft.benchmark.matrix import Matrix

pytestmark = pytest.mark.trains

WRAPPER = """
import resource, subprocess, sys
subprocess.run([sys.executable, "-m", "llmrec_peft.benchmark.cell", *sys.argv[1:]], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
"""


@pytest.fixture(scope="module")
def measured(
    tiny_backbone: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], Path, float]:
    """The row of a cell, its run folder, and the most memory of its process as its parent knows it, in MiB."""
    folder = tmp_path_factory.mktemp("cell")
    plain = {
        "name": "m",
        "recipes": ["movies"],
        "adapters": [{"method": "lora", "rank": 3, "layers": "top-2"}],
        "set": {
            "data.path": str(tiny_data),
            "backbone.name": str(tiny_backbone),
            "signals.graph": False,
            "training.epochs": 2,
            "evaluation.ablations": [],
            "evaluation.bootstrap": 0,
        },
        "timing": {"texts": 4, "repeats": 5, "calls": 5, "seconds": 2},
    }
    (cell,) = expand(Matrix.from_plain(plain, "m.yaml"), Path("m.yaml"))
    (folder / "spec.json").write_text(json.dumps(cell.spec()), encoding="utf-8")
    paths = [str(folder / name) for name in ("spec.json", "row.json", "run")]
    done = subprocess.run([sys.executable, "-c", WRAPPER, *paths], capture_output=True, text=True, check=True)
    return json.loads((folder / "row.json").read_text(encoding="utf-8")), folder / "run", float(done.stdout)


def test_the_peak_is_what_the_parent_process_knows(measured: tuple[dict[str, Any], Path, float]) -> None:
    row, _, peak = measured
    assert row["peak_memory_mb"]["rss"] == pytest.approx(peak, rel=0.05)
    assert set(row["peak_memory_mb"]["phases"]) == {"train", "answer", "steps"}
    assert {"cuda", "cuda_reserved"} < set(row["peak_memory_mb"])


def test_the_adapters_parameters_are_those_that_peft_counts(
    measured: tuple[dict[str, Any], Path, float], tiny_backbone: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoModel

    row, run, _ = measured
    base = AutoModel.from_pretrained(tiny_backbone, add_pooling_layer=False)
    bare = sum(parameter.numel() for parameter in base.parameters())
    model = PeftModel.from_pretrained(base, str(run), is_trainable=True)
    counted = row["parameters"]
    assert (counted["adapter"], bare + counted["adapter"]) == model.get_nb_trainable_parameters()
    assert counted["trainable"] == sum(counted[part] for part in counted if part not in ("total", "trainable"))
    assert counted["total"] == bare + counted["trainable"]


def test_times_follow_from_the_fit(measured: tuple[dict[str, Any], Path, float]) -> None:
    row, *_ = measured
    seconds, training = row["seconds"], row["training"]
    assert len(training["seconds"]) == len(training["history"]) == len(training["tokens"]) == 2
    assert seconds["epoch"] == pytest.approx(training["seconds"][-1] / 2, abs=0.001)
    assert seconds["best"] == training["seconds"][training["epochs"] - 1]
    assert 0 < seconds["encode"] < seconds["train"] < seconds["total"] < seconds["cell"]
    assert seconds["prepare"] + seconds["train"] < seconds["total"] + 1.0
    assert row["tokens_per_s"] == pytest.approx(training["tokens"][-1] / training["seconds"][-1], rel=0.01)

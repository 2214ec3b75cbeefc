"""Results of a benchmark on disk: of made-up rows, or of one cell that was measured as a run was, with predictions."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from made_up_rows import MATRIX, made_up_row

from llmrec_peft.benchmark.cell import accuracy
from llmrec_peft.benchmark.process import COMPARED
from llmrec_peft.benchmark.report import assemble, write_report
from llmrec_peft.recipe.yaml_file import parse_yaml

KEPT = "films-lora-seed-1-0123abcd"
"""Name of the folder of the cell's predictions."""


def written(folder: Path, rows: list[dict[str, Any]]) -> Path:
    """Write the report of some rows."""
    folder.mkdir(exist_ok=True)
    write_report(assemble(MATRIX, rows), folder)
    return folder


def result_of(run: Path, folder: Path) -> Path:
    """Write a result of one cell that was measured as this run, with its predictions."""
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    kept = folder / "predictions" / KEPT
    kept.mkdir(parents=True)
    for name in COMPARED:
        shutil.copyfile(run / name, kept / name)
    row = made_up_row(
        "lora",
        1,
        0.0,
        accuracy=accuracy(metrics, None),
        recipe=parse_yaml((run / "recipe.yaml").read_text(encoding="utf-8"), "recipe.yaml"),
        data={"name": "Films", "test": metrics["data"]["test"]},
        **{name: metrics[name] for name in ("parameters", "base")},
    )
    return written(folder, [row])

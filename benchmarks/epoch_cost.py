"""What an epoch with an adapter costs: it grows with the distinct texts, not with the interactions.

    python benchmarks/epoch_cost.py --data DIR

Each size is trained for one epoch and for three, each run a process of its own; half the difference is an epoch.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULT = Path(__file__).parent / "results" / "epoch_cost.json"
SIZES = {
    "all": [],
    "half of the interactions": ["data.train_size=36000"],
    "a quarter of the interactions": ["data.train_size=18000"],
    "half of the texts": ["data.max_items=840"],
}
FIXED = (
    "data.split=random", "training.adapter_epochs=null", "training.patience=null", "training.refit=false",
    "training.validate_on=100", "training.schedule=constant", "evaluation.bootstrap=0", "evaluation.blend=false",
)  # fmt: skip


def main() -> None:
    """Measure every size and write what it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the datasets")
    data = parser.parse_args().data / "ml-100k"
    rows: list[dict[str, Any]] = []
    for name, changes in SIZES.items():
        runs = {epochs: _run(data, [*changes, f"training.epochs={epochs}"]) for epochs in (1, 3)}
        told = runs[3]
        seconds = (runs[3]["seconds"]["train"] - runs[1]["seconds"]["train"]) / 2.0
        row = {"size": name, "texts": told["data"]["items"], "interactions": told["data"]["train"], "seconds": seconds}
        rows.append(row)
        print(f"{name:32s} {row['texts']:6d} texts {row['interactions']:7d} interactions  {seconds:.2f} s an epoch")
        report = {"date": datetime.now(UTC).date().isoformat(), "hardware": told["hardware"], "rows": rows}
        RESULT.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def _run(data: Path, changes: list[str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        command = [str(Path(sys.executable).with_name("llmrec")), "train", "movies", "--json", "--quiet"]
        command += [
            "--data",
            str(data),
            "--out",
            f"{folder}/run",
            *(word for change in (*FIXED, *changes) for word in ("--set", change)),
        ]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


if __name__ == "__main__":
    main()

"""What a training step costs as the data grows: by interactions, and by rows of the tables.

    python benchmarks/step_cost.py [--commit NAME] [--out FILE]

Made-up ratings (`made_up.py`) are trained on in random batches by the collaborative signal with all its histories.
`--commit` measures an earlier commit of this repository, which is unpacked into a temporary folder.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULT = Path(__file__).parent / "results" / "step_cost.json"
SIZES = {
    "80 k": (80_000, 32_000, 4_000),
    "320 k": (320_000, 32_000, 4_000),
    "1.28 M": (1_280_000, 32_000, 4_000),
    "5.12 M": (5_120_000, 32_000, 4_000),
    "1.28 M of 128,000 users": (1_280_000, 128_000, 4_000),
    "1.28 M, large tables": (1_280_000, 80_000, 200_000),
}
"""Ratings, users, items."""
DIM, BATCH, STEPS = 32, 1024, 30


def main() -> None:
    """Measure every size, each in a process of its own, and write what a step took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--commit", help="commit to measure in place of the working tree")
    parser.add_argument("--out", type=Path, default=RESULT, help="JSON file to write")
    parser.add_argument("--size", choices=SIZES, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.size:
        print(json.dumps(measured(*SIZES[asked.size])))
        return
    with tempfile.TemporaryDirectory() as folder:
        source = ROOT if asked.commit is None else _unpacked(asked.commit, Path(folder))
        rows = {name: _apart(name, source) for name in SIZES}
    first, last = rows["80 k"], rows["5.12 M"]
    growth = math.log(last["step_ms"] / first["step_ms"]) / math.log(SIZES["5.12 M"][0] / SIZES["80 k"][0])
    report = {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": asked.commit or "working tree",
        "dim": DIM,
        "batch_size": BATCH,
        "exponent_in_interactions": round(growth, 3),
        "rows": rows,
    }
    asked.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=2))


def measured(interactions: int, users: int, items: int) -> dict[str, Any]:
    """Train some steps in this process and return the median of their times, in milliseconds, and peak memory.

    Times are those of the processor in one thread: what else the machine does matters little to them.
    """
    import time

    import numpy as np
    import torch
    from accelerate import Accelerator
    from made_up import made_up

    from llmrec_peft import registry
    from llmrec_peft.data.interactions import Interactions
    from llmrec_peft.heads.contract import HeadContext
    from llmrec_peft.model.rec_model import RecModel
    from llmrec_peft.recipe.sections import GroupSection, TrainingSection
    from llmrec_peft.signals.contract import SignalContext
    from llmrec_peft.training import loop
    from llmrec_peft.training.checkpoint import Checkpoint
    from llmrec_peft.training.memory import peak_rss_mb

    torch.set_num_threads(1)
    table = made_up(interactions, users, items).interactions.data.table
    user, item = (
        table[name].combine_chunks().dictionary_encode().indices.to_numpy() for name in ("user_id", "item_id")
    )
    train = Interactions(
        user.astype(np.int64) + 1,
        item.astype(np.int64) + 1,
        table["rating"].to_numpy().astype(np.float32),
        table["timestamp"].to_numpy().astype(np.int64),
    )
    torch.manual_seed(0)
    signal = registry.get("signals", "collaborative")(registry.get("signals", "collaborative").Config())
    signal.parts = signal.build(SignalContext(users + 1, items + 1, DIM, train, None, None))
    head = registry.get("heads", "rating")(registry.get("heads", "rating").Config())
    head.parts = head.build(HeadContext(DIM, float(train.label.mean()), (1.0, 5.0)))
    model = RecModel({"collaborative": signal}, {"rating": head})
    group = GroupSection(learning_rate=0.002, weight_decay=3.0)
    section = TrainingSection(
        batching="random", batch_size=BATCH, embeddings=group, average=0.99, epochs=1, checkpoint_seconds=1e9
    )
    times: list[float] = []
    real = loop.Batch.of

    def of(*given: Any, **named: Any) -> Any:
        times.append(time.process_time())
        if len(times) > STEPS:
            raise _EnoughError
        return real(*given, **named)

    loop.Batch.of = of  # type: ignore[method-assign,assignment]
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Checkpoint(Path(folder) / "fit")
        with contextlib.suppress(_EnoughError):
            loop.fit(model, train, section, 0, Accelerator(cpu=True), checkpoint, "step cost")
    steps = np.diff(times)[5:] * 1000.0
    return {
        "interactions": interactions,
        "users": users,
        "items": items,
        "step_ms": round(float(np.median(steps)), 2),
        "peak_rss_mb": round(peak_rss_mb()),
    }


class _EnoughError(Exception):
    """As many steps as are measured were taken."""


def _apart(name: str, source: Path) -> dict[str, Any]:
    """Measure one size in a process of its own, with the package in a folder."""
    paths = [str(source), str(source / "adapters"), str(source / "recipes"), str(Path(__file__).parent)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--size", name]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"{name:24s} {row['step_ms']:8.2f} ms a step, {row['peak_rss_mb']} MB", file=sys.stderr)
    return row


def _unpacked(commit: str, folder: Path) -> Path:
    """Unpack a commit of this repository."""
    archive = folder / "source.tar"
    subprocess.run(["git", "archive", "-o", str(archive), commit], cwd=ROOT, check=True)
    subprocess.run(["tar", "-xf", str(archive), "-C", str(folder)], check=True)
    return folder


if __name__ == "__main__":
    main()

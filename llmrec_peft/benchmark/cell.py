"""Cell: one measurement of a benchmark, in a process of its own: train, weigh, time, and write one JSON file.

python -m llmrec_peft.benchmark.cell SPEC.json OUT.json RUN
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from llmrec_peft.artifact.folder import whole_file
from llmrec_peft.benchmark.matrix import Timing
from llmrec_peft.errors import InputError
from llmrec_peft.recipe import Recipe


def measure(spec: dict[str, Any], run: Path) -> dict[str, Any]:
    """Train a cell's recipe and measure what a report needs.

    Args:
        spec: What `Cell.spec` gave.
        run: Run folder to make; it is left there.

    Returns:
        The cell's row as plain values.

    Raises:
        InputError: When the recipe cannot be run.
    """
    from llmrec_peft.benchmark.latency import answer_latency, step_latency
    from llmrec_peft.run.recommender import Recommender
    from llmrec_peft.training.memory import peak_cuda_mb, peak_rss_mb
    from llmrec_peft.workflows.train import train

    started = time.monotonic()
    recipe = Recipe.from_plain(spec["recipe"])
    timing = Timing.model_validate(spec["timing"])
    metrics = train(recipe, run, overwrite=True, show=False)
    memory = {"rss": round(peak_rss_mb(), 1), "cuda": peak_cuda_mb()}  # before the models that are only timed
    recommender = Recommender.from_pretrained(run)
    # texts of middling length first, whatever the order of the file
    texts = sorted(recommender.items.texts, key=lambda text: (len(text), text))
    start = max(0, (len(texts) - timing.texts) // 2)
    sample = texts[start : start + timing.texts]
    answers = answer_latency(recommender, sample, timing)
    del recommender
    return {
        "axes": spec["axes"],
        "key": spec["key"],
        "status": "ok",
        "reason": None,
        "accuracy": accuracy(metrics, spec["slice"]),
        "parameters": metrics["parameters"],
        "adapter_bytes": _bytes(run / "adapter_model.safetensors"),
        "steps": step_latency(recipe, sample, timing),
        "answers": answers,
        "peak_memory_mb": memory,
        "seconds": {**metrics["seconds"], "cell": round(time.monotonic() - started, 3)},
        "training": metrics["training"],
        "base": metrics["base"],
        "data": metrics["data"],
        "hardware": metrics["hardware"],
        "versions": metrics["versions"],
        "recipe": spec["recipe"],
    }


def accuracy(metrics: dict[str, Any], slice_name: str | None) -> dict[str, Any]:
    """The primary figure of a run beside the trivial lines.

    Args:
        metrics: A run's metrics.
        slice_name: Items whose test figures are meant; None for all.

    Returns:
        ``metric``, ``lower_is_better``, ``slice``, ``n`` (test interactions), and ``valid`` and ``test`` figures
        of ``after``, ``before`` and each baseline. Validation is always the whole validation part.

    Raises:
        InputError: When the slice is empty.
    """
    from llmrec_peft import registry

    metric = metrics["primary_metric"]
    test = metrics["test"] if slice_name is None else metrics["slices"][slice_name]
    n = metrics["data"]["test"] if slice_name is None else test["n"]
    if n == 0:
        raise InputError(f"slice: the test part has no {str(slice_name).replace('_', ' ')}")

    def row(part: dict[str, Any]) -> dict[str, float]:
        baselines = {name: figures[metric] for name, figures in part["baselines"].items()}
        return {"after": part["after"][metric], "before": part["before"][metric], **baselines}

    return {
        "metric": metric,
        "lower_is_better": registry.get("heads", metrics["head"]).lower_is_better,
        "slice": slice_name,
        "n": n,
        "trivial": list(test["baselines"]),
        "valid": row(metrics["valid"]),
        "test": row(test),
    }


def main(arguments: list[str]) -> int:
    """Measure the cell of a spec file; 2 and one line on stderr where its input is wrong."""
    spec, out, run = (Path(argument) for argument in arguments)
    try:
        row = measure(json.loads(spec.read_text(encoding="utf-8")), run)
        with whole_file(out) as partial:
            partial.write_text(json.dumps(row, indent=2) + "\n", encoding="utf-8")
    except InputError as error:
        sys.stderr.write("error: " + " ".join(str(error).split()) + "\n")
        return 2
    return 0


def _bytes(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command sets it, before torch is imported
    sys.exit(main(sys.argv[1:]))

"""Cell: one measurement of a benchmark in its own process: train, measure memory and times, write one JSON file.

python -m llmrec_peft.benchmark.cell SPEC.json OUT.json RUN
"""

from __future__ import annotations

import datetime
import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmrec_peft.artifact.folder import whole_file
from llmrec_peft.backbone.remote_code import allowing
from llmrec_peft.benchmark.sections import Timing
from llmrec_peft.errors import InputError
from llmrec_peft.printable import say
from llmrec_peft.recipe import Recipe

_KEPT = ("parameters", "training", "base", "data", "hardware", "versions")


def measure(spec: dict[str, Any], run: Path) -> dict[str, Any]:
    """Train a cell's recipe and measure what a report needs.

    A cell that is not timed resumes from what an interrupted process of the same cell left.

    Args:
        spec: Result of `Cell.spec`.
        run: Run folder to write; it is not removed.

    Returns:
        The cell's row as plain values.

    Raises:
        InputError: If the recipe cannot be run.
    """
    from llmrec_peft.training.memory import peak_cuda_mb, peak_rss_mb
    from llmrec_peft.workflows.train import train

    started = time.monotonic()
    recipe = Recipe.from_plain(spec["recipe"])
    timed = spec["timing"] is not None
    metrics = train(recipe, run, resume=not timed, overwrite=timed, show=False)
    memory = {"rss": round(peak_rss_mb(), 1), "cuda": peak_cuda_mb()}  # before the models that are only timed
    latencies = _latencies(recipe, run, Timing.model_validate(spec["timing"])) if timed else {}
    return {
        "axes": spec["axes"],
        "key": spec["key"],
        "status": "ok",
        "reason": None,
        "date": datetime.date.today().isoformat(),
        "accuracy": accuracy(metrics, spec["slice"]),
        "adapter_bytes": _bytes(run / "adapter_model.safetensors"),
        **latencies,
        "peak_memory_mb": memory if timed else metrics["peak_memory_mb"],
        "seconds": {**metrics["seconds"], "cell": round(time.monotonic() - started, 3)},
        **{key: metrics[key] for key in _KEPT},
        "recipe": spec["recipe"],
    }


def accuracy(metrics: Mapping[str, Any], slice_name: str | None) -> dict[str, Any]:
    """Collect the figures of a run's models.

    Args:
        metrics: A run's metrics.
        slice_name: Items whose test figures are reported; None for all.

    Returns:
        ``metric`` (the primary one), ``lower_is_better``, ``slice``, ``n`` (test interactions), ``baselines`` (their
        names), ``best_baseline``, and as ``valid`` and ``test`` every metric of every model by its name. Validation is
        always the whole validation part. ``slices`` has the same by items, ``comparisons`` the run's own intervals.

    Raises:
        InputError: If the slice is empty.
    """
    from llmrec_peft import registry

    test = metrics["test"] if slice_name is None else metrics["slices"][slice_name]
    n = metrics["data"]["test"] if slice_name is None else test["n"]
    if n == 0:
        raise InputError(f"slice: the test part has no {str(slice_name).replace('_', ' ')}")
    return {
        "metric": metrics["primary_metric"],
        "lower_is_better": registry.get("heads", metrics["head"]).lower_is_better,
        "slice": slice_name,
        "n": n,
        "baselines": list(test["baselines"]),
        "best_baseline": metrics.get("best_baseline", metrics.get("line")),
        "blend_share_of_best_baseline": metrics.get("blend_share_of_best_baseline", metrics.get("blend_share_of_line")),
        "valid": by_model(metrics["valid"]),
        "test": by_model(test),
        "slices": {name: {"n": part["n"], "test": by_model(part)} for name, part in metrics.get("slices", {}).items()},
        "comparisons": metrics["comparisons"],
    }


def by_model(part: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Return figures of one part of ``metrics.json`` by model: `before`, `after`, `blend`, baselines and ablations."""
    named = {name: part[name] for name in ("before", "after", "blend") if name in part}
    return {**named, **part.get("baselines", {}), **part.get("ablations", {})}


def main(arguments: list[str]) -> int:
    """Measure the cell of a spec file; return 2, with one line on stderr, if its input is wrong."""
    spec, out, run = (Path(argument) for argument in arguments)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    try:
        asked = json.loads(spec.read_text(encoding="utf-8"))
        with allowing(asked.get("trust_remote_code", False)):
            row = measure(asked, run)
        with whole_file(out) as partial:
            partial.write_text(json.dumps(row, indent=2) + "\n", encoding="utf-8")
    except InputError as error:
        say(f"error: {error}")
        return 2
    return 0


def _latencies(recipe: Recipe, run: Path, timing: Timing) -> dict[str, Any]:
    """Measure training steps and answers on texts of medium length, independent of their order in the file."""
    from llmrec_peft.benchmark.latency import answer_latency, step_latency
    from llmrec_peft.run.recommender import Recommender

    recommender = Recommender.from_pretrained(run)
    texts = sorted(recommender.items.texts, key=lambda text: (len(text), text))
    start = max(0, (len(texts) - timing.texts) // 2)
    sample = texts[start : start + timing.texts]
    answers = answer_latency(recommender, sample, timing)
    del recommender
    return {"steps": step_latency(recipe, sample, timing), "answers": answers}


def _end_with(runner: int) -> None:
    """End this process when the runner is gone: a runner that was killed cannot end its cells."""
    while os.getppid() == runner:
        time.sleep(1.0)
    os._exit(1)


def _bytes(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command sets it, before torch is imported
    sys.exit(main(sys.argv[1:]))

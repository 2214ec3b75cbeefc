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
from typing import TYPE_CHECKING, Any

from llmrec_peft.artifact.folder import whole_file
from llmrec_peft.backbone.remote_code import allowing
from llmrec_peft.benchmark.code_digest import code_digest
from llmrec_peft.benchmark.fingerprint import Fingerprints
from llmrec_peft.benchmark.sections import Timing
from llmrec_peft.errors import InputError
from llmrec_peft.printable import say
from llmrec_peft.recipe import Recipe

if TYPE_CHECKING:
    from llmrec_peft.benchmark.phases import Phases

_KEPT = ("parameters", "training", "base", "hardware", "versions")


def measure(spec: dict[str, Any], run: Path) -> dict[str, Any]:
    """Train a cell's recipe and measure what a report needs.

    A cell that is not timed resumes from what an interrupted process of the same cell left.

    Args:
        spec: Result of `Cell.spec`, and how many cells run ``at_a_time``.
        run: Run folder to write; it is not removed.

    Returns:
        The cell's row as plain values.

    Raises:
        InputError: If the recipe cannot be run.
    """
    from llmrec_peft.benchmark.phases import Phases
    from llmrec_peft.workflows.train import train

    started = time.monotonic()
    recipe = Recipe.from_plain(spec["recipe"])
    _require_unchanged(spec, recipe)
    timing = None if spec["timing"] is None else Timing.model_validate(spec["timing"])
    timed = timing is not None
    with Phases() as phases:
        with phases.phase("train"):
            metrics = train(recipe, run, resume=not timed, overwrite=timed, show=False)
        latencies = {} if timing is None else _latencies(recipe, run, timing, phases)
    return {
        "axes": spec["axes"],
        "key": spec["key"],
        "status": "ok",
        "reason": None,
        "date": datetime.date.today().isoformat(),
        "at_a_time": spec.get("at_a_time", 1),
        "accuracy": accuracy(metrics, spec["slice"]),
        "adapter_bytes": _bytes(run / "adapter_model.safetensors"),
        **latencies,
        "tokens_per_s": tokens_per_s(metrics["training"]),
        "energy_j": phases.joules("train"),
        "peak_memory_mb": _with_earlier(phases.memory(), metrics["peak_memory_mb"]),
        "seconds": {
            **metrics["seconds"],
            **epoch_seconds(metrics["training"]),
            "cell": round(time.monotonic() - started, 3),
        },
        **{key: metrics[key] for key in _KEPT},
        "data": {**metrics["data"], "fingerprint": spec["fingerprint"]},
        "code": spec["code"],
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
    """Return figures of one part of ``metrics.json`` by model: the run's own models, baselines and ablations."""
    named = {name: part[name] for name in ("before", "after", "blend", "recommended") if name in part}
    return {**named, **part.get("baselines", {}), **part.get("ablations", {})}


def epoch_seconds(training: Mapping[str, Any]) -> dict[str, float | None]:
    """Return what an epoch of the tuned model's fit took on average, and how long it took until the best one's end.

    Args:
        training: ``training`` of a run's metrics: ``seconds`` of the fit at each epoch's end, validation included.

    >>> epoch_seconds({"epochs": 2, "seconds": [2.0, 3.5, 6.0]})
    {'epoch': 2.0, 'best': 3.5}
    >>> epoch_seconds({"epochs": 0, "seconds": []})
    {'epoch': None, 'best': None}
    """
    ends, best = training["seconds"], training["epochs"]
    return {
        "epoch": round(ends[-1] / len(ends), 3) if ends else None,
        "best": ends[best - 1] if 0 < best <= len(ends) else None,
    }


def tokens_per_s(training: Mapping[str, Any]) -> float | None:
    """Return the tokens of texts that the adapter was trained on, for each second of the epochs in which it was.

    Args:
        training: ``training`` of a run's metrics: ``seconds`` and ``tokens`` at each epoch's end, from the beginning.

    Returns:
        Tokens a second, padding not counted and validation included in the time; None where nothing was tuned.

    >>> tokens_per_s({"seconds": [2.0, 4.0, 4.5], "tokens": [500, 1000, 1000]})  # frozen after two epochs
    250.0
    """
    ends, tokens = training["seconds"], training["tokens"]
    if not tokens or not tokens[-1] or not ends:
        return None
    seconds = ends[tokens.index(tokens[-1])]
    return round(tokens[-1] / seconds, 1) if seconds else None


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


def _latencies(recipe: Recipe, run: Path, timing: Timing, phases: Phases) -> dict[str, Any]:
    """Measure answers and training steps on texts of medium length, independent of their order in the file."""
    from llmrec_peft.benchmark.answers import Answers, throughput
    from llmrec_peft.benchmark.step_latency import step_latency
    from llmrec_peft.run.recommender import Recommender

    with phases.phase("answer"):
        recommender = Recommender.from_pretrained(run)
        texts = sorted(recommender.items.texts, key=lambda text: (len(text), text))
        start = max(0, (len(texts) - timing.texts) // 2)
        sample = texts[start : start + timing.texts]
        answers = Answers(recommender, sample, timing)
        answers.once()
    latency = answers.latency_ms()
    del recommender, answers
    measured = {"latency_ms": latency, "throughput": throughput(latency)}
    if timing.steps:
        with phases.phase("steps"):
            measured["steps"] = step_latency(recipe, sample, timing)
    return measured


def _require_unchanged(spec: Mapping[str, Any], recipe: Recipe) -> None:
    """Refuse to measure other code or data than those under whose digests the row would be kept."""
    if code_digest(recipe) != spec["code"]:
        raise InputError("the code was changed while the benchmark was running: start it again")
    if Fingerprints().of_data(recipe) != spec["fingerprint"]:
        raise InputError("the data were changed while the benchmark was running: start it again")


def _with_earlier(memory: dict[str, Any], of_run: Mapping[str, Any]) -> dict[str, Any]:
    """Return the peaks with those of an interrupted process whose training this one went on with."""
    train = memory["phases"]["train"]
    train["rss"] = max(train["rss"], of_run["rss"])
    return {**memory, "rss": max(memory["rss"], train["rss"])}


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

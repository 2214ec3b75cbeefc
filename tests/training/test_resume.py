"""Killed at any moment and resumed, a training ends exactly as if it had never been killed."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmrec_peft.errors import InputError
from llmrec_peft.experiment.fitting import FittedVariant
from llmrec_peft.training import lazy_table, lazy_tables
from llmrec_peft.training.checkpoint import Checkpoint

pytestmark = pytest.mark.trains

KILLS = 5
LEAST_STEPS = 14 * 27
"""Fewer steps than the run below takes: three fits of 4 epochs and three refits of at least one, 27 steps each."""
TENSORS = ("adapter_model.safetensors", "head.safetensors", "signals.safetensors", "item_vectors.safetensors")


class _KilledError(Exception):
    """Stands for a kill inside this process."""


def _killer(monkeypatch: pytest.MonkeyPatch, saves: int, after: bool) -> None:
    """Let the n-th save raise, before or after it has written."""
    real, left = Checkpoint.save, [saves]

    def save(self: Checkpoint, *arguments: Any) -> None:
        left[0] -= 1
        if left[0] == 0 and not after:
            raise _KilledError
        real(self, *arguments)
        if left[0] == 0:
            raise _KilledError

    monkeypatch.setattr(Checkpoint, "save", save)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="average-and-held-adapter"),
        pytest.param({"training__average": 0.0, "training__adapter_epochs": None}, id="plain"),
        pytest.param({"training__batching": "random", "training__batch_size": 64}, id="random-batches"),
        pytest.param({"lazy_from": 64, "training__batching": "random", "training__batch_size": 64}, id="lazy-tables"),
        pytest.param({"training__accumulate": 3, "training__items_per_batch": 3}, id="accumulation"),
        pytest.param({"training__epochs": 6, "training__patience": 1}, id="early-stopping"),
        pytest.param(
            {"adapter": {"method": "adalora", "rank": 2, "initial_rank": 4, "layers": "top-2"}}, id="ranks-given-out"
        ),
        pytest.param(
            {"adapter": {"method": "lora", "start": "pissa", "rate_ratio": 4, "layers": "top-2"}}, id="start-and-rates"
        ),
    ],
)
def test_fit_resumed_after_many_kills_is_the_uninterrupted_one(
    changes: dict[str, Any],
    setting: Callable[..., Any],
    digest_of: Callable[[FittedVariant], Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lazy_tables, "LAZY_FROM", changes.get("lazy_from", lazy_tables.LAZY_FROM))
    monkeypatch.setattr(lazy_table, "MUCH", 1.0)
    chosen = setting(**{name: value for name, value in changes.items() if name != "lazy_from"})
    expected = digest_of(chosen.fit(tmp_path / "whole"))
    rng = random.Random(7)
    kills = 0
    for _ in range(40):
        with monkeypatch.context() as patch:
            _killer(patch, rng.randint(1, 6), after=rng.random() < 0.5)
            try:
                resumed = chosen.fit(tmp_path / "killed")
                break
            except _KilledError:
                kills += 1
    else:
        resumed = chosen.fit(tmp_path / "killed")
    assert kills >= 4
    assert digest_of(resumed) == expected


def test_uninterrupted_fits_agree_and_another_seed_does_not(
    setting: Callable[..., Any], digest_of: Callable[[FittedVariant], Any], tmp_path: Path
) -> None:
    """Without it the comparisons of this file could hold by comparing nothing."""
    first = digest_of(setting().fit(tmp_path / "a"))
    assert digest_of(setting().fit(tmp_path / "b")) == first
    other = digest_of(setting(seed=2).fit(tmp_path / "c"))
    assert other[0] != first[0]
    assert other[1] != first[1]


def test_finished_fit_is_taken_up_without_training(
    setting: Callable[..., Any],
    digest_of: Callable[[FittedVariant], Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = digest_of(setting().fit(tmp_path))
    saves: list[Any] = []
    monkeypatch.setattr(Checkpoint, "save", lambda *arguments: saves.append(arguments))
    assert digest_of(setting().fit(tmp_path)) == expected
    assert saves == []


def _command(data: Path, backbone: Path, out: Path, *more: str) -> list[str]:
    settings = [
        f"backbone.name={backbone}",
        "backbone.precision=fp32",
        "adapter.layers=top-2",
        "adapter.dropout=0.1",
        "signals.text.dropout=0.2",
        "signals.collaborative.item_dropout=0.1",
        "head.dropout=0.2",
        "training.epochs=4",
        "training.patience=null",
        "training.adapter_epochs=2",
        "training.average=0.99",
        "training.batching=random",
        "training.batch_size=16",
        "training.checkpoint_seconds=0",
        "evaluation.ablations=[adapter]",
        "evaluation.bootstrap=50",
    ]
    sets = [argument for setting in settings for argument in ("--set", setting)]
    command = [sys.executable, "-m", "llmrec_peft.cli.main", "train", "movies", "--data", str(data), "--quiet"]
    return [*command, "--out", str(out), *sets, *more]


def _start(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with log.open("ab") as file:
        return subprocess.Popen(command, stdout=file, stderr=file, env=environment)


def _steps(work: Path) -> int:
    """Optimizer steps in all checkpoints so far."""
    steps = 0
    for path in [*work.glob("*/fit/progress.json"), *work.glob("*/refit/progress.json")]:
        with contextlib.suppress(OSError, ValueError):  # the training is replacing it
            steps += json.loads(path.read_text(encoding="utf-8"))["step"]
    return steps


def _killed_past(process: subprocess.Popen[bytes], work: Path, steps: int, delay: float) -> bool:
    """Kill -9 a moment after so many steps are done; False where the process ended before."""
    while process.poll() is None and _steps(work) < steps:
        time.sleep(0.005)
    try:
        process.wait(delay)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return True
    return False


def _figures(run: Path) -> dict[str, Any]:
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    metrics["training"].pop("seconds")
    return {name: metrics[name] for name in ("test", "valid", "slices", "comparisons", "training")}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_run_killed_five_times_and_resumed_is_the_uninterrupted_run(
    tiny_data: Path, tiny_backbone: Path, tmp_path: Path
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    log = tmp_path / "log"
    uninterrupted = _start(_command(tiny_data, tiny_backbone, whole), tmp_path / "whole-log")
    rng = random.Random(21)
    moments = [(step, round(rng.uniform(0.0, 0.15), 3)) for step in sorted(rng.sample(range(1, LEAST_STEPS), KILLS))]
    print("killed after (steps, seconds):", moments)  # noqa: T201
    work = tmp_path / ".killed.training"
    phases: set[str] = set()
    for step, delay in moments:
        process = _start(_command(tiny_data, tiny_backbone, killed, "--resume"), log)
        assert _killed_past(process, work, step, delay), f"ended before the kill: {log.read_text()[-2000:]}"
        phases |= {str(path.parent.relative_to(work)) for path in work.glob("*/*fit/progress.json")}
    assert phases >= {"before/fit", "before/refit", "after/fit"}
    assert not killed.exists()
    last = _start(_command(tiny_data, tiny_backbone, killed, "--resume"), log)
    assert last.wait(240) == 0, log.read_text()[-2000:]
    assert uninterrupted.wait(240) == 0, (tmp_path / "whole-log").read_text()[-2000:]
    for name in TENSORS:
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name
    assert _figures(killed) == _figures(whole)
    assert not work.exists()


def test_interrupted_run_is_not_taken_for_a_new_one_nor_for_another_recipe(
    tiny_data: Path, tiny_backbone: Path, tmp_path: Path
) -> None:
    from llmrec_peft.recipe import load_recipe
    from llmrec_peft.workflows.train import train

    changes = {"data.path": str(tiny_data), "backbone.name": str(tiny_backbone), "training.epochs": 1}
    recipe = load_recipe("movies", changes=changes)
    run, calls = tmp_path / "run", [0]

    def interrupt(*_: object, **__: object) -> None:
        calls[0] += 1
        raise _KilledError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("llmrec_peft.workflows.train.fit_variant", interrupt)
        with pytest.raises(_KilledError):
            train(recipe, run, show=False)
    assert calls == [1]
    assert not run.exists()
    with pytest.raises(
        InputError, match=r"an interrupted run of .* is there: --resume goes on, --overwrite starts over"
    ):
        train(recipe, run, show=False)
    with pytest.raises(InputError, match="was begun otherwise: seed is 9, was 1: resume it with the same settings"):
        train(recipe.changed({"seed": 9}), run, resume=True, show=False)
    assert (tmp_path / ".run.training" / "identity.json").is_file(), "a refusal throws nobody's checkpoints away"

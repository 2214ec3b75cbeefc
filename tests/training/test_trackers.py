"""Trackers: figures of every epoch reach TensorBoard's files in the run folder, and W&B offline."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmrec_peft.errors import InputError
from llmrec_peft.recipe import Recipe, load_recipe
from llmrec_peft.workflows.train import train

pytestmark = pytest.mark.trains


@pytest.fixture
def short(tiny_data: Path, tiny_backbone: Path) -> Callable[..., Recipe]:
    """A recipe of two epochs with trackers."""

    def make(*trackers: str) -> Recipe:
        changes: dict[str, Any] = {
            "data.path": str(tiny_data),
            "backbone.name": str(tiny_backbone),
            "training.epochs": 2,
            "training.refit": False,
            "training.trackers": list(trackers),
            "evaluation.bootstrap": 0,
        }
        return load_recipe("movies", changes=changes)

    return make


def test_tensorboard_files_in_the_run_hold_loss_and_validation_figures(
    short: Callable[..., Recipe], tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    metrics = train(short("tensorboard"), tmp_path / "run", show=False)
    files = list((tmp_path / "run" / "logs").rglob("events.out.tfevents.*"))
    assert files
    figures: dict[str, list[float]] = {}
    for folder in {file.parent for file in files}:
        events = EventAccumulator(str(folder))
        events.Reload()
        for tag in events.Tags()["scalars"]:
            figures.setdefault(tag, []).extend(event.value for event in events.Scalars(tag))
    assert {"loss", "epoch", "valid_rmse"} <= figures.keys()
    assert all(loss > 0 for loss in figures["loss"])
    for figure in metrics["training"]["history"]:
        assert any(logged == pytest.approx(figure, abs=1e-5) for logged in figures["valid_rmse"])


def test_run_without_trackers_has_no_logs(tiny_run: Path) -> None:
    assert not (tiny_run / "logs").exists()


def test_tracker_that_is_not_installed_is_named_before_anything_is_written(
    short: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "wandb" else real(name, *rest))
    with pytest.raises(InputError, match=r"training\.trackers: wandb is not installed: pip install"):
        train(short("wandb"), tmp_path / "run", show=False)
    assert list(tmp_path.iterdir()) == []


def test_wandb_offline_keeps_its_run_on_this_machine(short: Callable[..., Recipe], tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    (tmp_path / "recipe.yaml").write_text(short("wandb").to_yaml(), encoding="utf-8")
    places = {"WANDB_DIR": tmp_path, "WANDB_CACHE_DIR": tmp_path / "cache", "WANDB_CONFIG_DIR": tmp_path / "config"}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "llmrec_peft.cli.main",
            "train",
            tmp_path / "recipe.yaml",
            "--out",
            tmp_path / "run",
            "-q",
        ],
        env={**os.environ, "WANDB_MODE": "offline", **{name: str(path) for name, path in places.items()}},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "run" / "metrics.json").is_file()
    assert list(tmp_path.rglob("*.wandb"))

"""Every command that writes, killed at many random moments: the old state or the new one, and it goes on."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from kills import (
    Killed,
    download,
    file_state,
    folder_state,
    kill_at_random_moments,
    pack,
    rows_state,
    run_state,
    update_of,
    watch_of,
)

from llmrec_peft.recipe import Recipe

pytestmark = [pytest.mark.trains, pytest.mark.slow, pytest.mark.timeout(3600)]
KILLS = int(os.environ.get("LLMREC_SOAK_KILLS", "8"))
SEED = int(os.environ.get("LLMREC_SOAK_SEED", "1"))
FEW = ("training.epochs=3", "training.refit=false", "evaluation.bootstrap=0", "evaluation.ablations=[]")
OTHERS = ("evaluation.collaborative_only=false", "evaluation.blend=false", "training.checkpoint_seconds=0")


def nothing(_: Path) -> None:
    """Prepare nothing."""


def train_arguments(data: Path, backbone: Path, *more: str) -> list[str]:
    settings = (f"backbone.name={backbone}", "backbone.precision=fp32", *FEW, *OTHERS)
    sets = [argument for setting in settings for argument in ("--set", setting)]
    return ["train", "movies", "--data", str(data), "--out", "run", "-q", *sets, *more]


def test_train(tiny_data: Path, tiny_backbone: Path, tmp_path: Path) -> None:
    command = train_arguments(tiny_data, tiny_backbone, "--resume")
    killed = Killed("train", command, nothing, lambda place: run_state(place / "run"))
    kill_at_random_moments(killed, KILLS, SEED, tmp_path)


def test_train_over_a_former_run(tiny_data: Path, tiny_backbone: Path, tiny_run: Path, tmp_path: Path) -> None:
    command = train_arguments(tiny_data, tiny_backbone, "--overwrite")
    killed = Killed(
        "train --overwrite",
        command,
        lambda place: shutil.copytree(tiny_run, place / "run") and None,
        lambda place: run_state(place / "run"),
        [*command, "--resume"],
    )
    kill_at_random_moments(killed, KILLS, SEED, tmp_path)


def test_update(tiny_data: Path, tiny_run: Path, tmp_path: Path) -> None:
    kill_at_random_moments(update_of(tiny_run, tiny_data, tmp_path / "newer"), max(10, KILLS), SEED, tmp_path / "kills")


def test_watch(tiny_data: Path, tiny_run: Path, tmp_path: Path) -> None:
    kill_at_random_moments(watch_of(tiny_run, tiny_data), max(10, KILLS), SEED, tmp_path)


def test_writer(writer_recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    recipe = writer_recipe(**{"training.checkpoint_seconds": 0.0})

    def prepare(place: Path) -> None:
        (place / "writer.yaml").write_text(recipe.to_yaml(), encoding="utf-8")

    command = ["train", "writer.yaml", "--out", "run", "-q", "--resume", "--json"]
    killed = Killed("writer", command, prepare, lambda place: run_state(place / "run"))
    kill_at_random_moments(killed, KILLS, SEED, tmp_path)


def test_predict(tiny_run: Path, tmp_path: Path) -> None:
    def prepare(place: Path) -> None:
        rows = "".join(f"{1 + row % 30},{1 + row % 40}\n" for row in range(200_000))
        (place / "pairs.csv").write_text("user_id,item_id\n" + rows, encoding="utf-8")

    command = ["predict", str(tiny_run), "--input", "pairs.csv", "--output", "scores.csv", "--overwrite"]
    killed = Killed("predict", command, prepare, lambda place: file_state(place / "scores.csv"))
    kill_at_random_moments(killed, KILLS, SEED, tmp_path)


def test_export_vectors(tiny_run: Path, tmp_path: Path) -> None:
    command = ["export-vectors", str(tiny_run), "--out", "items.arrow", "--overwrite"]
    killed = Killed(
        "export-vectors",
        command,
        lambda place: (place / "items.arrow").write_text("old", encoding="utf-8") and None,
        lambda place: file_state(place / "items.arrow"),
    )
    kill_at_random_moments(killed, KILLS, SEED, tmp_path)


def test_download(tmp_path: Path) -> None:
    killed = Killed("download", download, pack, lambda place: folder_state(place / "ml"))
    kill_at_random_moments(killed, 3 * KILLS, SEED, tmp_path)


def test_bench(tiny_data: Path, tiny_backbone: Path, tmp_path: Path) -> None:
    matrix = f"""
name: m
description: two cells
recipes:
  - recipe: movies
    data: {tiny_data.name}
    set: {{training.epochs: 1, training.refit: false, evaluation.bootstrap: 0, evaluation.ablations: []}}
backbones: [{tiny_backbone}]
adapters: [none, lora]
seeds: [1]
"""

    def prepare(place: Path) -> None:
        (place / "m.yaml").write_text(matrix, encoding="utf-8")

    def state(place: Path) -> bool:
        rows = rows_state(place / "out")
        assert not any("failed" in row for row in rows)
        return any(row.startswith("results") for row in rows)

    command = ["bench", "m.yaml", "--data", str(tiny_data.parent), "--out", "out", "-q"]
    killed = Killed("bench", command, prepare, state)
    kill_at_random_moments(killed, max(2, KILLS // 2), SEED, tmp_path)

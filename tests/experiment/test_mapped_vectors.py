"""Vectors in a mapped file: a training gives the same run, byte for byte, and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmrec_peft.artifact.manifest import read_manifest
from llmrec_peft.backbone import vector_table
from llmrec_peft.recipe import load_recipe
from llmrec_peft.workflows.train import train


def test_a_training_whose_vectors_are_mapped_gives_the_same_run(
    tiny_run: Path, tiny_data: Path, tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders: list[Path | None] = []
    real = vector_table._mapped

    def mapped(size: int, folder: Path | None) -> object:
        folders.append(folder)
        return real(size, folder)

    monkeypatch.setattr(vector_table, "MAPPED_BYTES", 1)
    monkeypatch.setattr(vector_table, "_mapped", mapped)
    overrides = [f"backbone.name={tiny_backbone}", "training.epochs=1", "training.refit=false"]
    recipe = load_recipe("movies", overrides, {"data.path": str(tiny_data)})
    train(recipe, tmp_path / "run", show=False)
    assert read_manifest(tmp_path / "run").files == read_manifest(tiny_run).files
    assert tmp_path / ".run.training" in folders
    assert [path.name for path in tmp_path.iterdir()] == ["run"]

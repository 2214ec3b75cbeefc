"""Fixtures of the page's tests: a run folder that was never trained, with figures as a run writes them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_up_figures import made_up_report

from llmrec_peft.artifact.manifest import make_manifest, write_json
from llmrec_peft.recipe import load_recipe

Made = Callable[..., Path]


@pytest.fixture
def made_run(tmp_path: Path) -> Made:
    """Write a run folder with some figures and a recipe; without changes those of `made_up_report`."""

    def make(report: dict[str, Any] | None = None, recipe: str | None = None) -> Path:
        folder = tmp_path / "run"
        folder.mkdir()
        (folder / "metrics.json").write_text(json.dumps(report or made_up_report()), encoding="utf-8")
        (folder / "recipe.yaml").write_text(recipe or load_recipe("movies").to_yaml(), encoding="utf-8")
        (folder / "head.safetensors").touch()  # a recommender's, as against a writer's
        write_json(folder / "manifest.json", make_manifest(folder, {}, "0").model_dump(mode="json"))
        return folder

    return make

"""Known recipes: one object for runs with the same bytes, verified each time."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from quick_runs import Trained

from llmrec_peft.artifact.sealed import SealedFolder
from llmrec_peft.errors import InputError
from llmrec_peft.run.known_recipes import recipe_of

pytestmark = pytest.mark.trains


def test_runs_with_the_same_recipe_file_share_one_recipe(quick_run: Trained, tmp_path: Path) -> None:
    run = quick_run("movies", {"seed": 1})
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    assert recipe_of(SealedFolder.open(run)) is recipe_of(SealedFolder.open(copy))
    other = quick_run("movies", {"seed": 2})
    assert recipe_of(SealedFolder.open(other)).seed == 2


def test_a_changed_file_is_refused_though_its_recipe_is_known(quick_run: Trained, tmp_path: Path) -> None:
    run = Path(shutil.copytree(quick_run("movies", {"seed": 1}), tmp_path / "copy"))
    recipe_of(SealedFolder.open(run))
    path = run / "recipe.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("seed: 1", "seed: 9"), encoding="utf-8")
    with pytest.raises(InputError, match=r"recipe\.yaml"):
        recipe_of(SealedFolder.open(run))

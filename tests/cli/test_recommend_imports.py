"""`llmrec recommend` starts quickly: what it does not compute with is not imported."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from llmrec_peft.artifact.catalogue_file import read_vocabulary

Command = Callable[..., subprocess.CompletedProcess[str]]
UNUSED = {"pandas", "transformers", "peft", "datasets", "accelerate", "sklearn", "scipy", "pyarrow.compute"}


@pytest.mark.parametrize("task", ["rating", "click", "ranking"])
def test_recommending_known_items_imports_neither_pandas_nor_models(
    task: str, tiny_run: Path, task_runs: Callable[[str], Path], llmrec: Command
) -> None:
    run = tiny_run if task == "rating" else task_runs(task)
    user = read_vocabulary(run / "catalogue.safetensors").users[0]
    done = llmrec("recommend", run, "--user", user, "-k", "3", PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0, done.stderr[-500:]
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert f"for user {user}" in done.stdout, "a user that the run knows"
    assert "torch" in imported
    assert not imported & UNUSED
    assert not [name for name in imported if name.startswith("transformers.models.")]

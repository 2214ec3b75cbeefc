"""Training in two processes: both take part, one run folder comes out, and a world that fell apart is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from llmrec_peft.errors import InputError
from llmrec_peft.recipe import load_recipe
from llmrec_peft.workflows.evaluate import evaluate
from llmrec_peft.workflows.train import train

pytestmark = pytest.mark.trains


def _sets(backbone: Path) -> list[str]:
    settings = [
        f"backbone.name={backbone}",
        "backbone.precision=fp32",
        "training.epochs=3",
        "training.adapter_epochs=2",
        "training.batching=random",
        "training.batch_size=71",  # 427 ratings: the last batch has one, fewer than there are processes
        "evaluation.bootstrap=0",
    ]
    return [argument for setting in settings for argument in ("--set", setting)]


@pytest.mark.slow
def test_two_processes_train_together_and_leave_one_run(
    tiny_data: Path, tiny_backbone: Path, tmp_path: Path, llmrec: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    arguments = ["train", "movies", "--data", str(tiny_data), *_sets(tiny_backbone), "--json"]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    with subprocess.Popen(
        [sys.executable, *launcher, "-m", "llmrec_peft.cli.main", *arguments, "--out", str(tmp_path / "two")],
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as launched:
        try:
            stdout, stderr = launched.communicate(timeout=180)
        except subprocess.TimeoutExpired:
            os.killpg(launched.pid, signal.SIGKILL)  # the workers outlive a launcher that is killed alone
            raise
    assert launched.returncode == 0, stderr[-3000:]
    printed = json.loads(stdout)  # one process reports
    stored = json.loads((tmp_path / "two" / "metrics.json").read_text(encoding="utf-8"))
    assert printed == stored
    assert stored["hardware"]["processes"] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["two"]
    assert evaluate(tmp_path / "two")["repeats"]
    history = stored["training"]["history"]
    assert all(1.0 < figure < 2.0 for figure in history)  # a batch without rows would have made them NaN
    alone = llmrec(*arguments, "--out", tmp_path / "one", OMP_NUM_THREADS="1")
    assert alone.returncode == 0, alone.stderr[-3000:]
    one = json.loads(alone.stdout)
    assert one["hardware"]["processes"] == 1
    assert one["training"]["history"] == pytest.approx(history, abs=0.05)


@pytest.mark.parametrize("address", [None, "localhost"])
def test_processes_that_do_not_train_together_are_refused(
    address: str | None, tiny_data: Path, tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when Accelerate starts no process group where a launcher started several processes."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    if address is not None:
        monkeypatch.setenv("MASTER_ADDR", address)
        alone = SimpleNamespace(num_processes=1)
        monkeypatch.setattr("llmrec_peft.training.accelerator.Accelerator", lambda **_: alone)
    changes = {"data.path": str(tiny_data), "backbone.name": str(tiny_backbone), "training.epochs": 1}
    with pytest.raises(InputError, match="2 processes were started, but each would train alone"):
        train(load_recipe("movies", changes=changes), tmp_path / "run", show=False)
    assert list(tmp_path.iterdir()) == []

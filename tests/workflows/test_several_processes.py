"""Training in two processes: both take part, one run folder comes out, and a world that fell apart is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from llmrec_peft.errors import InputError
from llmrec_peft.recipe import load_recipe
from llmrec_peft.training.accelerator import processes_asked_for
from llmrec_peft.workflows.evaluate import evaluate
from llmrec_peft.workflows.train import train

pytestmark = pytest.mark.trains


WITH_LAZY_TABLES = """
from llmrec_peft.cli.main import main
from llmrec_peft.training import lazy_table, lazy_tables

lazy_tables.LAZY_FROM, lazy_table.MUCH = 64, 1.0
main()
"""
"""Trains tables of a small test as if they were large."""


DIES_AFTER_FOUR_STEPS = """
import os, signal
from llmrec_peft.training import loop

step = loop._Run._step

def dying(run, optimizer):
    if run.state.step == 4 and run.together.first:
        os.kill(os.getpid(), signal.SIGKILL)
    step(run, optimizer)

loop._Run._step = dying
main()
"""


TRAINS_TWICE_FROM_PYTHON = """
import os, sys, time
from pathlib import Path

import llmrec_peft
from llmrec_peft.workflows import train

data, backbone, runs = sys.argv[1], sys.argv[2], Path(sys.argv[-1])
publish = train.publish

def slowly(*given):
    time.sleep(1)
    if runs.name == "failing":
        raise llmrec_peft.InputError("nobody may write here")
    publish(*given)

train.publish = slowly
changes = {"backbone.name": backbone, "training.epochs": 1, "training.refit": False, "evaluation.bootstrap": 0}
for seed in (1, 2):
    recipe = llmrec_peft.load_recipe("movies", {**changes, "seed": seed}, data=data)
    recommender = llmrec_peft.train(recipe, run=runs / str(seed), quiet=True)
    (runs / f"rank{os.environ['RANK']}-{seed}").write_text(recommender.loaded.manifest.digest)
"""
"""The first process takes its time to publish, and cannot in the folder `failing`."""


def _arguments(data: Path, backbone: Path, **changes: object) -> list[str]:
    """A training without dropout, which draws other numbers in two processes than in one."""
    settings = {
        "backbone.name": backbone,
        "backbone.precision": "fp32",
        "adapter.dropout": 0.0,
        "head.dropout": 0.0,
        "signals.collaborative.user_history": "both",
        "training.epochs": 3,
        "training.adapter_epochs": 2,
        "training.batching": "random",
        "training.batch_size": 71,  # 427 ratings: the last batch has one, fewer than there are processes
        "training.patience": 1,
        "training.checkpoint_seconds": 0.0,
        "training.accumulate": 2,
        "evaluation.bootstrap": 0,
        **{name.replace("__", "."): value for name, value in changes.items()},
    }
    sets = [argument for name, value in settings.items() for argument in ("--set", f"{name}={value}")]
    return ["train", "movies", "--data", str(data), *sets, "--json"]


def _train(processes: int, script: Path, arguments: list[str], run: Path) -> subprocess.CompletedProcess[str]:
    """Train in so many processes, in a group of their own: workers outlive a launcher that is killed alone."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    command = [sys.executable, *(launcher if processes > 1 else []), str(script), *arguments, "--out", str(run)]
    with subprocess.Popen(
        command,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as launched:
        try:
            stdout, stderr = launched.communicate(timeout=300)
        except subprocess.TimeoutExpired:
            os.killpg(launched.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(command, launched.returncode, stdout, stderr)


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """The command line with tables that are lazy, in a folder of its own."""
    path = tmp_path / "script" / "train.py"
    path.parent.mkdir()
    path.write_text(WITH_LAZY_TABLES)
    return path


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one_and_resume(
    tiny_data: Path, tiny_backbone: Path, tmp_path: Path, script: Path
) -> None:
    arguments = _arguments(tiny_data, tiny_backbone)
    two = _train(2, script, arguments, tmp_path / "runs" / "two")
    assert two.returncode == 0, two.stderr[-3000:]
    printed = json.loads(two.stdout)  # one process reports
    stored = json.loads((tmp_path / "runs" / "two" / "metrics.json").read_text(encoding="utf-8"))
    assert printed == stored
    assert stored["hardware"]["processes"] == 2
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["two"]
    assert evaluate(tmp_path / "runs" / "two")["repeats"]
    one = json.loads(_train(1, script, arguments, tmp_path / "runs" / "one").stdout)
    assert one["hardware"]["processes"] == 1
    assert stored["training"]["history"] == pytest.approx(one["training"]["history"], rel=1e-5)
    assert stored["training"]["epochs"] == one["training"]["epochs"]
    for part in ("before", "after"):
        assert stored["test"][part]["rmse"] == pytest.approx(one["test"][part]["rmse"], rel=1e-5)

    script.write_text(WITH_LAZY_TABLES.replace("main()", DIES_AFTER_FOUR_STEPS))
    killed = _train(2, script, arguments, tmp_path / "runs" / "killed")
    assert killed.returncode != 0
    assert not (tmp_path / "runs" / "killed").exists()
    script.write_text(WITH_LAZY_TABLES)
    resumed = _train(1, script, [*arguments, "--resume"], tmp_path / "runs" / "killed")
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    assert json.loads(resumed.stdout)["training"]["history"] == pytest.approx(stored["training"]["history"], rel=1e-5)


@pytest.mark.slow
def test_train_called_from_python_returns_the_run_in_every_process_and_can_be_called_again(
    tiny_data: Path, tiny_backbone: Path, tmp_path: Path, script: Path
) -> None:
    script.write_text(TRAINS_TWICE_FROM_PYTHON)
    runs = tmp_path / "runs"
    trained = _train(2, script, [str(tiny_data), str(tiny_backbone)], runs)
    assert trained.returncode == 0, trained.stderr[-3000:]
    for seed in ("1", "2"):
        digest = json.loads((runs / seed / "manifest.json").read_text(encoding="utf-8"))["digest"]
        assert [(runs / f"rank{rank}-{seed}").read_text() for rank in (0, 1)] == [digest] * 2


@pytest.mark.slow
def test_a_run_that_cannot_be_published_ends_all_processes(
    tiny_data: Path, tiny_backbone: Path, tmp_path: Path, script: Path
) -> None:
    script.write_text(TRAINS_TWICE_FROM_PYTHON)
    ended = _train(2, script, [str(tiny_data), str(tiny_backbone)], tmp_path / "failing")
    assert ended.returncode != 0
    assert "nobody may write here" in ended.stderr
    assert list((tmp_path / "failing").glob("rank*")) == []


@pytest.mark.slow
def test_an_error_in_one_process_ends_all(tiny_data: Path, tiny_backbone: Path, tmp_path: Path, script: Path) -> None:
    """The second process cannot see what the first one has claimed, as on a machine with a disk of its own."""
    script.write_text("import os\n" + WITH_LAZY_TABLES.replace("main()", (
        "from llmrec_peft.experiment import experiment\n"
        "seen = experiment.occupied\n"
        "experiment.occupied = lambda path: os.environ['RANK'] == '0' and seen(path)\n"
        "main()"
    )))  # fmt: skip
    ended = _train(2, script, _arguments(tiny_data, tiny_backbone), tmp_path / "runs" / "run")
    assert ended.returncode != 0
    assert "process 1 does not see what the first one wrote there: --out has to be in a folder" in ended.stderr
    assert not (tmp_path / "runs" / "run").exists()


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
    monkeypatch.setenv("RANK", "0")
    changes = {"data.path": str(tiny_data), "backbone.name": str(tiny_backbone), "training.epochs": 1}
    with pytest.raises(InputError, match="2 processes were started, but each would train alone"):
        train(load_recipe("movies", changes=changes), tmp_path / "run", show=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"ACCELERATE_USE_CPU": "True", "MASTER_ADDR": "127.0.0.1"}, "was asked for several processes and has started"),
        ({"OMPI_COMM_WORLD_SIZE": "4"}, "4 processes were started, but each would train alone"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE: two is no number of processes"),
    ],
)
def test_a_launcher_that_starts_other_processes_than_asked_for_is_refused(
    environment: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WORLD_SIZE", "RANK", "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=said):
        processes_asked_for()

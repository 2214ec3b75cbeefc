"""--resume compares settings, needs no repeated flags, says who trains there, and what goes on after Ctrl-C."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmrec_peft.artifact.manifest import read_manifest
from llmrec_peft.errors import InputError
from llmrec_peft.experiment import experiment as room
from llmrec_peft.experiment.resuming import stored_recipe
from llmrec_peft.experiment.training_folder import training_folder
from llmrec_peft.recipe import Recipe, load_recipe
from llmrec_peft.workflows import train as workflow

pytestmark = pytest.mark.trains
Command = Callable[..., subprocess.CompletedProcess[str]]


class _StopError(Exception):
    """Stands for an interruption inside this process."""


@pytest.fixture
def recipe(tiny_data: Path, tiny_backbone: Path, tmp_path: Path) -> Recipe:
    shutil.copytree(tiny_data, tmp_path / "ml")
    overrides = [
        f"backbone.name={tiny_backbone}",
        *("backbone.precision=fp32", "training.epochs=1", "training.refit=false", "evaluation.bootstrap=0"),
        *("evaluation.ablations=[]", "evaluation.collaborative_only=false", "evaluation.blend=false"),
    ]
    return load_recipe("movies", overrides, {"data.path": str(tmp_path / "ml")})


def interrupted(recipe: Recipe, run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    def stop(*_: object, **__: object) -> None:
        raise _StopError

    with monkeypatch.context() as patch:
        patch.setattr(workflow, "fit_variant", stop)
        with pytest.raises(_StopError):
            workflow.train(recipe, run, show=False)
    return training_folder(run)


def copied(tiny_run: Path, tmp_path: Path) -> Path:
    shutil.copytree(tiny_run, tmp_path / "run")
    return tmp_path / "run"


def test_finished_run_of_the_same_settings_is_finished(tiny_run: Path, tmp_path: Path) -> None:
    run = copied(tiny_run, tmp_path)
    metrics = workflow.train(stored_recipe(run), run, resume=True, show=False)
    assert metrics == json.loads((run / "metrics.json").read_text(encoding="utf-8"))


def test_finished_run_of_other_settings_names_the_fields_with_both_values(tiny_run: Path, tmp_path: Path) -> None:
    run = copied(tiny_run, tmp_path)
    asked = stored_recipe(run).changed({"training.epochs": 5, "seed": 9})
    with pytest.raises(InputError) as raised:
        workflow.train(asked, run, resume=True, show=False)
    said = str(raised.value)
    assert "is finished, with other settings: seed is 9, was 1; training.epochs is 5, was 1:" in said
    assert "--overwrite trains it anew" in said


def test_finished_run_is_compared_with_the_recipe_as_the_data_lets_it_be(tiny_run: Path, tmp_path: Path) -> None:
    """The data has no graph: the signal that the recipe asks for was off in the run, too."""
    run = copied(tiny_run, tmp_path)
    asked = stored_recipe(run).changed({"signals.graph": True})
    assert asked.plain() != stored_recipe(run).plain()
    assert workflow.train(asked, run, resume=True, show=False)["recipe"] == asked.name


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("metrics.json", "{", "metrics.json: no JSON that is read here"),
        ("metrics.json", "[]", "metrics.json: holds .* where a JSON object belongs"),
        ("metrics.json", "[" * 100_000, "metrics.json: is nested deeper"),
        ("manifest.json", "{", "manifest.json"),
        ("recipe.yaml", "a: [", "recipe.yaml"),
        ("recipe.yaml", "3", "recipe.yaml"),
    ],
)
def test_broken_file_of_a_finished_run_is_one_line(
    name: str, content: str, said: str, tiny_run: Path, tmp_path: Path
) -> None:
    run = copied(tiny_run, tmp_path)
    asked = stored_recipe(run)
    (run / name).write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=said) as raised:
        workflow.train(asked, run, resume=True, show=False)
    assert "\n" not in str(raised.value)


def test_edited_figures_of_a_finished_run_are_not_passed_on(tiny_run: Path, tmp_path: Path) -> None:
    run = copied(tiny_run, tmp_path)
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    metrics["test"]["after"]["rmse"] = 0.1
    (run / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    with pytest.raises(InputError, match=r"metrics\.json is not what the run wrote"):
        workflow.train(stored_recipe(run), run, resume=True, show=False)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"identity": 1, "started": "x", "process": 1}', "\ud800"])
def test_broken_identity_of_an_interrupted_run_is_one_line(
    content: str, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    work = interrupted(recipe, run, monkeypatch)
    (work / "identity.json").write_bytes(content.encode(errors="surrogatepass"))
    with pytest.raises(InputError, match=r"identity.json.*start over with --overwrite"):
        workflow.train(recipe, run, resume=True, show=False)
    assert (work / "identity.json").is_file(), "nothing is thrown away"
    with pytest.raises(InputError, match=r"identity.json.*start over with --overwrite"):
        stored_recipe(run)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("recipe", "training.epochs is 3, was 1; training.head.learning_rate is 0.5, was "),
        ("data", "the data has changed since"),
        ("base", 'the base model\'s compute is "bf16", was "fp32"'),
        ("version", "the version of llmrec-peft is 9.9, was 0.1.0"),
    ],
)
def test_interrupted_run_that_was_begun_otherwise_names_what_differs(
    change: str, said: str, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    work = interrupted(recipe, run, monkeypatch)
    asked = recipe
    if change == "recipe":
        asked = recipe.changed({"training.epochs": 3, "training.head.learning_rate": 0.5})
    elif change == "data":
        lines = (tmp_path / "ml" / "u1.base").read_text(encoding="utf-8").splitlines()
        (tmp_path / "ml" / "u1.base").write_text("\n".join(lines[1:]) + "\n", encoding="utf-8")
    elif change == "version":
        monkeypatch.setattr("llmrec_peft.experiment.training_folder.__version__", "9.9")
    else:
        real = room.claim

        def claim(run: Path, asked: Recipe, prepared: Any, base: Any, *others: Any) -> float:
            return real(run, asked, prepared, {**base, "compute": "bf16"}, *others)

        monkeypatch.setattr(room, "claim", claim)
    with pytest.raises(InputError) as raised:
        workflow.train(asked, run, resume=True, show=False)
    assert f"was begun otherwise: {said}" in str(raised.value)
    assert (work / "identity.json").is_file(), "a refusal throws nobody's checkpoints away"


def test_stored_recipe_is_validated_like_a_strangers(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    path = interrupted(recipe, run, monkeypatch) / "identity.json"
    assert stored_recipe(run) == recipe
    stored = json.loads(path.read_text(encoding="utf-8"))

    def altered(section: str, values: Any) -> None:
        path.write_text(json.dumps({**stored, "asked": {**stored["asked"], section: values}}), encoding="utf-8")

    altered("seed", "many")
    with pytest.raises(InputError, match=r"identity.json: seed"):
        stored_recipe(run)
    altered("backbone", {**stored["asked"]["backbone"], "trust_remote_code": True})
    with pytest.raises(InputError, match="trust_remote_code"):
        stored_recipe(run)


def test_run_that_an_interrupted_training_was_to_replace_is_not_called_finished(
    recipe: Recipe, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = copied(tiny_run, tmp_path)

    def stop(*_: object, **__: object) -> None:
        raise _StopError

    with monkeypatch.context() as patch:
        patch.setattr(workflow, "fit_variant", stop)
        with pytest.raises(_StopError):
            workflow.train(recipe, run, overwrite=True, show=False)
    former = read_manifest(run).digest
    with pytest.raises(InputError, match="--resume --overwrite goes on with that"):
        workflow.train(recipe, run, resume=True, show=False)
    assert (training_folder(run) / "identity.json").is_file(), "its checkpoints are not thrown away"
    assert read_manifest(run).digest == former


def test_kill_after_publishing_leaves_a_finished_run(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    real = workflow.publish

    def publish(*arguments: Any) -> None:
        real(*arguments)
        raise _StopError  # before the hidden folder is removed

    with monkeypatch.context() as patch:
        patch.setattr(workflow, "publish", publish)
        with pytest.raises(_StopError):
            workflow.train(recipe, run, show=False)
    assert training_folder(run).exists()
    assert workflow.train(recipe, run, resume=True, show=False)
    assert not training_folder(run).exists()


def _until(condition: Callable[[], bool], seconds: float = 240.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.timeout(600)
def test_live_training_is_left_alone_and_goes_on_after_ctrl_c_without_repeated_flags(
    recipe: Recipe, tmp_path: Path, llmrec: Command
) -> None:
    recipe = recipe.changed({"training.epochs": 10, "training.patience": None, "training.checkpoint_seconds": 0.0})
    (tmp_path / "mine.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    run = tmp_path / "a run"
    command = [sys.executable, "-m", "llmrec_peft.cli.main", "train", "mine.yaml", "--out", "a run", "-q"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        progress = training_folder(run) / "before" / "fit" / "progress.json"
        _until(lambda: progress.is_file() or process.poll() is not None)
        for how in ({"resume": True}, {"overwrite": True}, {}):
            began = time.monotonic()
            with pytest.raises(InputError, match=f"is being written by process {process.pid} on .*, since 20"):
                workflow.train(recipe, run, show=False, **how)
            assert time.monotonic() - began < 10.0
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    said = stderr.splitlines()[-1]
    goes_on = "llmrec train --resume --out 'a run'"
    assert said == f"interrupted: {goes_on} goes on from the last checkpoint"
    assert json.loads(progress.read_text(encoding="utf-8"))["step"] > 0, "the first was unharmed"
    longer = llmrec(*shlex.split(goes_on)[1:], "--set", "seed=4", cwd=tmp_path)
    assert longer.returncode == 2
    assert "seed is 4, was 1" in longer.stderr
    done = llmrec(*shlex.split(goes_on)[1:], "-q", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    again = llmrec("train", "--resume", "a run", cwd=tmp_path)
    assert again.returncode == 0
    assert "a run is finished; nothing to resume" in again.stderr
    assert read_manifest(run).files


def test_resume_without_anything_to_resume_is_one_line(tmp_path: Path, llmrec: Command) -> None:
    for arguments in (["--resume"], ["--resume", "--out", "absent"], []):
        done = llmrec("train", *arguments, cwd=tmp_path)
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1
        assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []

"""A third party's package: installed into a throw-away environment, it is listed, proved and trained with no edit."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from throw_away import make_environment, run_python

pytestmark = pytest.mark.trains

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "examples" / "plugin"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment that sees this one's packages and has the example installed on top."""
    folder = tmp_path_factory.mktemp("throw-away")
    make_environment(folder / "env", shutil.copytree(PACKAGE, folder / "source"))
    return folder / "env"


def run(environment: Path, *arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return run_python(environment, cwd or environment, *arguments)


def test_listed_like_any_other(environment: Path) -> None:
    done = run(environment, "-m", "llmrec_peft.cli.main", "list", "--json")
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    for name in ("hra", "bounded-rating", "item-mean", "shop"):
        assert (rows[name]["package"], rows[name]["error"]) == ("llmrec-example-plugin 0.1.0", None)
    assert str(environment) in run(environment, "-c", "import llmrec_example_plugin as p; print(p.__file__)").stdout


def test_method_passes_the_suite_and_its_package_carries_the_proof(environment: Path) -> None:
    code = "import llmrec_example_plugin as p, pathlib; print(pathlib.Path(p.__file__).with_name('conformance.json'))"
    proof = run(environment, "-c", code).stdout.strip()
    done = run(environment, "-m", "llmrec_peft.testing", "hra", "--backbone", "tiny-bert", "--out", proof)
    assert done.returncode == 0, done.stderr
    listed = run(environment, "-m", "llmrec_peft.cli.main", "list", "adapters", "--json")
    matrix = {row["name"]: row for row in json.loads(listed.stdout)}["hra"]["matrix"]
    assert matrix["encoder"] == {"fp32": "proved", "bf16": "declared", "int8": "undeclared", "nf4": "undeclared"}
    assert matrix["mergeable"] == "proved"


def test_its_own_tests_pass_by_the_pytest_plugin(environment: Path) -> None:
    tests = environment.parent / "source"
    done = run(environment, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", cwd=tests)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "11 passed" in done.stdout


@pytest.mark.parametrize(("kind", "name"), [("head", "bounded-rating"), ("signal", "item-mean")])
def test_head_and_signal_pass_the_suite_by_the_command(environment: Path, kind: str, name: str) -> None:
    done = run(environment, "-m", "llmrec_peft.testing", "--kind", kind, name, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(done.stdout)
    assert {(row["plugin"], row["name"], row["status"]) for row in rows} == {(kind, name, "passed")}


def test_method_head_and_signal_train_by_its_recipe_and_the_run_is_loaded(
    environment: Path, tiny_backbone: Path
) -> None:
    out = environment.parent / "run"
    settings = {
        "backbone.name": tiny_backbone,
        "training.epochs": 1,
        "training.refit": "false",
        "evaluation.bootstrap": 0,
        "adapter": "{method: hra, layers: top-2}",
        "head": "{name: bounded-rating}",
        "signals.item-mean": "true",
    }
    changes = [part for field, value in settings.items() for part in ("--set", f"{field}={value}")]
    done = run(environment, "-m", "llmrec_peft.cli.main", "train", "shop", "--data", "demo", "--out", out, *changes)
    assert done.returncode == 0, done.stderr
    assert json.loads((out / "adapter_config.json").read_text(encoding="utf-8"))["peft_type"] == "HRA"
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["parameters"]["adapter"] > 0
    assert metrics["weights"]["item-mean"].keys() == {"weight"}
    listed = run(environment, "-m", "llmrec_peft.cli.main", "recommend", out, "--user", 1, "-k", 3, "--json")
    assert listed.returncode == 0, listed.stderr
    assert all(1.0 <= item["score"] <= 5.0 for item in json.loads(listed.stdout)["items"])

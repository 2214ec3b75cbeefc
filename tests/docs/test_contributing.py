"""CONTRIBUTING.md's walk-through, followed literally: its files make a package that is listed, proved and trained."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from safetensors.torch import load_file
from throw_away import make_environment, run_python

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
WALK = TEXT.split("## Add a plugin in one file")[1].split("\n## ")[0]
FILES = dict(re.findall(r"```(?:python|toml|yaml)\n# (\S+)\n(.*?)```", WALK, re.DOTALL))


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The walk-through's folder, installed in a virtual environment that sees this one's packages."""
    folder = tmp_path_factory.mktemp("walk-through")
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    make_environment(folder / "env", folder, "-e")
    return folder


def run(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return run_python(folder / "env", folder, *arguments)


def llmrec(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return run(folder, "-m", "llmrec_peft.cli.main", *arguments)


def test_every_file_of_the_walk_through_is_found() -> None:
    plugins = {"__init__.py", "hra.py", "item_mean.py", "log_cosh.py"}
    shop = {"__init__.py", "reader.py", "recipe.yaml", "demo.yaml"}
    expected = {f"my_plugins/{name}" for name in plugins} | {f"my_plugins/shop/{name}" for name in shop}
    assert set(FILES) == expected | {"pyproject.toml", "tests/test_plugins.py"}


def test_all_plugins_are_listed_as_the_packages_own(package: Path) -> None:
    rows = {row["name"]: row for row in json.loads(llmrec(package, "list", "--json").stdout)}
    for name in ("hra", "item-mean", "log-cosh", "shop"):
        assert (rows[name]["package"], rows[name]["error"]) == ("my-plugins 0.1.0", None)


def test_adapter_passes_its_suite_by_the_command_that_is_given_and_its_proof_is_listed(package: Path) -> None:
    command = next(line for line in WALK.splitlines() if line.startswith("python -m llmrec_peft.testing hra"))
    done = run(package, *command.split()[1:])
    assert done.returncode == 0, done.stderr
    rows = json.loads(llmrec(package, "list", "adapters", "--json").stdout)
    assert {row["name"]: row for row in rows}["hra"]["matrix"]["encoder"]["fp32"] == "proved"


def test_own_tests_of_adapter_signal_and_head_pass_refusals_included(package: Path) -> None:
    done = run(package, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout


def test_recipe_trains_on_its_demo_data_with_signal_and_head(package: Path, tiny_backbone: Path) -> None:
    done = llmrec(package, "validate", "my_plugins/shop/recipe.yaml")
    assert done.returncode == 0, done.stderr
    quick = ["evaluation.bootstrap=0", "evaluation.blend=false", "evaluation.collaborative_only=false"]
    settings = [f"backbone.name={tiny_backbone}", "training.epochs=1", "training.refit=false", *quick]
    plugins = ["signals.item-mean=true", "head.name=log-cosh", "adapter.method=hra"]
    changes = [part for setting in (*settings, *plugins) for part in ("--set", setting)]
    done = llmrec(package, "train", "shop", "--data", "demo", "--out", "run", "--quiet", *changes)
    assert done.returncode == 0, done.stderr
    folder = package / "run"
    assert json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))["peft_type"] == "HRA"
    assert "item-mean.known.mean" in load_file(folder / "signals.safetensors")
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert 0.0 < metrics["test"]["after"]["rmse"] < 2.0


def test_reader_of_the_recipe_names_the_file_and_line_that_is_wrong(package: Path) -> None:
    data = package / "data"
    data.mkdir()
    code = "from my_plugins.shop.reader import Shop; from pathlib import Path; Shop().read(Path('data'), None)"
    assert "InputError: data/ratings.csv is missing" in run(package, "-c", code).stderr
    (data / "ratings.csv").write_text("user,product,stars,seconds\n1,1,5,9\n1,2,,9\n", encoding="utf-8")
    said = "InputError: data/ratings.csv, line 3: expected the columns user, product, stars, seconds"
    assert said in run(package, "-c", code).stderr


def test_every_command_of_the_walk_through_names_a_plugin_of_its_own() -> None:
    shown = ("llmrec train", "python -m llmrec_peft.testing")
    commands = [line for line in WALK.splitlines() if line.startswith(shown)]
    assert len(commands) == 7
    assert all(re.search(r"\b(hra|item-mean|log-cosh|shop)\b", command) for command in commands)

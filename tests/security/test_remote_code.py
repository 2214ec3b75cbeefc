"""Python code that comes with a base runs only where the person who types says so, whatever a recipe or a run asks."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import llmrec_peft
from llmrec_peft.artifact.manifest import make_manifest
from llmrec_peft.backbone.remote_code import allowing, decided, is_allowed
from llmrec_peft.errors import InputError
from llmrec_peft.recipe import Recipe, load_recipe
from llmrec_peft.recipe.sections import BackboneSection
from llmrec_peft.recipe.yaml_file import read_yaml

Command = Callable[..., subprocess.CompletedProcess[str]]
FLAG = "--trust-remote-code"
REFUSED = "backbone.trust_remote_code: the recipe asks to run Python code that comes with"
CODE = """
import pathlib
pathlib.Path({canary!r}).write_text("its code ran")
from transformers import BertConfig, BertModel, BertTokenizerFast

class EvilConfig(BertConfig):
    model_type = "evil"

class EvilModel(BertModel):
    config_class = EvilConfig

class EvilTokenizer(BertTokenizerFast):
    pass
"""


@pytest.fixture
def evil(tiny_backbone: Path, tmp_path: Path) -> Path:
    """A base whose configuration names classes of its own; their module leaves a canary when it is imported."""
    base = Path(shutil.copytree(tiny_backbone, tmp_path / "evil"))
    config = json.loads((base / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.EvilConfig", "AutoModel": "evil.EvilModel"}}
    (base / "config.json").write_text(json.dumps(config))
    (base / "evil.py").write_text(CODE.format(canary=str(tmp_path / "canary")))
    return base


def options(base: Path, asks: bool = True) -> list[str]:
    fields = {
        "backbone.name": base,
        "backbone.trust_remote_code": str(asks).lower(),
        "adapter.method": "none",
        "training.epochs": 1,
        "signals.graph": "false",
    }
    return [part for field, value in fields.items() for part in ("--set", f"{field}={value}")]


@pytest.mark.parametrize("command", ["train", "memory", "fit"])
def test_a_recipe_that_asks_is_refused_before_its_code_runs(
    command: str, evil: Path, tmp_path: Path, llmrec: Command
) -> None:
    done = llmrec(command, "movies", "--data", "demo", *options(evil), cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"error: {REFUSED} {evil}")
    assert FLAG in done.stderr
    assert not (tmp_path / "canary").exists()


def test_a_base_whose_recipe_does_not_ask_cannot_run_its_code(evil: Path, tmp_path: Path, llmrec: Command) -> None:
    for flag in ((), (FLAG,)):
        done = llmrec("memory", "movies", "--data", "demo", *options(evil, asks=False), *flag, cwd=tmp_path)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "canary").exists()


def test_the_flag_lets_it_run(evil: Path, tmp_path: Path, llmrec: Command) -> None:
    done = llmrec("memory", "movies", "--data", "demo", FLAG, *options(evil), cwd=tmp_path)
    assert (tmp_path / "canary").exists(), done.stderr


def test_validating_a_recipe_that_asks_reads_no_base(evil: Path, tmp_path: Path, llmrec: Command) -> None:
    done = llmrec("validate", "movies", *options(evil), cwd=tmp_path)
    assert done.returncode == 0
    assert not (tmp_path / "canary").exists()


def test_a_tokenizer_cannot_bring_its_own_code(tiny_backbone: Path, tmp_path: Path) -> None:
    base = Path(shutil.copytree(tiny_backbone, tmp_path / "base"))
    path = base / "tokenizer_config.json"
    config = json.loads(path.read_text())
    config["auto_map"] = {"AutoTokenizer": ["evil.EvilTokenizer", "evil.EvilTokenizer"]}
    path.write_text(json.dumps(config))
    (base / "evil.py").write_text(CODE.format(canary=str(tmp_path / "canary")))
    recipe = load_recipe("movies", changes={"backbone.name": str(base), "data.path": "demo", "adapter.method": "none"})
    from llmrec_peft.footprint.check import footprint_of

    footprint_of(recipe, cuda=False)
    assert not (tmp_path / "canary").exists()


def test_a_matrix_refuses_its_cells_that_ask(evil: Path, tmp_path: Path, llmrec: Command) -> None:
    matrix = {
        "name": "m",
        "recipes": [{"recipe": "movies", "data": "demo"}],
        "set": {"backbone.name": str(evil), "backbone.trust_remote_code": True, "adapter.method": "none"},
        "timing": None,
    }
    (tmp_path / "m.yaml").write_text(json.dumps(matrix))
    done = llmrec("bench", tmp_path / "m.yaml", "--out", tmp_path / "out", "--json", "-q")
    assert [row["status"] for row in json.loads(done.stdout)] == ["refused"]
    assert REFUSED in done.stdout
    assert not (tmp_path / "canary").exists()
    planned = llmrec("bench", tmp_path / "m.yaml", "--out", tmp_path / "out", "--json", "--dry-run", "--no-probe", FLAG)
    assert [cell["would"] for cell in json.loads(planned.stdout)["cells"]] == ["run"]


@pytest.fixture
def asking_run(tiny_run: Path, tmp_path: Path) -> Path:
    """A stranger's run: whole and sealed, and its recipe asks for code of the base."""
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    recipe = Recipe.from_plain(read_yaml(run / "recipe.yaml")).changed({"backbone.trust_remote_code": True})
    (run / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    recorded = json.loads((run / "manifest.json").read_text(encoding="utf-8"))["base"]
    (run / "manifest.json").write_text(make_manifest(run, recorded, "0").model_dump_json(), encoding="utf-8")
    return run


COMMANDS: dict[str, list[Any]] = {
    "recommend": ["--user", "1"],
    "predict": ["--input", "pairs.csv", "--output", "scores.csv"],
    "explain": ["--user", "1", "--item", "1"],
    "evaluate": [],
    "parity": [],
    "export-vectors": ["--out", "vectors.arrow"],
    "export": ["--format", "safetensors", "--out", "encoder"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_refuses_a_run_that_asks(
    command: str, asking_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from llmrec_peft.cli.main import main

    (tmp_path / "pairs.csv").write_text("user_id,item_id\n1,1\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main([command, str(asking_run), *COMMANDS[command]])
    assert ended.value.code == 2
    assert f"error: {REFUSED}" in capsys.readouterr().err
    if command in ("recommend", "export-vectors"):
        with pytest.raises(SystemExit) as ended:
            main([command, str(asking_run), *COMMANDS[command], FLAG])
        assert ended.value.code == 0


def test_python_says_it_by_an_argument(asking_run: Path) -> None:
    with pytest.raises(InputError, match=REFUSED):
        llmrec_peft.Recommender.from_pretrained(asking_run)
    with pytest.raises(InputError, match=REFUSED):
        llmrec_peft.evaluate(asking_run)
    recommender = llmrec_peft.Recommender.from_pretrained(asking_run, trust_remote_code=True)
    assert recommender.encode(["a film"]).isfinite().all()  # the base is loaded later, outside the call that allowed it
    assert not is_allowed()


def test_asking_and_allowing_are_two_things() -> None:
    asks, does_not = BackboneSection(trust_remote_code=True), BackboneSection()
    with pytest.raises(InputError, match=REFUSED):
        decided(asks)
    with allowing(True):
        assert decided(asks) is True
        assert decided(does_not) is False
        with allowing(False):
            assert decided(asks) is True
    assert not is_allowed()


def test_every_loading_says_whether_code_may_run() -> None:
    """transformers asks at the terminal where nothing is said; so every call of an Auto class has to say it."""
    silent = []
    root = Path(llmrec_peft.__file__).parent
    for path in sorted(root.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            owner = node.func.value
            auto = isinstance(owner, ast.Name) and owner.id.startswith("Auto")
            if auto and node.func.attr in ("from_pretrained", "from_config"):
                keywords = {keyword.arg for keyword in node.keywords}
                if not keywords & {"trust_remote_code", None}:
                    silent.append(f"{path.relative_to(root)}:{node.lineno}")
    assert silent == []

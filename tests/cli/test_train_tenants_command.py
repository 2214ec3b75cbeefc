"""`llmrec train-tenants` through the Typer app: its table, its JSON, its exit codes and its one-line refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from movielens_files import write_movielens
from typer.testing import CliRunner, Result

from llmrec_peft.cli.main import app
from llmrec_peft.errors import InputError

QUICK = ("training.epochs=1", "training.refit=false", "evaluation.bootstrap=0", "evaluation.ablations=[]")


@pytest.fixture
def shops(tmp_path: Path) -> Path:
    """Two tenants' folders, the second of which is broken."""
    for name in ("good", "worse"):
        write_movielens(tmp_path / "shops" / name, 16, 20)
    (tmp_path / "shops" / "worse" / "u.item").write_text("1|broken\n", encoding="latin-1")
    return tmp_path / "shops"


def asked(backbone: Path, *arguments: object) -> Result:
    """Run the command."""
    fields = [part for field in (*QUICK, f"backbone.name={backbone}") for part in ("--set", field)]
    command = ["train-tenants", "movies", *map(str, arguments), *fields, "--quiet"]
    return CliRunner().invoke(app, command, catch_exceptions=True, env={"COLUMNS": "200"})


def refused(backbone: Path, *arguments: object) -> str:
    """Run the command and return the one line with which it is refused."""
    result = asked(backbone, *arguments)
    assert isinstance(result.exception, InputError), result.output
    return str(result.exception)


@pytest.mark.trains
def test_a_table_shows_every_tenant_and_the_exit_code_that_one_failed(shops: Path, tiny_backbone: Path) -> None:
    out = shops.parent / "runs"
    result = asked(tiny_backbone, "--data", f"{shops}/*/", "--out", out)
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[0] == "2 tenants, 1 of which failed"
    assert any(line.startswith("good") and "tuned model" in line for line in lines)
    assert any(line.startswith("worse") and "u.item" in line for line in lines)
    assert (out / "good" / "manifest.json").is_file() and not (out / "worse").exists()

    write_movielens(shops / "better", 16, 20)
    again = asked(tiny_backbone, "--data", f"{shops}/*/", "--out", out, "--resume", "--json", "--only", "good")
    assert again.exit_code == 0
    (one,) = json.loads(again.stdout)["tenants"]
    assert (one["name"], one["status"], one["metric"]) == ("good", "finished", "rmse")


@pytest.mark.trains
def test_folders_that_a_shell_has_expanded_are_tenants_too(shops: Path, tiny_backbone: Path) -> None:
    folders = (shops / "good", shops / "worse")
    result = asked(tiny_backbone, "--data", *folders, "--out", shops.parent / "runs", "--only", "worse", "--json")
    assert [one["name"] for one in json.loads(result.stdout)["tenants"]] == ["worse"]


def test_what_is_wrong_is_said_in_one_line(
    shops: Path, tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "--data 'DIR/*/' or --split-by COLUMN" in refused(tiny_backbone)
    assert "no such column" in refused(tiny_backbone, "--data", shops / "good", "--split-by", "town")
    assert "divides the data of one folder" in refused(tiny_backbone, "--data", "a", "b", "--split-by", "gender")
    assert "no folder is there" in refused(tiny_backbone, "--data", f"{shops}/none/*/")
    assert not Path("runs/tenants").exists()


def test_as_many_trainings_are_under_way_as_are_asked_for(
    shops: Path, tiny_backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[int] = []

    def run(_self: object, _jobs: object, together: int, *_further: object) -> list[object]:
        given.append(together)
        return []

    monkeypatch.setattr("llmrec_peft.training.coroutines.Coroutines.run", run)
    for asked_for, expected in ((("--together", 3), 3), ((), 16)):
        assert asked(tiny_backbone, "--data", f"{shops}/*/", "--out", shops.parent / "runs", *asked_for).exit_code == 0
        assert given.pop() == expected
    assert asked(tiny_backbone, "--data", f"{shops}/*/", "--together", 0).exit_code != 0
    assert given == []

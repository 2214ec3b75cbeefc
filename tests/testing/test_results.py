"""Result file: merged cell by cell, and a cell counts only for the code, versions and rules it was proved with."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from llmrec_peft.backbone import through_peft
from llmrec_peft.errors import InputError
from llmrec_peft.serving import mixing
from llmrec_peft.testing import __main__ as command
from llmrec_peft.testing import results
from llmrec_peft.testing.adapters.suite import CellResult


def current(method: str = "lora", status: str = "passed") -> dict:
    return CellResult(method, "tiny-bert", "encoder", "fp32", status).plain()


def test_cells_are_added_beside_each_other(tmp_path: Path) -> None:
    path = tmp_path / "conformance.json"
    results.add_cell(path, "lora", "tiny-bert", "fp32", current())
    results.add_cell(path, "lora", "minilm", "nf4", current())
    results.add_cell(path, "none", "minilm", "nf4", current("none"))
    found = results.read_results(path)
    assert {m: {b: list(p) for b, p in found[m].items()} for m in found} == {
        "lora": {"tiny-bert": ["fp32"], "minilm": ["nf4"]},
        "none": {"minilm": ["nf4"]},
    }
    assert [p.name for p in tmp_path.iterdir()] == ["conformance.json"]


@pytest.mark.parametrize("text", ["", "[]", '{"lora": 1}', "{"])
def test_file_that_is_no_result_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "conformance.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"conformance\.json"):
        results.read_results(path)


@pytest.mark.parametrize("field", ["suite", "code", "versions"])
def test_cell_is_stale_when_what_it_was_proved_with_changed(field: str) -> None:
    cell = current()
    assert results.is_current(cell, "lora")
    assert not results.is_current({**cell, field: "other"}, "lora")


def test_code_digest_covers_what_the_method_imports_from_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "digested"
    package.mkdir()
    for name, text in {
        "__init__": "",
        "method": "def f():\n    from digested.shared import x\n",
        "shared": "from . import deep\n",
        "deep": "",
        "other": "",
    }.items():
        (package / f"{name}.py").write_text(text, encoding="utf-8")
    from importlib.metadata import EntryPoint

    from llmrec_peft import registry

    monkeypatch.syspath_prepend(str(tmp_path))
    entry = EntryPoint("digested", "digested.method:Method", "llmrec_peft.adapters")
    monkeypatch.setitem(registry.plugins("adapters"), "digested", registry.Plugin("adapters", "digested", entry))
    before = results.code_digest("digested")
    (package / "other.py").write_text("y = 1\n", encoding="utf-8")
    assert results.code_digest("digested") == before
    (package / "deep.py").write_text("y = 1\n", encoding="utf-8")
    assert results.code_digest("digested") != before


@pytest.mark.parametrize(("package", "file"), [(through_peft, "attach.py"), (mixing, "passes.py")])
def test_code_digest_covers_what_methods_share(
    package: ModuleType, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = results.code_digest("lora")
    shared = tmp_path / "shared"
    shutil.copytree(package.__path__[0], shared)
    monkeypatch.setattr(package, "__path__", [str(shared)])
    assert results.code_digest("lora") == before
    with (shared / file).open("a", encoding="utf-8") as source:
        source.write("# changed\n")
    assert results.code_digest("lora") != before


def test_current_cells_are_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, ran = tmp_path / "out.json", []

    def check(method: str, backbone: str, precision: str) -> CellResult:
        ran.append((method, backbone, precision))
        return CellResult(method, backbone, "encoder", precision, "passed")

    monkeypatch.setattr(command, "check_method", check)
    both = ["lora", "none", "--backbone", "tiny-bert", "--out", str(path)]
    assert command.main(["lora", "--backbone", "tiny-bert", "--out", str(path)]) == 0
    assert command.main(both) == 0
    assert ran == [("lora", "tiny-bert", "fp32"), ("none", "tiny-bert", "fp32")]
    assert command.main([*both, "--again"]) == 0
    assert len(ran) == 4


def test_failed_cell_of_an_earlier_run_still_fails_the_command(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    results.add_cell(path, "lora", "tiny-bert", "fp32", current(status="failed"))
    assert command.main(["lora", "--backbone", "tiny-bert", "--out", str(path)]) == 1


def test_unknown_method_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["lroa"]) == 2
    assert capsys.readouterr().err.startswith("error: unknown adapter method 'lroa': did you mean 'lora'?")


@pytest.mark.trains
def test_command_prints_json(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "llmrec_peft.testing", "none", "--backbone", "tiny-bert", "--json"],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    [cell] = json.loads(done.stdout)
    assert (cell["method"], cell["backbone"], cell["precision"], cell["status"]) == (
        "none", "tiny-bert", "fp32", "passed",
    )  # fmt: skip
    assert cell["checks"]["loss_falls"]["ok"]

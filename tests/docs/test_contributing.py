"""CONTRIBUTING.md's walk-through, followed literally: its files, its package, its suite."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import site
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from llmrec_peft import registry
from llmrec_peft.testing.plugins import check_head, check_signal

PLUGIN = re.compile(r"```python\n# (my_plugins/\S+)\n(.*?)```", re.DOTALL)
TEXT = (Path(__file__).resolve().parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
SECTION = TEXT.split("### An adapter that PEFT has")[1].split("\n### ")[0]
FILES = dict(re.findall(r"```(?:python|toml)\n# (\S+)\n(.*?)```", SECTION, re.DOTALL))


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The walk-through's folder, installed in a virtual environment that sees this one's packages."""
    if importlib.util.find_spec("setuptools") is None:
        pytest.skip("the package is built with setuptools, which is not installed here")
    folder = tmp_path_factory.mktemp("walk-through")
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    environment = folder / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True, timeout=60)
    packages = next((environment / "lib").glob("python*")) / "site-packages"
    ours = [path for path in (*site.getsitepackages(), *sys.path) if path.endswith("site-packages")]
    lines = [f"import site; site.addsitedir({path!r})" for path in dict.fromkeys(ours)]
    (packages / "parent.pth").write_text("\n".join(lines) + "\n", encoding="utf-8")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check"]
    done = run(folder, "-m", "pip", "install", *options, "-e", ".")
    assert done.returncode == 0, done.stderr
    return folder


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [folder / "env" / "bin" / "python", *arguments],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "200"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def test_every_file_of_the_walk_through_is_found() -> None:
    assert set(FILES) == {"pyproject.toml", "my_adapters/__init__.py", "my_adapters/hra.py", "tests/test_hra.py"}


def test_suite_passes_by_the_command_that_is_given_and_is_listed(package: Path) -> None:
    command = next(line for line in SECTION.splitlines() if line.startswith("python -m llmrec_peft.testing"))
    done = run(package, *command.split()[1:])
    assert done.returncode == 0, done.stderr
    listed = run(package, "-m", "llmrec_peft.cli.main", "list", "adapters", "--json")
    row = {row["name"]: row for row in json.loads(listed.stdout)}["hra"]
    assert row["package"] == "my-adapters 0.1.0"
    assert row["matrix"]["encoder"]["fp32"] == "proved"


def test_its_own_test_passes_refusal_included(package: Path) -> None:
    done = run(package, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


@pytest.mark.parametrize(
    ("title", "kind", "name", "entry"),
    [
        ("A signal", "signals", "item-mean", "my_plugins.item_mean:ItemMean"),
        ("A head", "heads", "log-cosh", "my_plugins.log_cosh:LogCosh"),
    ],
)
def test_signal_and_head_of_the_walk_through_keep_every_rule(
    title: str, kind: str, name: str, entry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = TEXT.split(f"### {title}\n")[1].split("\n### ")[0]
    [(path, text)] = PLUGIN.findall(section)
    assert f'{name} = "{entry}"' in section
    assert f"python -m llmrec_peft.testing {name} --kind {kind[:-1]}" in section
    file = tmp_path / path
    file.parent.mkdir()
    file.write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_plugins", raising=False)
    plugin = registry.Plugin(kind, name, EntryPoint(name, entry, f"llmrec_peft.{kind}"))
    monkeypatch.setitem(registry.plugins(kind), name, plugin)
    results = check_signal(name) if kind == "signals" else check_head(name)
    assert [line for result in results for line in result.failures()] == []
    assert {result.status for result in results} == {"passed"}

"""The door of plugins: every promised name is there, light and documented, and the example in its docstring works."""

from __future__ import annotations

import ast
import subprocess
import sys
import textwrap
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from llmrec_peft import plugins, registry
from llmrec_peft.testing.plugins import check_signal

ROOT = Path(__file__).resolve().parents[1]
OURS = sorted(file for folder in ("adapters", "recipes") for file in (ROOT / folder).rglob("*.py"))
_HEAVY = "('torch', 'peft', 'transformers', 'datasets', 'pandas')"


@pytest.mark.trains
def test_importing_it_imports_nothing_heavy() -> None:
    """`llmrec list` imports every plugin, and every plugin imports this module."""
    code = f"import sys, llmrec_peft.plugins; print([name for name in {_HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]"


def test_every_promised_name_is_there_once() -> None:
    assert sorted(set(plugins.__all__)) == sorted(plugins.__all__) == dir(plugins)
    for name in plugins.__all__:
        assert getattr(plugins, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = plugins.nothing


def test_every_promised_class_and_function_is_documented() -> None:
    promised = {name: getattr(plugins, name) for name in plugins.__all__ if name != "Layers"}  # a type, no object
    bare = [name for name, found in promised.items() if not (found.__doc__ or "").strip()]
    assert bare == []
    automatic = [name for name, found in promised.items() if found.__doc__.startswith(f"{name}(")]  # by dataclass
    assert automatic == []


def test_signal_in_the_docstring_keeps_every_rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = plugins.__doc__ or ""
    code = textwrap.dedent(text.split("::\n", 1)[1].split("\nIt is registered")[0])
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "__init__.py").touch()
    (tmp_path / "my_package" / "item_bias.py").write_text(code, encoding="utf-8")
    name, entry = "item-bias", "my_package.item_bias:ItemBias"
    assert f'{name} = "{entry}"' in text
    monkeypatch.syspath_prepend(str(tmp_path))
    plugin = registry.Plugin("signals", name, EntryPoint(name, entry, "llmrec_peft.signals"))
    monkeypatch.setitem(registry.plugins("signals"), name, plugin)
    results = check_signal(name)
    assert [line for result in results for line in result.failures()] == []


@pytest.mark.parametrize("file", OURS, ids=lambda path: str(path.relative_to(ROOT)))
def test_first_party_adapters_and_readers_come_in_by_the_same_door(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    ours = {module for module in imported if module and module.partition(".")[0] == "llmrec_peft"}
    assert ours <= {"llmrec_peft.plugins"}

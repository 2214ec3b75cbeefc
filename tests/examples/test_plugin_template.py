"""The copier template of plugins: it makes examples/plugin, each kind by itself, and refuses what would not install."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path
from typing import Any

import copier
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "templates" / "plugin"
EXAMPLE = ROOT / "examples" / "plugin"
ANSWERS: dict[str, Any] = yaml.safe_load((TEMPLATE / "example.yml").read_text(encoding="utf-8"))
MADE_LATER = ("__pycache__", ".egg-info", "build", ".pytest_cache", ".ruff_cache", "conformance.json")
FILES = {
    "adapter": {"hra.py", "test_hra.py"},
    "head": {"bounded_rating.py", "test_bounded_rating.py"},
    "signal": {"item_mean.py", "test_item_mean.py"},
    "reader": {"reader.py", "recipe.yaml", "demo.yaml", "test_shop.py"},
}


def generated(folder: Path, **answers: Any) -> Path:
    """Make a package from the template, with the example's answers but for those given."""
    copier.run_copy(str(TEMPLATE), folder, data={**ANSWERS, **answers}, defaults=True, quiet=True)
    return folder


def contents(folder: Path) -> dict[str, str]:
    """Text of each file below a folder, without those that installing and testing leave."""
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part.endswith(MADE_LATER) for part in path.relative_to(folder).parts)
    }


def project(folder: Path) -> dict[str, Any]:
    """The package's metadata."""
    found: dict[str, Any] = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return found


def test_the_example_is_what_the_template_makes(tmp_path: Path) -> None:
    """Where it fails, run the command in templates/plugin/example.yml."""
    assert contents(generated(tmp_path / "made")) == contents(EXAMPLE)


@pytest.mark.parametrize("kind", list(FILES))
def test_a_package_of_one_kind_has_nothing_of_the_others(tmp_path: Path, kind: str) -> None:
    folder = generated(tmp_path / "made", package="one-kind", kinds=[kind])
    texts = contents(folder)
    names = {Path(name).name for name in texts} - {"pyproject.toml", "README.md", "__init__.py"}
    assert names == FILES[kind]
    readme = texts["README.md"]
    assert [other for other, own in FILES.items() for name in own if other != kind and f"`{name}`" in readme] == []
    points = [point for group in project(folder)["entry-points"].values() for point in group.values()]
    modules = [point.partition(":")[::2] for point in points]
    for module, name in modules:
        path = folder / module.replace(".", "/")
        if not name:
            assert (path / "recipe.yaml").is_file()
            continue
        tree = ast.parse(path.with_suffix(".py").read_text(encoding="utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    assert len(points) == (2 if kind == "reader" else 1)


def test_an_author_may_have_any_name(tmp_path: Path) -> None:
    name = 'Zoë "Z" O\\Neill <z@example.org>'
    assert project(generated(tmp_path / "made", author=name))["authors"] == [{"name": name}]


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"package": "Mine"}, "lower-case letters"),
        ({"package": "my_plugins"}, "lower-case letters"),
        ({"package": "../mine"}, "lower-case letters"),
        ({"package": "mine\n"}, "lower-case letters"),
        ({"package": "llmrec-peft"}, "taken by llmrec-peft"),
        ({"author": "one\ntwo"}, "one line"),
        ({"author": " "}, "one line"),
        ({"kinds": []}, "At least one"),
    ],
)
def test_answers_that_make_no_package_are_refused_before_anything_is_written(
    tmp_path: Path, answers: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        generated(tmp_path / "made", **answers)
    assert not (tmp_path / "made").exists()


def test_the_template_runs_nothing() -> None:
    """Without tasks, migrations and extensions copier asks for no --trust."""
    settings = {
        name for name in yaml.safe_load((TEMPLATE / "copier.yml").read_text(encoding="utf-8")) if name[0] == "_"
    }
    assert settings == {"_subdirectory", "_min_copier_version", "_exclude"}

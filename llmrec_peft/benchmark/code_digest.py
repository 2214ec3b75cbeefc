"""Code digest: one digest of the source files that compute a cell's figures, those of its plugins included."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

from llmrec_peft import registry
from llmrec_peft.identity import file_digest, files_digest, values_digest
from llmrec_peft.recipe import Recipe

_ROOT = Path(__file__).parents[1]
_OWN = "llmrec-peft"
"""Name of this distribution."""
BESIDE = frozenset(
    "benchmark cli cluster explanation footprint hub overview page retrieval serving testing workflows".split()
)
"""Rooms of this package whose code changes no figure of a cell; a room that is new here counts."""
MEASURING = (
    *(f"benchmark/{name}.py" for name in "answers cell energy family latency phases sampler step_latency".split()),
    "workflows/train.py",
)
"""Files of those rooms that count all the same."""


def code_digest(recipe: Recipe) -> str:
    """Return one digest of the code that trains and measures a recipe.

    It covers the Python files of this distribution that compute, its adapters and recipes included, and those of each
    further package whose adapter, heads, signals or reader the recipe names, with that package's version. What a
    comment says counts, too: a digest cannot tell which change matters.

    Args:
        recipe: Resolved recipe.
    """
    named = [
        ("adapters", recipe.adapter.method),
        ("readers", recipe.data.reader),
        *(("heads", name) for name in recipe.reads.heads),
        *(("signals", name) for name in recipe.signals.active),
    ]
    packages = _own_packages()  # all of them, so that cells that name no stranger's plugin share one digest
    for kind, name in named:
        plugin = registry.plugins(kind)[name]
        package = _top(plugin)
        if package not in packages:
            packages[package] = values_digest([plugin.package, _of_package(package)])
    return values_digest(packages)


def counts(path: Path) -> bool:
    """Return whether a source file of this package, by its path below the package, is part of the digest."""
    return path.parts[0] not in BESIDE or path.as_posix() in MEASURING


def _own_packages() -> dict[str, str]:
    """Return the digests of the packages of this distribution, by name."""
    every = (plugin for kind in registry.KINDS for plugin in registry.plugins(kind).values())
    own = {_top(one) for one in every if one.entry_point.dist is not None and one.entry_point.dist.name == _OWN}
    return {name: _core() if name == _ROOT.name else _of_package(name) for name in sorted(own | {_ROOT.name})}


def _top(plugin: registry.Plugin) -> str:
    return plugin.entry_point.module.partition(".")[0]


@functools.cache
def _core() -> str:
    paths = (path.relative_to(_ROOT) for path in _ROOT.rglob("*.py"))
    return files_digest({path.as_posix(): file_digest(_ROOT / path) for path in paths if counts(path)})


@functools.cache
def _of_package(name: str) -> str:
    """Return the digest of the Python files of a package, or of a module that stands alone; it is not imported."""
    spec = importlib.util.find_spec(name)
    if spec is None:
        return ""
    if not spec.submodule_search_locations:
        return "" if spec.origin is None else file_digest(Path(spec.origin))
    found: dict[str, str] = {}
    for place in map(Path, spec.submodule_search_locations):
        found |= {path.relative_to(place).as_posix(): file_digest(path) for path in place.rglob("*.py")}
    return files_digest(found)

"""Imports: no module needs itself, not even for its types."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "llmrec_peft": ROOT / "llmrec_peft",
    "llmrec_adapters": ROOT / "adapters/llmrec_adapters",
    "llmrec_recipes": ROOT / "recipes/llmrec_recipes",
}
FACE = "llmrec_peft"
"""The face for users imports what it shows on first use; that others read the version of it makes no circle."""


def modules() -> dict[str, Path]:
    """Every module of the three packages by its dotted name."""
    found = {}
    for name, folder in PACKAGES.items():
        for path in folder.rglob("*.py"):
            parts = path.relative_to(folder).with_suffix("").parts
            found[".".join([name, *(part for part in parts if part != "__init__")])] = path
    return found


def imported(source: str, known: set[str]) -> set[str]:
    """Modules that a source imports, wherever the import stands: inside functions and for types alone, too."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inside & known
            if inside - known:
                found.add(node.module)
    return found & known


def circles(graph: dict[str, set[str]]) -> Iterator[list[str]]:
    """Groups of modules that reach one another (Tarjan's strongly connected components of more than one module)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    open_nodes: list[str] = []
    groups: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        open_nodes.append(node)
        for other in sorted(graph[node]):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in open_nodes:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            group = [open_nodes.pop()]
            while group[-1] != node:
                group.append(open_nodes.pop())
            if len(group) > 1 or node in graph[node]:
                groups.append(sorted(group))

    for node in sorted(graph):
        if node not in index:
            visit(node)
    yield from groups


def test_no_module_imports_itself_on_any_way_not_even_for_types() -> None:
    paths = modules()
    graph = {name: imported(path.read_text(encoding="utf-8"), set(paths)) for name, path in paths.items()}
    graph[FACE] = set()
    assert list(circles(graph)) == []


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"b"}, "b": {"a"}, "c": {"a"}}, [["a", "b"]]),
        ({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"d"}}, [["a", "b", "c"], ["d"]]),
    ],
)
def test_circles_are_found_where_there_are_some(graph: dict[str, set[str]], expected: list[list[str]]) -> None:
    assert list(circles(graph)) == expected


def test_imports_are_found_wherever_they_stand() -> None:
    source = (
        "import a.b\nfrom c import d\n"
        "if TYPE_CHECKING:\n    from e import f\n"
        "def late() -> None:\n    from g import h, i\n    import json\n"
    )
    known = {"a.b", "c", "c.d", "e", "g", "g.h"}
    assert imported(source, known) == {"a.b", "c.d", "e", "g", "g.h"}

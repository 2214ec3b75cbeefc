"""Grammar of text templates: the nodes, filters, tests and calls that one may have, checked before it is compiled."""

from __future__ import annotations

import math

from jinja2 import TemplateSyntaxError, nodes

from llmrec_peft.recipe.template_filters import FILTERS, TESTS
from llmrec_peft.recipe.template_methods import METHODS

_DEEPEST = 40
"""Levels of expressions and blocks inside each other."""
_LOOPS = 4
"""Loops inside each other."""
_BLOCKS = 10
"""Loops and conditions inside each other; Python's own limit is 20."""
LARGEST = 10**15
"""Largest number that a template may name."""

_ALLOWED = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.Name,
    nodes.Const,
    nodes.List,
    nodes.Tuple,
    nodes.For,
    nodes.If,
    nodes.Assign,
    nodes.CondExpr,
    nodes.Filter,
    nodes.Test,
    nodes.Call,
    nodes.Keyword,
    nodes.Getattr,
    nodes.Getitem,
    nodes.Slice,
    nodes.Concat,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.Compare,
    nodes.Operand,
    nodes.Add,
    nodes.Sub,
    nodes.Mul,
    nodes.Div,
    nodes.FloorDiv,
    nodes.Mod,
    nodes.Neg,
    nodes.Pos,
)
"""What a template is made of; includes, imports, macros, blocks and powers are missing on purpose."""
_SPELLED = {
    "CallBlock": "call",
    "FilterBlock": "filter",
    "FromImport": "from",
    "AssignBlock": "set … endset",
    "Pow": "**",
    "NSRef": "namespace",
}


def check(tree: nodes.Template) -> None:
    """Refuse what is not listed.

    Raises:
        TemplateSyntaxError: With the line.
    """
    todo: list[tuple[nodes.Node, int, int, int]] = [(tree, 0, 0, 0)]
    while todo:
        node, depth, blocks, loops = todo.pop()
        blocks += isinstance(node, nodes.For | nodes.If)
        loops += isinstance(node, nodes.For)
        if depth > _DEEPEST or blocks > _BLOCKS or loops > _LOOPS:
            _refuse(node, f"too deep: at most {_LOOPS} loops, {_BLOCKS} blocks and {_DEEPEST} levels inside each other")
        _check_node(node)
        todo += ((child, depth + 1, blocks, loops) for child in node.iter_child_nodes())


def _check_node(node: nodes.Node) -> None:
    if not isinstance(node, _ALLOWED):
        name = type(node).__name__
        _refuse(node, f"a text template has no need of {_SPELLED.get(name, name.lower())!r}")
    match node:
        case nodes.Filter() if node.name not in FILTERS:
            _refuse(node, f"no filter is called {node.name[:40]!r}; there are {', '.join(sorted(FILTERS))}")
        case nodes.Test() if node.name not in TESTS:
            _refuse(node, f"no test is called {node.name[:40]!r}; there are {', '.join(sorted(TESTS))}")
        case nodes.For() if node.recursive:
            _refuse(node, "a text template has no need of recursive loops")
        case nodes.Name() if node.name == "self" or node.name.startswith("_"):
            _refuse(node, f"no column can be read as {node.name[:40]!r}")
        case nodes.Getattr() if node.attr.startswith("_"):
            _refuse(node, f"no column can be read as {node.attr[:40]!r}")
        case nodes.Call():
            called = node.node
            if not (isinstance(called, nodes.Getattr) and called.attr in METHODS) and not (
                isinstance(called, nodes.Name) and called.name == "range"
            ):
                _refuse(node, f"nothing can be called but range and the methods {', '.join(sorted(METHODS))}")
        case nodes.Const():
            _check_constant(node)
        case nodes.List() | nodes.Tuple() if any(isinstance(one, nodes.List | nodes.Tuple) for one in node.items):
            _refuse(node, "a text template has no need of lists inside lists")


def _check_constant(node: nodes.Const) -> None:
    value = node.value
    if isinstance(value, str):
        if any("\ud800" <= letter <= "\udfff" for letter in value):
            _refuse(node, "a text in the template holds half a character (a lone surrogate)")
    elif not isinstance(value, bool | int | float | None):
        _refuse(node, f"a text template has no need of {type(value).__name__}")
    elif value is not None and not (math.isfinite(value) and abs(value) <= LARGEST):
        _refuse(node, f"numbers in a template are at most {LARGEST:.0e}")


def _refuse(node: nodes.Node, why: str) -> None:
    raise TemplateSyntaxError(why, getattr(node, "lineno", None) or 1)


def columns_of(tree: nodes.Template) -> dict[int, tuple[str, ...]]:
    """Return the columns that each line names: ``year``, ``item.title``."""
    named: dict[int, dict[str, None]] = {}
    inner = {id(dotted.node) for dotted in tree.find_all(nodes.Getattr)}
    for node in tree.find_all((nodes.Name, nodes.Getattr)):
        parts: list[str] = []
        part: nodes.Node = node
        while isinstance(part, nodes.Getattr):
            parts.append(part.attr)
            part = part.node
        if isinstance(part, nodes.Name) and part.ctx == "load" and part.name != "loop" and id(node) not in inner:
            named.setdefault(node.lineno, {})[".".join([part.name, *reversed(parts)])] = None
    return {line: tuple(names) for line, names in named.items()}

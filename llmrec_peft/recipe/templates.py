"""Text templates: the part of Jinja2 that a stranger's recipe may use, checked and compiled without computing.

A template names columns, filters them, loops over lists and chooses by conditions. It cannot include files, define
macros, call what is not listed in `template_filters` and `template_methods`, or build a text without bound.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from jinja2 import StrictUndefined, Template, TemplateSyntaxError, Undefined, nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.runtime import LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from llmrec_peft.recipe.template_filters import FILTERS, TESTS, concat
from llmrec_peft.recipe.template_grammar import LARGEST, check, columns_of
from llmrec_peft.recipe.template_methods import Method, method
from llmrec_peft.recipe.template_values import (
    STEP,
    Rendering,
    as_text,
    computable,
    entries,
    is_missing,
    is_number,
    weight,
)

MAX_SOURCE = 10_000
"""Characters of a template."""
_LOOP = frozenset(
    ("index", "index0", "revindex", "revindex0", "first", "last", "length", "previtem", "nextitem", "depth", "depth0")
)
_MOMENT = frozenset(("year", "month", "day", "hour", "minute", "second", "days", "seconds"))


class _Language(ImmutableSandboxedEnvironment):
    """Jinja2's sandbox, narrowed: only columns can be reached, and only what is listed can be called."""

    intercepted_binops = frozenset(("+", "-", "*", "/", "//", "%"))
    context_class = Rendering

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return a column of a row, a part of a moment or of the loop, or a method that may be called."""
        return self.getitem(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Return an entry of a list or a row, or what `getattr` returns for a name."""
        try:
            if isinstance(obj, dict | list | tuple | str):
                return obj[argument]
        except (KeyError, TypeError, IndexError):
            pass
        if isinstance(obj, Undefined):
            str(obj)  # a strict one raises, and names the column
        if isinstance(obj, Mapping) and argument in obj:
            return obj[argument]
        if isinstance(argument, str):
            if isinstance(obj, LoopContext):
                if argument in _LOOP:
                    return getattr(obj, argument)
            elif argument in _MOMENT and hasattr(obj, argument) and not isinstance(obj, str | Mapping | Undefined):
                return getattr(obj, argument)
            found = method(obj, argument)
            if found is not None:
                return found
        return self.undefined(obj=obj, name=argument)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        """Call a method of a text or a row, or `range`."""
        if isinstance(__obj, Method):
            kwargs.pop("_loop_vars", None)  # what Jinja's own code hands to every call
            kwargs.pop("_block_vars", None)
            return __obj(__context, *args, **kwargs)
        if __obj is _range:
            return _range(__context, *args)
        if isinstance(__obj, Undefined):
            str(__obj)
        raise SecurityError("a text template has no need of such a call")

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Compute with numbers; ``+`` also joins two texts or two lists."""
        for value in (left, right):
            if isinstance(value, Undefined):
                str(value)  # a strict one raises, and names the column
        if operator == "+" and isinstance(left, str) and isinstance(right, str):
            return concat(context, [left, right])
        if operator == "+" and isinstance(left, list) and isinstance(right, list):
            context.spend(len(left) + len(right))
            return left + right
        if isinstance(left, str | list | tuple) or isinstance(right, str | list | tuple):
            raise SecurityError(f"a text template has no need of {operator!r} on texts or lists")
        return self.binop_table[operator](computable(left), computable(right))


@pass_context
def _range(context: Rendering, *bounds: Any) -> list[int]:
    numbers = range(*(int(computable(bound)) for bound in bounds))
    context.spend(len(numbers))
    return list(numbers)


@pass_context
def _printed(context: Rendering, value: Any) -> Any:
    """Return what stands in the text for ``{{ value }}``."""
    kind = type(value)
    if kind is str or (kind is int and -LARGEST < value < LARGEST):
        return value
    if isinstance(value, Method):
        raise SecurityError(f"{value.name} is a method: write {value.name}()")
    return as_text(context, value)


@pass_context
def _each(context: Rendering, value: Any, inside: int) -> Any:
    """Count the turns of a loop before it runs, with the text that stands inside it."""
    found = entries(context, value)
    context.spend((STEP + inside) * len(found))
    return found


@pass_context
def _kept(context: Rendering, value: Any) -> Any:
    """Count the size of what ``set`` keeps, since it can be doubled again and again."""
    context.spend(weight(value, context.left + 1))
    return value


@pass_context
def _weighed(context: Rendering, value: Any) -> Any:
    """Count the size of what is compared."""
    if not isinstance(value, Undefined) and not is_number(value) and not is_missing(value):
        context.spend(weight(value, context.left + 1) // 16)
    return value


_INSIDE: dict[str, Callable[..., Any]] = {"_each": _each, "_joined": concat, "_kept": _kept, "_weighed": _weighed}
"""Filters that no template can name; `_Bounded` puts them where work is to be counted."""


def _language() -> _Language:
    language = _Language(
        undefined=StrictUndefined, autoescape=False, trim_blocks=True, optimized=False, finalize=_printed
    )
    language.globals.clear()
    language.globals["range"] = _range
    language.filters = {**FILTERS, **_INSIDE}
    language.tests = dict(TESTS)
    return language


_LANGUAGE = _language()


@dataclass(frozen=True)
class CompiledTemplate:
    """A template that was checked.

    Attributes:
        template: Jinja2's template; its contexts are `Rendering`s.
        columns: Columns that each line names.
        sets: Whether it keeps values by ``set``.
        ranges: Whether it reads the one name that is no column, `range`.
    """

    template: Template
    columns: Mapping[int, tuple[str, ...]]
    sets: bool
    ranges: bool


@functools.lru_cache(maxsize=512)
def compiled(source: str) -> CompiledTemplate:
    """Check a template and compile it; nothing in it is computed.

    Args:
        source: The template.

    Raises:
        ValueError: In one line, with the template's line that is not right.
    """
    if len(source) > MAX_SOURCE:
        raise ValueError(f"a template has at most {MAX_SOURCE:,} characters, not {len(source):,}")
    try:
        source.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("the template holds half a character (a lone surrogate)") from None
    try:
        tree = _LANGUAGE.parse(source)
        check(tree)
        columns = columns_of(tree)
        sets = tree.find(nodes.Assign) is not None
        ranges = any(name.name == "range" for name in tree.find_all(nodes.Name))
        with warnings.catch_warnings():
            # Python's opinion of `1[0]`, which fails when it is rendered
            warnings.simplefilter("ignore", SyntaxWarning)
            code = _LANGUAGE.compile(_Bounded().visit(tree))
    except TemplateSyntaxError as error:
        raise ValueError(f"line {error.lineno} of the template: {error.message}") from None
    except RecursionError:
        raise ValueError("the template has too many expressions inside each other") from None
    except (SyntaxError, MemoryError, OverflowError, ValueError, TypeError, AttributeError, AssertionError) as error:
        raise ValueError(f"the template cannot be read ({str(error)[:80] or type(error).__name__})") from None
    template = Template.from_code(_LANGUAGE, code, _LANGUAGE.make_globals(None), None)
    return CompiledTemplate(template, columns, sets, ranges)


class _Bounded(NodeTransformer):
    """Puts a count of work around loops, assignments, comparisons and ``~``."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 - Jinja's name
        inside = sum(len(data.data) for data in node.find_all(nodes.TemplateData))
        self.generic_visit(node)
        node.iter = _counted("_each", cast(nodes.Expr, node.iter), nodes.Const(inside))
        return node

    def visit_Assign(self, node: nodes.Assign) -> nodes.Node:  # noqa: N802 - Jinja's name
        self.generic_visit(node)
        node.node = _counted("_kept", cast(nodes.Expr, node.node))
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802 - Jinja's name
        self.generic_visit(node)
        return _counted("_joined", nodes.List(node.nodes, lineno=node.lineno))

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:  # noqa: N802 - Jinja's name
        self.generic_visit(node)
        node.expr = _weighed_side(node.expr)
        for operand in node.ops:
            operand.expr = _weighed_side(operand.expr)
        return node


def _weighed_side(side: nodes.Expr) -> nodes.Expr:
    return side if isinstance(side, nodes.Const) else _counted("_weighed", side)


def _counted(name: str, node: nodes.Expr, *arguments: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(node, name, list(arguments), [], None, None, lineno=node.lineno)

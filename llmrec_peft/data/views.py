"""Text views: an item's columns rendered by a Jinja2 template into the text that the model reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, UndefinedError
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from llmrec_peft.errors import InputError


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja2's sandbox bounds `range` but not ``"a" * 10**11``; this one refuses products and powers."""

    intercepted_binops = frozenset(["*", "**"])

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        raise SecurityError(f"a text template has no need of {operator!r}")


_ENVIRONMENT = _Sandbox(undefined=StrictUndefined, autoescape=False, trim_blocks=True)
_MAX_CHARACTERS = 20_000


class ViewTemplate:
    """One compiled template; it may come from a stranger's recipe, so it runs in Jinja2's sandbox.

    >>> ViewTemplate("{{ title }} ({{ year }})").render({"title": "Heat", "year": 1995})
    'Heat (1995)'
    """

    def __init__(self, source: str) -> None:
        """Compile a template.

        Raises:
            InputError: Naming the line of a syntax error.
        """
        self.source = source
        try:
            self._template: Template = _ENVIRONMENT.from_string(source)
        except TemplateSyntaxError as error:
            raise InputError(f"views: line {error.lineno} of the template: {error.message}") from None

    def render(self, row: Mapping[str, Any], lines: bool = False) -> str:
        """Render one row; runs of white space become single spaces.

        Args:
            row: Columns that the template may name.
            lines: Whether line ends are kept, as prompts need them.

        Raises:
            InputError: If the template names a column that does not exist, or fails.
        """
        return self._rendered(self._template.render, row, lines)

    def render_all(self, rows: Iterable[Mapping[str, Any]]) -> list[str]:
        """Render many rows in order, equal to `render` for each, in a third of the time.

        Jinja2 makes a context for each call of `Template.render`, which takes longer than most templates; here one
        context is reused for all rows.
        """
        context = self._template.new_context()
        known, write = dict(context.parent), self._template.root_render_func

        def render(row: Mapping[str, Any]) -> str:
            context.parent = {**known, **row}
            context.vars.clear()  # what the template set for the row before
            context.exported_vars.clear()
            return "".join(write(context))

        rendered = self._rendered
        return [rendered(render, row) for row in rows]

    def _rendered(self, render: Callable[[Mapping[str, Any]], str], row: Mapping[str, Any], lines: bool = False) -> str:
        try:
            text = render(row)
        except UndefinedError as error:
            raise InputError(f"views: {error.message}; the columns are {', '.join(sorted(row))}") from None
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
            raise InputError(f"views: the template failed on {dict(row)!r:.80}: {error}") from None
        text = text[:_MAX_CHARACTERS]
        if lines:
            return "\n".join(" ".join(line.split()) for line in text.strip().splitlines())
        return " ".join(text.split())

"""Model card: the run folder's README.md, and the parts that it shares with the card of a published run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import FileSystemLoader, StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from llmrec_peft.artifact.figures import NO_ADAPTER, figure_rows, legend
from llmrec_peft.artifact.licences import licences_of
from llmrec_peft.printable import for_markdown, for_terminal
from llmrec_peft.recipe import Recipe
from llmrec_peft.recipe.yaml_file import dump_yaml

TEMPLATES = Path(__file__).parent / "cards"


class Code(str):
    """Text of ours that stands in a block of code, where Markdown has no escapes."""

    __slots__ = ()

    @classmethod
    def literal(cls, value: object) -> Code:
        """Return a plain value of others as a Python literal in ASCII, on one line.

        >>> print(Code.literal({"title": ["a\\n```", 1]}))
        {"title": ["a\\n```", 1]}
        """
        if isinstance(value, Mapping):
            pairs = (f"{cls.literal(key)}: {cls.literal(one)}" for key, one in value.items())
            return cls(f"{{{', '.join(pairs)}}}")
        if isinstance(value, list):
            return cls(f"[{', '.join(cls.literal(one) for one in value)}]")
        text = ascii(value)
        return cls(f'"{text[1:-1]}"' if isinstance(value, str) and '"' not in text and "\\'" not in text else text)


def rendered(
    template: str, recipe: Recipe, metrics: Mapping[str, Any], values: Mapping[str, Any], *folders: Path
) -> str:
    """Render the text of a card; every value is shown as text, whatever markup it holds, except `Code`.

    Args:
        template: Name of the template's file.
        recipe: Resolved recipe of the run, in the template as ``recipe``.
        metrics: Its ``metrics.json``, in the template as ``m``, and the name of its base as ``base``.
        values: What else the template names.
        folders: Where its file may lie, beside the folder of the shared parts.

    Raises:
        jinja2.TemplateError: If a value is missing.
    """
    environment = ImmutableSandboxedEnvironment(
        loader=FileSystemLoader([*folders, TEMPLATES]),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: value if isinstance(value, Code) else for_markdown(value),
    )
    shared = {"recipe": recipe, "m": metrics, "base": metrics["base"]["name"], "no_adapter": NO_ADAPTER}
    return environment.get_template(template).render({**shared, **values})


def front_matter(recipe: Recipe, metrics: Mapping[str, Any]) -> str:
    """Return the metadata of a card of a folder here."""
    tags = ["recommender-system", "llmrec-peft", recipe.adapter.method]
    base = for_terminal(metrics["base"]["name"])  # one line: nothing in it can look like the end of the metadata
    told = dump_yaml({"library_name": "peft", "base_model": base, "tags": tags})
    return f"---\n{told}---\n\n"


def model_card(recipe: Recipe, metrics: Mapping[str, Any]) -> str:
    """Render the run folder's card from the resolved recipe and the run's ``metrics.json``."""
    licences = licences_of(recipe, metrics)
    values = {
        "signals": ", ".join(recipe.signals.active),
        "names": list(metrics["test"]["after"]),  # none of a merged run whose data were not there
        "rows": figure_rows(metrics),
        "legend": legend(metrics),
        "differences": None,
        "memory": None,
        "licences": licences,
        "licence_notes": licences.notes(items=True),
    }
    return front_matter(recipe, metrics) + rendered("run.md.jinja", recipe, metrics, values)

"""Model card: the run folder's README.md, and the parts that it shares with the card of a published run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import FileSystemLoader, StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from llmrec_peft.artifact.figures import NO_ADAPTER, figure_rows, legend
from llmrec_peft.artifact.licences import licences_of
from llmrec_peft.printable import for_markdown
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


def rendered(template: str, values: Mapping[str, Any], *folders: Path) -> str:
    """Render a card's template; every value is shown as text, whatever markup it holds, except `Code`.

    Args:
        template: Name of the file.
        values: What it names.
        folders: Where it may lie, beside the folder of the shared parts.

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
    return environment.get_template(template).render(values)


def model_card(recipe: Recipe, metrics: Mapping[str, Any]) -> str:
    """Render the run folder's card from the resolved recipe and the run's ``metrics.json``."""
    base = str(metrics["base"]["name"])
    tags = ["recommender-system", "llmrec-peft", recipe.adapter.method]
    front = dump_yaml({"library_name": "peft", "base_model": base, "tags": tags})
    licences = licences_of(recipe, metrics)
    values = {
        "recipe": recipe,
        "m": metrics,
        "base": base,
        "signals": ", ".join(recipe.signals.active),
        "names": list(metrics["test"]["after"]),  # none of a merged run whose data were not there
        "rows": figure_rows(metrics),
        "legend": legend(metrics),
        "differences": None,
        "no_adapter": NO_ADAPTER,
        "memory": None,
        "licences": licences,
        "licence_notes": licences.notes(items=True),
    }
    return f"---\n{front}---\n\n" + rendered("run.md.jinja", values)

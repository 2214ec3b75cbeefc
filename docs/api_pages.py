"""Pages of the site about Python: what is promised to users and to authors of plugins, from the docstrings."""

from __future__ import annotations

from collections.abc import Iterator

import llmrec_peft
from llmrec_peft import plugins

_CLASSES = {
    "Dataset": "llmrec_peft.custom.dataset.Dataset",
    "Engine": "llmrec_peft.serving.engine.Engine",
    "Recommender": "llmrec_peft.workflows.recommender.Recommender",
}
"""Classes of the public face that have a page of their own, and where each is defined."""
_NOT_CONSTRUCTED = ("Dataset", "Recommender")
"""Classes whose constructors are not for users."""
_FOR_USERS = """\
# Python

`import llmrec_peft` promises these functions, and the classes [Dataset](dataset.md), [Recommender](recommender.md) and
[Engine](engine.md). It imports no torch: that comes with the first training.
"""
_FOR_AUTHORS = """\
# For authors of plugins

`llmrec_peft.plugins` is the one module that a plugin imports: every name here is promised, and nothing else is.
[Your own plugin](../own-plugin.md) says how they are used.
"""


def api_pages() -> dict[str, str]:
    """Return the pages by their place in the site, for mkdocstrings to fill in."""
    functions = [name for name in llmrec_peft.__all__ if name not in _CLASSES and not name.startswith("__")]
    return {
        "api/index.md": _page(_members("llmrec_peft", _FOR_USERS, functions)),
        **{f"api/{name.lower()}.md": _page(_class(name, path)) for name, path in _CLASSES.items()},
        "api/plugins.md": _page(_members("llmrec_peft.plugins", _FOR_AUTHORS, plugins.__all__)),
    }


def _page(lines: Iterator[str]) -> str:
    return "\n".join(lines) + "\n"


def _class(name: str, path: str) -> Iterator[str]:
    yield from ("---", f"title: {name}", "---", "")
    yield from (f"::: {path}", "    options:", "      heading_level: 1", "      inherited_members: true")
    if name in _NOT_CONSTRUCTED:
        yield "      merge_init_into_class: false"


def _members(module: str, about: str, names: list[str]) -> Iterator[str]:
    yield about
    for name in names:
        yield from (f"::: {module}.{name}", "")

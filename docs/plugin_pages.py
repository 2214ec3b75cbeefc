"""Pages of the site about plugins: one for each recipe, adapter, head, signal, reader and backbone, from the code."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from markdown_table import table_header, table_row
from option_tables import options_of, own_plugins
from recipe_tables import figures_of

from llmrec_peft import registry
from llmrec_peft.cli.adapter_matrix import KINDS, matrix_of, matrix_row
from llmrec_peft.recipe.described import described
from llmrec_peft.recipe.registered import RegisteredRecipe, demo_settings
from llmrec_peft.testing.results import PRECISIONS

ROOT = Path(__file__).resolve().parents[1]
READ_MORE: Mapping[str, tuple[str, str]] = {
    "recipes": ("[Results](../../results.md)", "[Getting started](../../getting-started.md)"),
    "adapters": ("[Adapters](../../adapters.md)", "[Which adapter?](../../choosing.md)"),
    "heads": ("[Heads](../../heads.md)", "[Which head?](../../choosing.md)"),
    "signals": ("[Signals](../../signals.md)", "[Which signal?](../../choosing.md)"),
    "readers": ("[Data](../../data.md)", "[Your own data](../../own-data.md)"),
    "backbones": ("[Backbones](../../backbones.md)", "[Which language model?](../../choosing.md)"),
}
"""What else the documentation says of a kind of plugin."""
USE: Mapping[str, str] = {
    "recipes": "llmrec train {name} --data demo",
    "adapters": "llmrec train RECIPE --set adapter.method={name}",
    "heads": "llmrec train RECIPE --set head.name={name}",
    "signals": "llmrec train RECIPE --set signals.{name}=true",
    "readers": "llmrec show reader {name}",
    "backbones": "llmrec train RECIPE --set backbone.name={name}",
}
"""The command that uses a plugin of a kind."""


def plugin_pages() -> dict[str, str]:
    """Return the pages by their place in the site: ``plugins/KIND/NAME.md``, and an index of each kind."""
    pages = {}
    for kind in registry.KINDS:
        plugins = own_plugins(kind)
        pages[f"plugins/{kind}/index.md"] = _page(_index(kind, plugins))
        for name, plugin in plugins.items():
            pages[f"plugins/{kind}/{name}.md"] = _page(_plugin(kind, name, plugin))
    return pages


def plugin_sources() -> dict[str, str]:
    """Return the pages of recipes in the site by the paths of the recipes' files in the repository."""
    recipes = own_plugins("recipes").items()
    return {_in_repository(recipe.file): f"plugins/recipes/{name}.md" for name, recipe in recipes}


def _page(lines: Iterator[str]) -> str:
    return "\n".join(lines).rstrip() + "\n"


def _index(kind: str, plugins: Mapping[str, Any]) -> Iterator[str]:
    yield from ("---", "hide: [toc]", "---", f"# {kind.capitalize()}", "")
    matrix = kind == "adapters"
    columns = ["method", *(f"{one} {precision}" for one in KINDS for precision in PRECISIONS), "merges", "mixes"]
    yield from table_header(*(columns if matrix else (registry.KINDS[kind], "what it is")), texts=True)
    for name, plugin in plugins.items():
        told = matrix_row(matrix_of(name, plugin.capabilities)) if matrix else [str(plugin.summary)]
        yield table_row(f"[{name}]({name}.md)", *told)
    if matrix:
        yield from ("", _LEGEND)
    yield from ("", "## Read more", "", *(f"- {link}" for link in READ_MORE[kind]))


_LEGEND = """\
yes and no are proved by the [conformance suite](../../conformance.md); (yes) and (no) are declared by the method.
merges: the adapter can be folded into the model's weights. mixes: rows of many tenants' adapters share one pass;
grouped: rows of each tenant take a pass of their own; partly: on some bases and precisions."""


def _plugin(kind: str, name: str, plugin: Any) -> Iterator[str]:
    yield from (f"# {name}", "", f"{registry.KINDS[kind].capitalize()}: {plugin.summary}", "")
    yield from _code("sh", USE[kind].format(name=name))
    if kind == "recipes":
        yield from _recipe(name, plugin)
    elif kind == "backbones":
        said = {name: value for name, value in dataclasses.asdict(plugin).items() if value and name != "summary"}
        yield from (*(f"- {name}: {_plain(value)}" for name, value in said.items()), "")
    else:
        yield from ("## What it does", "", *_docstring(plugin))
        if table := options_of(kind, plugin):
            yield from ("## Options", "", *table, "")
        if kind == "adapters":
            yield from _where_it_works(name, plugin)
        if kind == "readers":
            yield from _data(name, plugin)
    paper = [f"[The paper]({plugin.paper})"] if getattr(plugin, "paper", "") else []
    yield from ("## Read more", "", *(f"- {link}" for link in (*READ_MORE[kind], *paper)))


def _plain(value: Any) -> str:
    """Return a field of a backbone alias; of a block, its fields."""
    fields = value.items() if isinstance(value, dict) else ()
    return ", ".join(f"{name} `{inner}`" for name, inner in fields) or f"`{value}`"


def _docstring(plugin: Any) -> Iterator[str]:
    """Yield the place where mkdocstrings puts the class's docstring and source."""
    choices = {"members": "false", "merge_init_into_class": "false", "show_source": "true"}
    choices |= {"show_root_heading": "false", "show_root_toc_entry": "false"}
    yield from (f"::: {plugin.__module__}.{plugin.__qualname__}", "    options:")
    yield from (*(f"      {name}: {value}" for name, value in choices.items()), "")


def _where_it_works(name: str, plugin: Any) -> Iterator[str]:
    matrix = matrix_of(name, plugin.capabilities)
    yield from ("## Where it works", "", *table_header("", *PRECISIONS, texts=True))
    for kind in KINDS:
        yield table_row(kind, *(matrix[kind][precision] for precision in PRECISIONS))
    grouped = f" ({matrix['grouped_because']})" if matrix["grouped_because"] else ""
    merging = f"Merging into the weights: {matrix['mergeable']}."
    yield from ("", f"{merging} Rows in passes of many tenants: {matrix['mixing']}{grouped}.")
    yield from ("", "[Conformance](../../conformance.md) says what is proved and how.", "")


def _recipe(name: str, recipe: RegisteredRecipe) -> Iterator[str]:
    about = described(name)
    facts = {
        "kind": recipe.category,
        "data": f"[{recipe.reader}](../readers/{recipe.reader}.md): {about['data']}",
        "head": ", ".join(f"[{head}](../heads/{head}.md)" for head in about["heads"]),
        "signals": ", ".join(f"[{signal}](../signals/{signal}.md)" for signal in about["signals"]),
        "adapter": f"[{about['adapter']}](../adapters/{about['adapter']}.md)",
        "language model": f"`{about['base']}`" if about["base"] else "none is read",
        "split": about["split"],
    }
    yield from (*(f"- {name}: {value}" for name, value in facts.items()), "")
    yield from ("## What it reached", "", *_figures(name), "")
    yield from ("## The file", "", *_code("yaml", recipe.file.read_text(encoding="utf-8").strip()))
    yield from (f"`llmrec show recipe {name}` prints it with every default filled in.", "")
    if (demo := demo_settings(recipe.file, recipe.reader, registered=True)) is not None:
        yield from ("## On made-up data", "", "With `--data demo` these settings are laid over it:", "")
        yield from _code("yaml", demo.read_text(encoding="utf-8").strip())
    readme = recipe.file.with_name("README.md")
    if readme.is_file():
        yield from (f"[About its data and its domain](../../../{_in_repository(readme)})", "")


def _figures(name: str) -> Sequence[str]:
    figures = figures_of(name)
    if not figures:
        return ["It was not trained on real data here: no accuracy is known."]
    columns = ("data", "split", "metric", "best baseline", "this recipe", "minus best baseline", "adapter", "better?")
    rows = [table_row(data, split or described(name)["split"], *cells) for data, split, cells in figures]
    return [*table_header(*columns), *rows]


def _data(name: str, reader: Any) -> Iterator[str]:
    using = [f"[{one}](../recipes/{one}.md)" for one, recipe in own_plugins("recipes").items() if recipe.reader == name]
    if using:
        yield from (f"Recipes that read it: {', '.join(using)}.", "")
    if reader.download is not None:
        yield from ("## Download", "", *_code("sh", f"llmrec download {name} --out DIR"))
        yield from (f"From <{reader.download.url}>. {' '.join(reader.download.licence.split())}", "")


def _code(language: str, text: str) -> Iterator[str]:
    yield from (f"```{language}", *text.splitlines(), "```", "")


def _in_repository(file: Path) -> str:
    return file.resolve().relative_to(ROOT).as_posix()

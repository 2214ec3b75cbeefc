"""What MkDocs does for the site besides its own work: pages from outside docs/ and from the code, links, navigation.

The same Markdown files are read in the repository and in the site. MkDocs calls the functions named ``on_…``; see
https://www.mkdocs.org/dev-guide/plugins/#events.
"""

from __future__ import annotations

from typing import Any

from api_pages import api_pages
from command_pages import command_pages
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from plugin_pages import plugin_pages, plugin_sources
from pymdownx.slugs import slugify
from site_places import ROOT, outside_places, place_of, relinked, source_of

_GENERATED = {**command_pages(), **plugin_pages(), **api_pages()}
_OUTSIDE = outside_places()
_RECIPES = plugin_sources()


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Make anchors as GitHub does, and put generated pages into the navigation."""
    config.mdx_configs["toc"]["slugify"] = slugify(case="lower")
    config.nav = _expanded(config.nav)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from outside docs/ and from the code."""
    for file in list(files):
        if (place := place_of(file.src_uri)) != file.src_uri:
            files.remove(file)
            files.append(File.generated(config, place, abs_src_path=str(file.abs_src_path)))
    for source, place in _OUTSIDE.items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / source)))
    for place, content in _GENERATED.items():
        files.append(File.generated(config, place, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite links that lead out of docs/, or into it."""
    places = _RECIPES | {source_of(file.src_uri): file.src_uri for file in files}
    return relinked(markdown, source_of(page.file.src_uri), places, config.extra.get("repository") or None)


def _expanded(nav: Any) -> Any:
    """Replace each folder in a navigation (a path that ends with a slash) by the pages that this file puts there."""
    if isinstance(nav, list):
        return [_expanded(entry) for entry in nav]
    if isinstance(nav, dict):
        return {title: _expanded(entry) for title, entry in nav.items()}
    if not nav.endswith("/"):
        return nav
    pages = [place for place in (*_OUTSIDE.values(), *_GENERATED) if place.startswith(nav) and place.endswith(".md")]
    return sorted(pages, key=lambda place: (not place.endswith(("index.md", "README.md")), place))

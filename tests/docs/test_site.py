"""The documentation site: it builds strictly, asks for nothing elsewhere, and has a page for each plugin."""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import pytest
import typer
from markdown_it import MarkdownIt
from page_browser import Seen, chromium

import llmrec_peft
from llmrec_peft import plugins, registry
from llmrec_peft.cli.main import app

pytestmark = pytest.mark.trains

ROOT = Path(__file__).resolve().parents[2]
MISSING = "the site is not built: MkDocs is not installed (pip install 'llmrec-peft[docs]')"
STRUCTURE = re.compile(r"<(?:h[1-6]|ul|li|table|tr|pre)\b")
FETCHED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
"""Elements that a browser fetches something for, with the attribute that says what."""

__all__ = ["chromium"]


class Fetched(HTMLParser):
    """Addresses that a page makes a browser fetch, and those of its links."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what an element names."""
        given = {name: value or "" for name, value in attrs}
        if address := given.get(FETCHED.get(tag, "")):
            self.fetched.append(address)
        if tag == "a" and "href" in given:
            self.links.append(given["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make docs` builds it."""
    if not all(importlib.util.find_spec(module) for module in ("mkdocs", "material", "mkdocstrings")):
        pytest.skip(MISSING)
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mkdocs",
            "build",
            "--strict",
            "--site-dir",
            folder,
        ],  # with --quiet nothing is strict
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "REPOSITORY_URL": "", "SITE_URL": ""},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "WARNING" not in said
    assert "Documentation built" in said
    return folder


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    """The site behind a server on this machine."""

    class Silent(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Silent, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Fetched]:
    """All pages, parsed."""
    return {page: Fetched(page) for page in sorted(site.rglob("*.html"))}


def test_nothing_is_fetched_from_elsewhere(site: Path, pages: dict[Path, Fetched]) -> None:
    fetched = [(page.name, address) for page, named in pages.items() for address in named.fetched]
    assert len(fetched) > len(pages)
    assert [one for one in fetched if urlparse(one[1]).netloc] == []
    styles = "\n".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//[^)\"']*", styles) == []


def test_links_lead_to_files_that_are_there(pages: dict[Path, Fetched]) -> None:
    broken = []
    for page, named in pages.items():
        if page.name != "404.html":  # its links begin at the site's root, wherever that is
            paths = [unquote(urlparse(link).path) for link in named.links if not urlparse(link).scheme]
            broken += [(page.name, path) for path in paths if path and not (page.parent / path).exists()]
    assert broken == []


@pytest.mark.parametrize("kind", registry.KINDS)
def test_every_plugin_has_a_page_with_its_options(site: Path, kind: str) -> None:
    own = [name for name, plugin in registry.plugins(kind).items() if plugin.package.startswith("llmrec-peft ")]
    pages = {path.stem for path in (site / "plugins" / kind).glob("*.html")}
    assert pages == {*own, "index"}
    for name in own if kind in ("adapters", "heads", "signals") else ():
        page = (site / "plugins" / kind / f"{name}.html").read_text(encoding="utf-8")
        options = registry.get(kind, name).Config.model_fields
        assert [option for option in options if f"<code>{option}</code>" not in page] == []


def test_every_command_is_shown_with_its_help(site: Path) -> None:
    pages = "\n".join(path.read_text(encoding="utf-8") for path in (site / "commands").glob("*.html"))
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    shown = [name for name, command in commands.items() if not command.hidden]
    assert len(shown) > 20
    assert [name for name in shown if f"Usage: llmrec {name} " not in pages] == []


@pytest.mark.parametrize("module", [llmrec_peft, plugins], ids=lambda module: module.__name__)
def test_every_promised_name_is_documented(site: Path, module: Any) -> None:
    pages = "\n".join(path.read_text(encoding="utf-8") for path in (site / "api").glob("*.html"))
    names = [name for name in module.__all__ if not name.startswith("__")]
    assert [name for name in names if not re.search(rf'id="[\w.]+\.{name}"', pages)] == []


def test_markdown_means_the_same_in_the_repository_and_in_the_site() -> None:
    """The site's Markdown wants lists nested by four blanks, where the repository's takes two."""
    markdown = pytest.importorskip("markdown", reason=MISSING)
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "recipes").rglob("*.md")]
    differing = []
    for page in pages:
        text = page.read_text(encoding="utf-8")
        here = Counter(re.findall(STRUCTURE, MarkdownIt("commonmark").enable("table").render(text)))
        there = Counter(re.findall(STRUCTURE, markdown.markdown(text, extensions=["tables", "pymdownx.superfences"])))
        differing += [(page.name, here - there, there - here)] if here != there else []
    assert differing == []


def test_generators_are_no_part_of_the_site(site: Path) -> None:
    assert list(site.rglob("*.py")) == []


def test_a_reader_finds_pages_by_words_and_no_request_leaves(address: str, chromium: Any) -> None:
    page, seen = chromium.new_page(viewport={"width": 1280, "height": 800}), Seen()
    page.on("request", lambda request: seen.requests.append(request.url))
    page.on("console", lambda said: seen.complaints.append(said.text) if said.type in ("error", "warning") else None)
    page.goto(f"{address}/index.html")
    page.fill("input.md-search__input", "Householder")
    found = page.locator(".md-search-result__link").first
    found.wait_for(timeout=60_000)
    found.click()
    page.wait_for_load_state()
    assert "Householder" in page.inner_text("main")
    page.close()
    assert seen.complaints == []
    assert {request for request in seen.requests if not request.startswith((address, "data:"))} == set()


@pytest.mark.parametrize("page", ["index", "results", "plugins/adapters/lora", "api/recommender"])
def test_pages_fit_a_phone(address: str, chromium: Any, page: str) -> None:
    tab = chromium.new_page(viewport={"width": 390, "height": 800})
    tab.goto(f"{address}/{page}.html")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    tab.close()

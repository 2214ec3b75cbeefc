"""Links of the repository's pages, rewritten for the site."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLACES = {
    "README.md": "README.md",
    "docs/README.md": "contents.md",
    "docs/data.md": "data.md",
    "docs/lab/speed.md": "lab/speed.md",
    "docs/images/a.png": "images/a.png",
    "recipes/llmrec_recipes/movies/README.md": "recipes/llmrec_recipes/movies/README.md",
}
REPOSITORY = "https://example.org/group/name/"


@pytest.fixture(scope="module")
def site_places() -> ModuleType:
    spec = importlib.util.spec_from_file_location("site_places", ROOT / "docs" / "site_places.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("source", "link", "expected"),
    [
        ("README.md", "[Data](docs/data.md#splits)", "[Data](data.md#splits)"),
        ("README.md", "![a](docs/images/a.png)", "![a](images/a.png)"),
        ("README.md", "[![a](docs/images/a.png)](docs/data.md)", "[![a](images/a.png)](data.md)"),
        ("README.md", "[the `all` pages](docs/README.md)", "[the `all` pages](contents.md)"),
        ("docs/lab/speed.md", "[up](../data.md)", "[up](../data.md)"),
        ("docs/lab/speed.md", "[home](../../README.md)", "[home](../README.md)"),
        (
            "docs/data.md",
            "[films](../recipes/llmrec_recipes/movies/)",
            "[films](recipes/llmrec_recipes/movies/README.md)",
        ),
        ("recipes/llmrec_recipes/movies/README.md", "[data](../../../docs/data.md)", "[data](../../../data.md)"),
        ("docs/data.md", "[there](#splits) and [far](https://example.org/x)", None),
        ("docs/data.md", "`[no](../README.md)` and\n```md\n[no](../README.md)\n```", None),
    ],
)
def test_links_lead_to_the_same_file_in_the_site(
    site_places: ModuleType, source: str, link: str, expected: str | None
) -> None:
    assert site_places.relinked(link, source, PLACES, None) == (link if expected is None else expected)


def test_a_link_to_a_file_that_is_no_page_leads_to_the_repository(site_places: ModuleType) -> None:
    link = "see [the `code`](../llmrec_peft/identity.py#L3)"
    to_repository = "see [the `code`](https://example.org/group/name/blob/HEAD/llmrec_peft/identity.py#L3)"
    assert site_places.relinked(link, "docs/data.md", PLACES, REPOSITORY) == to_repository


def test_without_a_repository_the_words_of_such_a_link_stay(site_places: ModuleType) -> None:
    link = "see [the `code`](../llmrec_peft/identity.py), yes"
    assert site_places.relinked(link, "docs/data.md", PLACES, None) == "see the `code`, yes"


@pytest.mark.parametrize("repository", [None, REPOSITORY])
def test_a_broken_link_stays_to_be_refused(site_places: ModuleType, repository: str | None) -> None:
    link = "see [this](../llmrec_peft/gone.py) and [that](gone.md#there)"
    assert site_places.relinked(link, "docs/data.md", PLACES, repository) == link


def test_every_page_has_a_place_of_its_own_and_its_source_is_found_again(site_places: ModuleType) -> None:
    outside = site_places.outside_places()
    inside = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")]
    places = [*outside.values(), *map(site_places.place_of, inside)]
    assert len(places) == len(set(places))
    assert [site_places.source_of(site_places.place_of(path)) for path in inside] == [f"docs/{path}" for path in inside]
    assert {"README.md", "CONTRIBUTING.md", "benchmarks/README.md", "benchmarks/results/methods.md"} <= set(outside)

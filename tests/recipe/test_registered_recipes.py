"""Registered recipes: every shipped one is valid offline, and a stranger adds one by a folder and a line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmrec_peft import registry
from llmrec_peft.data.views import ViewTemplate
from llmrec_peft.errors import InputError
from llmrec_peft.recipe import load_recipe, reader_name, registered_recipe

Command = Callable[..., subprocess.CompletedProcess[str]]
CINEMA = """\
name: {name}
description: Films of a cinema.
data: {{reader: {reader}}}
views: {{item: {{template: "{{{{ title }}}}"}}}}
adapter: {{method: lora, rank: 4}}
signals: {{text: {{}}}}
head: {{name: rating}}
"""
READER = """\
from llmrec_peft.data.source import Reader

class Tickets(Reader):
    summary = "tickets of a cinema"

    def read(self, path, graph):
        raise NotImplementedError
"""
OLD = """\
from pathlib import Path
from llmrec_peft.data.source import RecipeSource

class Old(RecipeSource):
    summary = "reader and recipe in one class"

    @classmethod
    def folder(cls):
        return Path(__file__).parent

    def read(self, path, graph):
        raise NotImplementedError

    def demo(self, seed):
        raise NotImplementedError
"""


def shipped() -> list[str]:
    return [name for name, plugin in registry.plugins("recipes").items() if plugin.package.startswith("llmrec-peft ")]


@pytest.mark.parametrize("name", shipped())
@pytest.mark.parametrize("path", ["somewhere", "demo"])
def test_every_shipped_recipe_is_valid_as_it_stands_and_on_made_up_data(
    name: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    recipe = load_recipe(name, changes={"data.path": path})
    assert recipe.name == name, "a run is called as the recipe was asked for"
    assert recipe.description
    ViewTemplate(recipe.views.item.template)


def test_a_domain_has_several_recipes_over_one_reader() -> None:
    films = {name for name in shipped() if registered_recipe(name).reader == "movies"}
    assert films == {"movies", "movies-7b", "movies-ranking", "movies-smollm2"}


def test_published_benchmarks_are_told_from_domains() -> None:
    benchmarks = {name for name in shipped() if registered_recipe(name).category == "benchmark"}
    books = {"tallrec-book", "tallrec-book-7b", "tallrec-book-smollm2"}
    assert benchmarks == {"amazon-scientific", "collm-ml-1m", "tallrec-movie", *books}


def test_the_large_recipe_is_pinned_and_fits_a_small_card_by_its_settings() -> None:
    recipe = load_recipe("movies-7b")
    assert recipe.backbone.revision is not None
    assert (recipe.backbone.quantization, recipe.training.gradient_checkpointing) == ("nf4", True)
    assert "not yet run" in recipe.description


@pytest.mark.parametrize(("name", "reader"), [("movies-7b", "movies"), ("movies", "movies")])
def test_data_are_asked_for_by_the_recipe_or_by_the_reader(name: str, reader: str) -> None:
    assert reader_name(name) == reader


def test_unknown_data_names_the_nearest() -> None:
    with pytest.raises(InputError, match="unknown recipe or reader 'moveis': did you mean 'movies'"):
        reader_name("moveis")


def test_data_of_a_renamed_recipe_are_said_to_be_called_otherwise() -> None:
    with pytest.raises(InputError, match="unknown recipe or reader 'amazon-reviews': it is called 'ecommerce' now"):
        reader_name("amazon-reviews")


def package(site: Path, name: str, entry_points: str, files: dict[str, str]) -> None:
    """An installed distribution, as pip would leave it."""
    info = f"{name.replace('-', '_')}-1.0.dist-info"
    described = {"METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", "entry_points.txt": entry_points}
    for where, text in {**files, **{f"{info}/{file}": text for file, text in described.items()}}.items():
        path = site / where
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packages of strangers: a cinema, one beside an existing reader, one of the old kind, and broken ones."""
    site = tmp_path_factory.mktemp("site")
    package(
        site,
        "cinema",
        "[llmrec_peft.readers]\ntickets = cinema.tickets:Tickets\n"
        "[llmrec_peft.recipes]\ncinema = cinema\nclaimed = cinema_claims\n",
        {
            "cinema/tickets.py": READER,
            "cinema/recipe.yaml": CINEMA.format(name="cinema", reader="tickets"),
            "cinema/cinema-large.yaml": CINEMA.format(name="cinema-large", reader="tickets"),
            "cinema/demo.yaml": "seed: 7\n",
            "cinema_claims/recipe.yaml": CINEMA.format(name="claimed", reader="tickets"),
        },
    )
    package(
        site,
        "more-films",
        "[llmrec_peft.recipes]\nmore-films = more_films\nempty = more_films_empty\n",
        {
            "more_films/movies-mine.yaml": CINEMA.format(name="movies-mine", reader="movies"),
            "more_films/movies-mine.demo.yaml": "seed: 8\n",
            "more_films/claimed.yaml": CINEMA.format(name="claimed", reader="movies"),
            "more_films/odd.yaml": "- no recipe\n",
        },
    )
    old = {"old_kind/__init__.py": OLD, "old_kind/recipe.yaml": CINEMA.format(name="old", reader="old")}
    old["old_kind/demo.yaml"] = "seed: 9\n"
    package(site, "old-kind", "[llmrec_peft.recipes]\nold = old_kind:Old\n", old)
    return site


@pytest.fixture(scope="module")
def listed(llmrec: Command, site: Path) -> dict[str, dict[str, Any]]:
    done = llmrec("list", "recipes", "--json", PYTHONPATH=str(site))
    assert done.returncode == 0, done.stderr
    return {row["name"]: row for row in json.loads(done.stdout)}


@pytest.fixture(scope="module")
def loaded(site: Path) -> dict[str, list[Any]]:
    """Reader and seed of strangers' recipes, as they are and on made-up data, in a process that sees the packages."""
    script = (
        "import json\nfrom llmrec_peft.recipe import load_recipe\n"
        "recipes = {name: load_recipe(name) for name in ['cinema', 'cinema-large', 'movies-mine', 'old']}\n"
        "demo = {name: load_recipe(name, ['data.path=demo']).seed for name in recipes}\n"
        "print(json.dumps({name: [one.data.reader, one.seed, demo[name]] for name, one in recipes.items()}))"
    )
    environment = {**os.environ, "PYTHONPATH": str(site), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    answers: dict[str, list[Any]] = json.loads(done.stdout)
    return answers


@pytest.mark.parametrize(
    ("name", "reader", "demo"),
    [("cinema", "tickets", 7), ("cinema-large", "tickets", 7), ("movies-mine", "movies", 8), ("old", "old", 9)],
)
def test_a_folder_and_a_line_add_a_recipe(
    listed: dict[str, dict[str, Any]], loaded: dict[str, list[Any]], name: str, reader: str, demo: int
) -> None:
    row = listed[name]
    assert (row["reader"], row["category"], row["error"]) == (reader, "domain", None)
    assert row["summary"]
    assert (row["heads"], row["signals"], row["adapter"]) == (["rating"], ["text"], "lora")
    assert (row["base"], row["quantization"], row["split"], row["measured"]) == ("minilm", "none", "official", [])
    assert loaded[name] == [reader, 1, demo], "the settings for made-up data lie beside the recipe"


def test_what_was_measured_is_listed_with_its_command(listed: dict[str, dict[str, Any]]) -> None:
    [one] = listed["movies-ranking"]["measured"]
    assert one["command"] == "llmrec train movies-ranking --data data/ml-100k --set seed=SEED"
    assert one["result"]["metric"] == "ndcg@10"
    assert listed["movies-7b"]["measured"] == []
    assert listed["movies-7b"]["domain"] == "movies"


def test_settings_for_made_up_data_are_no_recipes(listed: dict[str, dict[str, Any]]) -> None:
    assert not {"demo", "movies-mine.demo", "recipe", "more-films"} & set(listed)


def test_a_copied_recipe_brings_its_own_settings_for_made_up_data(llmrec: Command, site: Path, tmp_path: Path) -> None:
    made = llmrec("init", "movies-mine", "--out", "films.yaml", cwd=tmp_path, PYTHONPATH=str(site))
    assert made.returncode == 0, made.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["films.demo.yaml", "films.yaml"]
    assert load_recipe(str(tmp_path / "films.yaml"), ["data.path=demo"]).seed == 8


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("claimed", "recipe 'claimed' is registered by both cinema 1.0 and more-films 1.0: uninstall one of them"),
        (
            "empty",
            "recipe 'empty' of package more-films 1.0 cannot be imported (FileNotFoundError: no folder",
        ),
        ("odd", "odd.yaml: no field data.reader, which every recipe has"),
    ],
)
def test_broken_recipes_are_named_and_take_no_other_down(
    listed: dict[str, dict[str, Any]], name: str, said: str
) -> None:
    error = listed[name]["error"]
    assert error is not None
    assert said in error


def test_a_reader_that_makes_no_data_up_says_so(llmrec: Command, site: Path, tmp_path: Path) -> None:
    done = llmrec("train", "cinema", "--data", "demo", "--out", str(tmp_path / "run"), PYTHONPATH=str(site))
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        2,
        "error: Tickets makes no data up: give a folder with --data DIR",
    )


def test_list_of_people_shows_reader_and_kind(llmrec: Command) -> None:
    lines = {line.split()[0]: line.split() for line in llmrec("list", "recipes").stdout.splitlines() if line.split()}
    assert lines["movies-7b"][1:3] == ["domain", "movies"]
    assert lines["collm-ml-1m"][1:3] == ["benchmark", "collm-ml-1m"]

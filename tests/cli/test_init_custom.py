"""`llmrec init custom` writes a recipe of one's own files, and says what it is unsure of."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llmrec_peft.cli.main import app
from llmrec_peft.errors import InputError
from llmrec_peft.experiment.prepare import read_dataset
from llmrec_peft.recipe import load_recipe


@pytest.fixture
def ratings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    draw = random.Random(0)
    rows = [f"{user}\t{100 + item}\t{draw.randint(1, 5)}" for user in range(20) for item in draw.sample(range(30), 8)]
    (tmp_path / "data").mkdir()
    file = tmp_path / "data" / "ratings.tsv"
    file.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return file.relative_to(tmp_path)


def run(*arguments: object) -> str:
    """Run `llmrec init` in this process and return what it prints."""
    done = CliRunner().invoke(app, ["init", *map(str, arguments)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


def test_recipe_is_written_and_can_be_trained_from_here(ratings: Path) -> None:
    said = run("custom", "--interactions", ratings)
    assert "ratings.yaml written: rating head, random split" in said
    assert "unsure: interactions, user: column 'column_1'" in said
    recipe = load_recipe("./ratings.yaml")
    assert (recipe.data.path, recipe.data.reader) == ("data", "files")
    with pytest.raises(InputError, match="exists"):
        run("custom", "--interactions", ratings)
    run("custom", "--interactions", ratings, "--overwrite", "--out", "ratings.yaml", "--quiet")


def test_json_tells_guesses_and_evidence(ratings: Path) -> None:
    said = run(
        "custom",
        "--interactions",
        ratings,
        "--json",
        "--quiet",
        "--user-column",
        "column_1",
        "--item-column",
        "column_2",
    )
    found = json.loads(said[said.index("{") :])
    assert {one["role"]: one["column"] for one in found["columns"]} == {
        "user": "column_1",
        "item": "column_2",
        "rating": "column_3",
        "time": None,
    }
    assert found["unsure"] == []
    assert found["files"]["interactions"]["form"]["delimiter"] == "\t"
    assert not Path("ratings.yaml").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["custom"], "--interactions FILE: name the file"),
        (["movies", "--interactions", "x.csv"], "--interactions is for files of your own: llmrec init custom"),
        (["custom", "--interactions", "none.csv"], "none.csv"),
        (
            ["custom", "--interactions", "data/ratings.tsv", "--feedback", "stars"],
            "--feedback: 'stars' is none of rating",
        ),
        (["custom", "--interactions", "data/ratings.tsv", "--scale", "5"], "--scale: '5' is not LOW,HIGH"),
        (["custom", "--interactions", "data/ratings.tsv", "--form", "encoding"], "--form 'encoding': write it as"),
        (
            ["custom", "--interactions", "data/ratings.tsv", "--user-column", "z"],
            "--user-column: ratings.tsv has no column",
        ),
        (["custom", "--interactions", "data/ratings.tsv", "--form", "items.colour=1"], "unknown option 'items.colour'"),
        (
            ["custom", "--interactions", "data/ratings.tsv", "--delimiter", ""],
            "delimiter: String should have",
        ),
        (["custom", "--interactions", "data/ratings.tsv", "--time-form", "soon"], "--time-form: 'soon' is none of"),
    ],
)
def test_wrong_options_are_named(ratings: Path, arguments: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said.replace("(", r"\(")) as caught:
        run(*arguments)
    assert "\n" not in str(caught.value)
    assert not list(Path().glob("*.yaml"))


def test_bad_rows_are_listed_and_one_too_many_leaves_no_recipe(ratings: Path) -> None:
    lines = ratings.read_text(encoding="utf-8").splitlines()
    lines[40] = lines[40][:-1] + "five"
    lines[60] = "too\tfew"
    ratings.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(InputError, match=r"ratings\.tsv, line 41, column 'column_3': 'five' is no number .*\(2 bad"):
        run("custom", "--interactions", ratings, "--skip-bad", 1)
    assert not Path("ratings.yaml").exists()
    said = run("custom", "--interactions", ratings, "--skip-bad", 2)
    assert "left out: ratings.tsv, line 41, column 'column_3': 'five' is no number" in said
    assert "left out: ratings.tsv, line 61: 2 columns where 3 are expected" in said
    assert len(read_dataset(load_recipe("./ratings.yaml").data).interactions) == 158


def test_links_of_a_graph_are_named_on_the_command_line(ratings: Path) -> None:
    Path("data/films.kg").write_text("".join(f"m.{at}\tby\tp.{at % 4}\n" for at in range(30)), encoding="utf-8")
    Path("data/films.link").write_text("".join(f"{100 + at}\tm.{at}\n" for at in range(30)), encoding="utf-8")
    run("custom", "--interactions", ratings, "--graph", "data/films.kg", "--graph-links", "data/films.link")
    graph = read_dataset(load_recipe("./ratings.yaml").data).graph
    assert graph is not None and len(graph.links) == 30
    with pytest.raises(InputError, match="--graph-links: links say which entities"):
        run("custom", "--interactions", ratings, "--graph-links", "data/films.link", "--overwrite")
    with pytest.raises(InputError, match="--graph-links is for files of your own"):
        run("movies", "--graph-links", "data/films.link")

"""Describe: true of what is read, leaks and refusals reported and not raised, harmless to print."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmrec_peft.cli.main import main
from llmrec_peft.errors import InputError
from llmrec_peft.experiment.prepare import prepare
from llmrec_peft.overview.describe import describe
from llmrec_peft.overview.plots import write_plots
from llmrec_peft.overview.source import recipe_of
from llmrec_peft.recipe import load_recipe

Told = tuple[int, str, str]


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Callable[..., Told]:
    """Exit code and output of `llmrec describe` in this process."""

    def run(*arguments: object) -> Told:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["describe", *map(str, arguments)])
        assert isinstance(ended.value.code, int)
        return (ended.value.code, *capsys.readouterr())

    return run


def _appended(path: Path, line: str) -> None:
    path.write_text(path.read_text(encoding="utf-8") + line + "\n", encoding="utf-8")


def test_parts_are_those_that_would_be_trained_on(movielens_folder: Path, tiny_backbone: Path) -> None:
    changes = {"data.path": str(movielens_folder), "backbone.name": str(tiny_backbone)}
    recipe = load_recipe("movies", changes=changes)
    report, prepared = describe(recipe), prepare(recipe)
    assert report["sizes"]["interactions"] == len(prepared.interactions)
    assert {name: part["interactions"] for name, part in report["parts"].items()} == {
        name: len(getattr(prepared, name)) for name in ("train", "valid", "test")
    }
    known = set(prepared.learned(recipe.refits).item.tolist())
    fresh = [item not in known for item in prepared.test.item.tolist()]
    assert report["parts"]["test"]["share_of_cold_items"] == pytest.approx(sum(fresh) / len(fresh), abs=1e-4)
    assert report["leaks"] == []
    assert report["recipe"]["signals"] == ["text", "collaborative"], "the graph is off, as in training"
    assert json.loads(json.dumps(report)) == report


def test_new_items_of_a_cold_split_are_all_new(movielens_folder: Path, tiny_backbone: Path) -> None:
    changes = {"data.path": str(movielens_folder), "backbone.name": str(tiny_backbone), "data.split": "cold-item"}
    parts = describe(load_recipe("movies", changes=changes))["parts"]
    assert (parts["valid"]["share_of_cold_items"], parts["test"]["share_of_cold_items"]) == (1.0, 1.0)
    assert parts["test"]["share_of_cold_users"] == 0.0


def test_leak_is_reported_where_training_refuses_it(
    movielens_folder: Path, tiny_backbone: Path, told: Callable[..., Told]
) -> None:
    first = (movielens_folder / "u1.test").read_text(encoding="utf-8").splitlines()[0]
    _appended(movielens_folder / "u1.base", first)
    recipe = load_recipe("movies", changes={"data.path": str(movielens_folder), "backbone.name": str(tiny_backbone)})
    with pytest.raises(InputError, match="gives answers away"):
        prepare(recipe)
    (leak,) = describe(recipe)["leaks"]
    assert "lets it pass" not in leak
    (passed,) = describe(recipe.changed({"data.allow_leakage": ["same_pair"]}))["leaks"]
    assert passed == f"{leak}; data.allow_leakage lets it pass"
    code, out, _ = told("movies", "--data", movielens_folder, "--set", f"backbone.name={tiny_backbone}")
    assert code == 0
    assert "LEAK: 1 test examples: the same user and item are in the data learnt from" in out


def test_what_training_would_refuse_is_described_all_the_same(
    movielens_folder: Path, tiny_backbone: Path, told: Callable[..., Told]
) -> None:
    for name in ("u1.base", "u1.test"):
        rows = [line.split("\t") for line in (movielens_folder / name).read_text(encoding="utf-8").splitlines()]
        equal = ["\t".join([user, item, "4", time]) for user, item, _, time in rows]
        (movielens_folder / name).write_text("\n".join(equal) + "\n", encoding="utf-8")
    arguments = ("movies", "--data", movielens_folder, "--set", f"backbone.name={tiny_backbone}")
    code, out, _ = told(*arguments)
    assert code == 0
    assert "llmrec train would refuse this: head rating: all" in out
    report = json.loads(told(*arguments, "--json")[1])
    assert "parts" not in report
    assert report["texts"]["items"] == 40
    assert report["labels"]["counts"] == [{"label": 4.0, "count": report["sizes"]["interactions"], "share": 1.0}]


def test_titles_of_others_steer_no_terminal(
    movielens_folder: Path, tiny_backbone: Path, told: Callable[..., Told]
) -> None:
    items = movielens_folder / "u.item"
    lines = items.read_text(encoding="latin-1").replace("Number 3,", "[bold]\x1b[2J<b>3</b>")
    items.write_text(lines, encoding="latin-1")
    code, out, err = told("movies", "--data", movielens_folder, "--set", f"backbone.name={tiny_backbone}")
    assert code == 0
    assert "\x1b" not in out + err
    assert "1 texts hold HTML entities or tags" in out


def test_cut_histories_and_items_are_counted(tiny_backbone: Path) -> None:
    changes: dict[str, Any] = {"data.path": "demo", "backbone.name": str(tiny_backbone)}
    recipe = load_recipe("amazon-scientific", ["data.history_length=2"], changes)
    prepared = prepare(recipe)
    report = describe(recipe)
    assert prepared.interactions.history is not None
    lengths = prepared.interactions.history.lengths
    assert report["cut"]["histories"]["cut"] == int((lengths > 2).sum()) > 0
    assert report["cut"]["histories"]["empty"] == int((lengths == 0).sum())
    fewer = describe(load_recipe("movies", ["data.max_items=50"], changes))["cut"]["items"]
    assert (fewer["kept"], fewer["max_items"]) == (50, 50)
    assert fewer["there"] > 50


@pytest.mark.trains  # matplotlib takes two seconds to import
def test_pictures_are_drawn_of_what_there_is(
    movielens_folder: Path, tiny_backbone: Path, told: Callable[..., Told], tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    pictures = tmp_path / "pictures"
    arguments = ("movies", "--data", movielens_folder, "--set", f"backbone.name={tiny_backbone}", "--plot", pictures)
    assert told(*arguments)[0] == 0
    files = sorted(pictures.iterdir())
    assert [file.name for file in files] == ["labels.png", "popularity.png", "times.png", "token_lengths.png"]
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)
    (tmp_path / "file").touch()
    code, _, err = told(*arguments[:-1], tmp_path / "file" / "below")
    assert code == 2
    assert "--plot" in err.splitlines()[-1]


def test_pictures_without_matplotlib_say_what_to_install(
    movielens_folder: Path,
    tiny_backbone: Path,
    told: Callable[..., Told],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    named = f"backbone.name={tiny_backbone}"
    code, _, err = told("movies", "--data", movielens_folder, "--set", named, "--plot", tmp_path / "pictures")
    assert code == 2
    assert err.splitlines()[-1] == "error: --plot draws with matplotlib: pip install 'llmrec-peft[benchmark]'"


def test_pictures_go_into_no_file(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "pictures").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="pictures is a file: name a folder"):
        write_plots({}, tmp_path / "pictures")
    assert (tmp_path / "pictures").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("moveis", {}, "moveis is no recipe and no file of interactions: did you mean 'movies'"),
        (".", {}, "is a folder: name the recipe that reads it"),
        ("/dev/null", {}, "/dev/null is a FIFO or a device: name a file"),
        ("movies", {"items": Path("x.csv")}, "--items goes with a table of interactions"),
        (__file__, {"data": "x"}, "--data goes with a recipe"),
    ],
)
def test_what_cannot_be_described_is_refused_in_one_line(source: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        recipe_of(source, **options)


@pytest.mark.trains  # reads real files, three to six seconds each
@pytest.mark.parametrize(
    ("recipe", "folder", "sizes", "test_items_new"),
    [
        ("movies", "ml-100k", (100_000, 943, 1682, 100_000), 0.0016),
        ("ecommerce", "amazon-magazines", (2375, 348, 157, 2302), 0.024),
        ("amazon-scientific", "iisan-scientific", (85_211, 12_076, 20_825, 81_408), 0.1729),
    ],
)
def test_real_data_have_the_sizes_that_are_published(
    shared_data: Path, recipe: str, folder: str, sizes: tuple[int, ...], test_items_new: float
) -> None:
    report = describe(load_recipe(recipe, changes={"data.path": str(shared_data / folder)}))
    found = report["sizes"]
    assert (found["interactions"], found["users"], found["items"], found["distinct_pairs"]) == sizes
    assert report["parts"]["test"]["share_of_cold_items"] == test_items_new


@pytest.mark.trains  # reads real files, three to six seconds each
@pytest.mark.parametrize(
    ("interactions", "items", "sizes", "feedback", "dated"),
    [
        ("filmtrust/ratings.txt", None, (35_497, 1508, 2071, 35_494), "rating", False),
        ("steam-200k/steam-200k.csv.gz", None, (128_801, 12_393, 5153, 128_801), "implicit", False),
        (
            "lastfm-hetrec/user_artists.dat",
            "lastfm-hetrec/artists.dat",
            (92_834, 1892, 17_632, 92_834),
            "implicit",
            False,
        ),
        (
            "microlens-sample/MicroLens-100k_pairs.csv",
            "microlens-sample/MicroLens-100k_title_en.csv",
            (14_628, 5986, 19_738, 14_628),
            "implicit",
            True,
        ),
    ],
)
def test_tables_of_others_are_described_without_a_recipe(
    shared_data: Path, interactions: str, items: str | None, sizes: tuple[int, ...], feedback: str, dated: bool
) -> None:
    recipe, unsure = recipe_of(str(shared_data / interactions), items=None if items is None else shared_data / items)
    report = describe(recipe)
    found = report["sizes"]
    assert (found["interactions"], found["users"], found["items"], found["distinct_pairs"]) == sizes
    assert report["labels"]["feedback"] == feedback
    assert (report["time"].get("days") is not None) == dated
    assert "refused" not in report
    assert unsure or items is not None, "files without a header leave doubts"


def test_table_with_hostile_names_is_described(tmp_path: Path, tiny_backbone: Path, told: Callable[..., Told]) -> None:
    rows = [f"u{at % 12},[red]i{at % 7}\x1b[2J</b>,{1 + at * 5 % 4},{1_500_000_000 + at}" for at in range(200)]
    table = tmp_path / "rated.csv"
    table.write_text("user,item,rating,time\n" + "\n".join(rows) + "\n", encoding="utf-8")
    code, out, err = told(table, "--set", f"backbone.name={tiny_backbone}")
    assert code == 0, err
    assert "\x1b" not in out + err
    assert "12" in out

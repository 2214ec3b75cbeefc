"""Wrong inputs through the command, some in a process of its own: exit code 2, one line on stderr, nothing written."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from task_places import Done, Run

Command = Callable[..., subprocess.CompletedProcess[str]]
PAIRS = "user_id,item_id\n1,1\n2,3\n"


@dataclass(frozen=True)
class Place:
    """A working folder with a data folder `ml` and a trained run `run`, both to be spoiled."""

    folder: Path

    @property
    def ml(self) -> Path:
        return self.folder / "ml"

    @property
    def run(self) -> Path:
        return self.folder / "run"

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    def append(self, name: str, text: str) -> None:
        with (self.ml / name).open("a", encoding="utf-8") as file:
            file.write(text)


@pytest.fixture
def place(tmp_path: Path, tiny_run: Path, tiny_data: Path) -> Place:
    shutil.copytree(tiny_data, tmp_path / "ml")
    shutil.copytree(tiny_run, tmp_path / "run")
    return Place(tmp_path)


def listing(folder: Path) -> dict[str, bytes | None]:
    """Every file and folder, hidden ones included, with its content."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def nothing(place: Place) -> None:
    """The arguments alone are wrong."""


def empty_data(place: Place) -> None:
    shutil.rmtree(place.ml)
    place.ml.mkdir()


def another_format(place: Place) -> None:
    path = place.run / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**manifest, "format": 99, "version": "7.0"}), encoding="utf-8")


def flipped(name: str) -> Callable[[Place], None]:
    def flip(place: Place) -> None:
        content = bytearray((place.run / name).read_bytes())
        content[-1] ^= 1
        (place.run / name).write_bytes(content)

    return flip


def other_ratings(place: Place) -> None:
    lines = (place.ml / "u1.base").read_text(encoding="utf-8").splitlines()
    (place.ml / "u1.base").write_text("\n".join(lines[1:]) + "\n", encoding="utf-8")


TRAIN = ["train", "movies", "--data", "ml", "--out", "new"]
PREDICT = ["predict", "run", "--input", "pairs.csv", "--output", "scores.csv"]

CASES: dict[str, tuple[Callable[[Place], None], list[str], list[str]]] = {
    "missing data folder": (nothing, [*TRAIN, "--data", "absent"], ["no data folder absent"]),
    "no data folder given": (nothing, ["train", "movies"], ["data.path", "--data DIR", "llmrec download movies"]),
    "empty data folder": (empty_data, TRAIN, ["ml", "no file u.item (MovieLens-100K)", "holds nothing"]),
    "truncated line": (lambda p: p.append("u1.test", "3\t4\n"), TRAIN, ["u1.test, line ", "2 fields where 4 belong"]),
    "rating out of range": (
        lambda p: p.append("u1.base", "3\t4\t9\t1\n"),
        TRAIN,
        ["u1.base, line ", "rating 9 is outside 1 to 5"],
    ),
    "unknown item id": (
        lambda p: p.append("u1.base", "3\t4000\t3\t1\n"),
        TRAIN,
        ["u1.base, line ", "item '4000' is not in u.item"],
    ),
    "unreadable YAML": (
        lambda p: p.write("mine.yaml", "name: x\ndata: [1, 2\nseed: 3\n"),
        ["train", "mine.yaml", "--data", "ml"],
        ["mine.yaml, line 3", "unreadable YAML"],
    ),
    "YAML that is absent": (nothing, ["train", "absent.yaml"], ["no recipe file absent.yaml"]),
    "unknown recipe": (nothing, ["train", "moveis", "--data", "ml"], ["unknown recipe 'moveis'", "'movies'"]),
    "unknown field in a file": (
        lambda p: p.write("mine.yaml", (p.run / "recipe.yaml").read_text(encoding="utf-8") + "sead: 3\n"),
        ["train", "mine.yaml"],
        ["mine.yaml: unknown field 'sead': did you mean 'seed'?"],
    ),
    "unknown field in --set": (
        nothing,
        [*TRAIN, "--set", "training.epoch=3"],
        ["unknown field 'training.epoch': did you mean 'epochs'?"],
    ),
    "--set without value": (nothing, [*TRAIN, "--set", "seed"], ["--set 'seed'", "field=value"]),
    "unknown adapter": (
        nothing,
        [*TRAIN, "--set", "adapter.method=lroa"],
        ["unknown adapter method 'lroa': did you mean 'lora'?"],
    ),
    "rank of 0": (nothing, [*TRAIN, "--set", "adapter.rank=0"], ["adapter.rank: ", "greater than or equal to 1"]),
    "rank above the width": (
        nothing,
        [*TRAIN, "--set", "adapter.rank=385"],
        ["adapter.rank: 385 is above the model's width 384"],
    ),
    "target modules that match nothing": (
        nothing,
        [*TRAIN, "--set", "adapter.targets=[qury]"],
        ["adapter.targets: nothing in layers top-2 of this bert is called 'qury'", "attention.self.query"],
    ),
    "layers that the model has not": (
        nothing,
        [*TRAIN, "--set", "adapter.layers=top-9"],
        ["adapter.layers: 'top-9' is neither all, nor top-1 to top-6, nor a list"],
    ),
    "method that cannot train on the quantization": (
        nothing,
        [*TRAIN, "--set", "adapter.method=full", "--set", "backbone.quantization=int8"],
        ["'full': cannot train on int8 weights", "backbone.quantization=none", "these work: adalora"],
    ),
    "unknown backbone alias": (
        nothing,
        [*TRAIN, "--set", "backbone.name=minilmm"],
        ["backbone.name: 'minilmm' is no alias, no folder and no Hub id", "'minilm'"],
    ),
    "unknown option": (nothing, [*TRAIN, "--epochs", "3"], ["No such option: --epochs", "llmrec train --help"]),
    "unknown command": (nothing, ["trian", "movies"], ["No such command 'trian'", "--help"]),
    "missing argument": (nothing, ["explain", "run"], ["Missing option '--user'", "llmrec explain --help"]),
    "run that exists": (nothing, [*TRAIN, "--out", "run"], ["run exists already: --overwrite replaces it"]),
    "interrupted run in the way": (
        lambda p: (p.folder / ".new.training").mkdir(),
        TRAIN,
        ["an interrupted run of new is there: --resume goes on, --overwrite starts over"],
    ),
    "view that names no column": (
        nothing,
        [*TRAIN, "--set", "views.item.template={{ titel }}"],
        ["'titel' is undefined; the columns are genres, item_id, title, year"],
    ),
    "missing run": (nothing, ["recommend", "absent", "--user", "1"], ["no run folder absent"]),
    "not a run folder": (nothing, ["recommend", "ml", "--user", "1"], ["ml is no run folder", "manifest.json"]),
    "run of another version": (
        another_format,
        ["recommend", "run", "--user", "1"],
        ["run folder of format 99, written by version '7.0'", "reads format 4: train it again"],
    ),
    "hash that does not match": (
        flipped("head.safetensors"),
        ["recommend", "run", "--user", "1"],
        ["run/head.safetensors is not what the run wrote: its SHA-256 does not match"],
    ),
    "no items wanted": (
        nothing,
        ["recommend", "run", "--user", "1", "-k", "0"],
        ["'-k'", "greater than or equal to 1"],
    ),
    "evaluate with other data": (
        other_ratings,
        ["evaluate", "run", "--data", "ml"],
        ["the data at ml is not what run was trained on: its digest differs"],
    ),
    "predict without a column": (
        lambda p: p.write("pairs.csv", "user_id,film\n1,1\n"),
        PREDICT,
        ["pairs.csv: no column item_id (it has user_id, film)"],
    ),
    "predict an unknown item without text": (
        lambda p: p.write("pairs.csv", PAIRS + "1,nope\n"),
        [*PREDICT, "--unknown", "refuse"],
        ["pairs.csv, row 3: item 'nope' is unknown to the run; give the columns that its text takes: title, year"],
    ),
    "predict with an empty id": (
        lambda p: p.write("pairs.csv", PAIRS + ",1\n"),
        PREDICT,
        ["pairs.csv, row 3: user_id or item_id is empty"],
    ),
    "predict from a missing file": (nothing, PREDICT, ["no input file pairs.csv"]),
    "predict to another format": (
        lambda p: p.write("pairs.csv", PAIRS),
        [*PREDICT, "--output", "scores.txt"],
        ["scores.txt: name it .csv or .parquet"],
    ),
    "predict over a file": (
        lambda p: (p.write("pairs.csv", PAIRS), p.write("scores.csv", "precious\n"))[0],
        PREDICT,
        ["scores.csv exists already: --overwrite replaces it"],
    ),
}


IN_A_PROCESS = (
    "no data folder given",
    "unknown item id",
    "target modules that match nothing",
    "method that cannot train on the quantization",
    "unknown option",
    "hash that does not match",
    "evaluate with other data",
    "predict an unknown item without text",
)
"""A case of each way to refuse: before and after data, model and run are read. A process starts in half a second."""


@pytest.mark.parametrize("name", CASES)
def test_wrong_input_is_one_line_exit_code_2_and_nothing_written(
    name: str, place: Place, llmrec_here: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil, arguments, words = CASES[name]
    spoil(place)
    before = listing(place.folder)
    monkeypatch.chdir(place.folder)
    monkeypatch.setenv("COLUMNS", "200")
    refused(llmrec_here(*arguments), words)
    assert listing(place.folder) == before


@pytest.mark.parametrize("name", IN_A_PROCESS)
def test_refusal_of_a_process_of_its_own_is_the_same(name: str, place: Place, llmrec: Command) -> None:
    spoil, arguments, words = CASES[name]
    spoil(place)
    before = listing(place.folder)
    done = llmrec(*arguments, cwd=place.folder)
    refused(Done(done.returncode, done.stdout, done.stderr), words)
    assert listing(place.folder) == before


def refused(done: Done, words: Sequence[str]) -> None:
    """Exit code 2 and one line, which says all of these."""
    assert done.code == 2, done.err
    assert done.out == ""
    lines = done.err.splitlines()
    assert len(lines) == 1, done.err
    assert lines[0].startswith("error: ")
    for word in words:
        assert word in lines[0]


def test_training_from_a_file_counts_duplicate_ratings_and_says_so(place: Place, llmrec: Command) -> None:
    first = (place.ml / "u1.base").read_text(encoding="utf-8").splitlines()[0]
    user, item, _, _ = first.split("\t")
    place.append("u1.base", f"{user}\t{item}\t5\t881000000\n{user}\t{item}\t1\t882000000\n")
    text = (place.run / "recipe.yaml").read_text(encoding="utf-8").replace("name: movies\n", "name: mine\n", 1)
    place.write("mine.yaml", text.replace("rank: 8", "rank: 4"))
    command = ["train", "mine.yaml", "--data", "ml", "--set", "evaluation.bootstrap=0", "--out", "new", "--json"]
    done = llmrec(*command, cwd=place.folder)
    assert done.returncode == 0, done.stderr
    said = "2 duplicate user-item pairs: the newest rating of each was kept"
    assert said in done.stderr
    metrics = json.loads(done.stdout)
    assert metrics == json.loads((place.folder / "new" / "metrics.json").read_text(encoding="utf-8"))
    assert said in metrics["data"]["notes"]
    assert metrics["recipe"] == "mine"
    assert "rank: 4" in (place.folder / "new" / "recipe.yaml").read_text(encoding="utf-8")
    names = {path.name for path in place.folder.iterdir()}
    assert names == {"ml", "run", "new", "mine.yaml"}, "the hidden folder of the training is gone"


def test_debug_shows_the_traceback_before_the_line(llmrec: Command, tmp_path: Path) -> None:
    done = llmrec("train", "moveis", "--debug", cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback (most recent call last)" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: unknown recipe 'moveis'")

"""`llmrec encode`: what it writes where, and what it refuses in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from llmrec_peft.cli.main import main


def _run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


def test_encode_writes_beside_where_it_is_called_and_says_what(
    tiny_data: Path,
    tiny_backbone: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ("encode", "movies", "--data", tiny_data, "--set", f"backbone.name={tiny_backbone}")
    short = "--set", "views.item.max_length=6"
    assert _run(*asked, *short, "--numbers", "float16", "--json") == 0
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert (told["rows"], told["width"], told["numbers"]) == ({"item": 40}, 32, "float16")
    assert "vectors of 40 items, 32 wide, in movies-vectors.parquet" in err
    assert "40 texts of items are longer than the tokens that are read, and were cut" in err
    assert pq.read_schema("movies-vectors.parquet").field("vector").type.value_type == "halffloat"
    assert _run(*asked) == 2
    assert "movies-vectors.parquet exists already" in capsys.readouterr().err
    assert _run(*asked, "--overwrite", "--quiet") == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "say what to encode: a recipe (llmrec list recipes), or a run with --run"),
        (("movies", "--run", "somewhere"), "say what to encode"),
        (("--run", "somewhere", "--set", "seed=1"), "--set changes a recipe"),
        (("movies", "--data", "demo", "--workers", "2"), "add --ray"),
        (("movies", "--data", "demo", "--worker-gpus", "nan", "--ray"), "greater than or equal to 0"),
        (("movies", "--data", "demo", "--output", "no/where.parquet"), "there is no folder no"),
        (("movies", "--data", "demo", "--output", "v.csv"), "v.csv: vectors are written as Parquet: name it .parquet"),
        (("--run", "somewhere"), "somewhere"),
    ],
)
def test_wrong_arguments_are_one_line(
    arguments: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert _run("encode", *arguments) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())

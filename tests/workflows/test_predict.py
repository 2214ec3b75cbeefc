"""Predict: a file of pairs in, scores out, streamed, and a target that appears whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest

from llmrec_peft.errors import InputError
from llmrec_peft.run.recommender import Recommender
from llmrec_peft.workflows import pair_files
from llmrec_peft.workflows import predict as module
from llmrec_peft.workflows.predict import predict


@pytest.fixture
def pairs() -> dict[str, list[Any]]:
    """Known and unknown users over known items."""
    users = [str(1 + at % 33) for at in range(200)]
    return {
        "user_id": users,
        "item_id": [str(1 + at * 7 % 40) for at in range(200)],
        "note": [f"n{at}" for at in range(200)],
    }


def _write(path: Path, columns: dict[str, list[Any]]) -> Path:
    table = pa.table(columns)
    pc.write_csv(table, path) if path.suffix == ".csv" else pq.write_table(table, path)
    return path


def _read(path: Path) -> dict[str, list[Any]]:
    if path.suffix == ".csv":
        text = pc.ConvertOptions(column_types={"user_id": pa.string(), "item_id": pa.string()})
        return pc.read_csv(path, convert_options=text).to_pydict()
    return pq.read_table(path).to_pydict()


@pytest.mark.parametrize("source", ["in.csv", "in.parquet"])
@pytest.mark.parametrize("target", ["out.csv", "out.parquet"])
def test_scores_are_those_of_the_recommender_and_columns_are_handed_on(
    source: str, target: str, tiny_run: Path, pairs: dict[str, list[Any]], tmp_path: Path
) -> None:
    predicted = predict(tiny_run, _write(tmp_path / source, pairs), tmp_path / target, unknown="popular")
    assert (predicted.rows, predicted.scored, predicted.unknown_users) == (200, 200, 18)
    result = _read(tmp_path / target)
    assert {name: result[name] for name in pairs} == pairs
    expected = Recommender.from_pretrained(tiny_run).score(pairs["user_id"], pairs["item_id"])
    np.testing.assert_allclose(result["score"], expected, rtol=0, atol=1e-5)
    bases = dict(zip(result["user_id"], result["basis"], strict=True))
    assert bases["1"] == "personal"
    assert bases["31"] == bases["33"] == "unknown-user"


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_file_is_streamed_in_chunks_that_never_hold_the_whole(
    ending: str, tiny_run: Path, pairs: dict[str, list[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = _write(tmp_path / f"in.{ending}", pairs)
    predict(tiny_run, source, tmp_path / "whole.parquet")
    monkeypatch.setattr(pair_files, "CHUNK_BYTES", 300)
    monkeypatch.setattr(pair_files, "CHUNK_ROWS", 30)
    sizes: list[int] = []
    real = module._Scoring.scored

    def scored(scoring: module._Scoring, chunk: pair_files.Chunk) -> Any:
        sizes.append(len(chunk))
        return real(scoring, chunk)

    monkeypatch.setattr(module._Scoring, "scored", scored)
    assert predict(tiny_run, source, tmp_path / "chunks.parquet").rows == 200
    assert sum(sizes) == 200
    assert max(sizes) < 50
    assert _read(tmp_path / "chunks.parquet") == _read(tmp_path / "whole.parquet")


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_new_items_are_scored_by_their_text_columns_once_over_all_chunks(
    ending: str, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pair_files, "CHUNK_BYTES", 100)
    monkeypatch.setattr(pair_files, "CHUNK_ROWS", 2)
    columns = {
        "user_id": ["1", "2", "1", "2", "1"],
        "item_id": ["new", "new", "3", "new", "other"],
        "title": ["Heat", "Heat", "ignored", "Heat", "Babe"],
        "year": [1995, 1995, 0, 1995, 1995],
        "genres": ["Crime|Drama", "Crime, Drama", "", '["Crime", "Drama"]', ""],
    }
    predicted = predict(tiny_run, _write(tmp_path / f"in.{ending}", columns), tmp_path / "out.parquet")
    assert (predicted.rows, predicted.scored, predicted.new_items) == (5, 5, 2)
    result = _read(tmp_path / "out.parquet")
    assert result["basis"] == ["text", "text", "personal", "text", "text"]
    assert result["score"][1] == result["score"][3]
    recommender = Recommender.from_pretrained(tiny_run)
    recommender.add_items([{"item_id": "h", "title": "Heat", "year": 1995, "genres": ["Crime", "Drama"]}])
    assert result["score"][0] == pytest.approx(float(recommender.score(["1"], ["h"])[0]), abs=1e-3)


def test_item_that_an_earlier_file_added_keeps_its_text(tiny_run: Path, tmp_path: Path) -> None:
    recommender = Recommender.from_pretrained(tiny_run)
    film = {"user_id": ["1"], "item_id": ["new"], "title": ["Heat"], "year": [1995], "genres": ["Crime"]}
    for name, columns in {"a": film, "b": film, "c": {"user_id": ["1"], "item_id": ["new"]}}.items():
        predict(recommender, _write(tmp_path / f"{name}.csv", columns), tmp_path / f"{name}.parquet")
    scores = [_read(tmp_path / f"{name}.parquet")["score"] for name in "abc"]
    assert scores[0] == scores[1] == scores[2]
    other = _write(tmp_path / "other.csv", {**film, "title": ["Babe"]})
    with pytest.raises(InputError, match=r"row 1: the item 'new' was added to the run with another text"):
        predict(recommender, other, tmp_path / "other.parquet")
    known = _write(tmp_path / "known.csv", {**film, "item_id": ["3"]})
    assert predict(recommender, known, tmp_path / "known.parquet").scored == 1


def test_texts_of_new_items_that_are_cut_are_counted_over_all_chunks(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pair_files, "CHUNK_ROWS", 2)
    columns = {
        "user_id": ["1", "2", "1", "2", "1"],
        "item_id": ["long", "short", "3", "long", "longer"],
        "title": ["Heat " * 200, "Heat", "Heat " * 200, "Heat " * 200, "Babe " * 300],
        "year": [1995] * 5,
        "genres": ["Drama"] * 5,
    }
    source = _write(tmp_path / "in.parquet", columns)
    predicted = predict(tiny_run, source, tmp_path / "out.csv")
    assert (predicted.new_items, predicted.cut_items) == (3, 2)
    assert predicted.notes("skip") == ["the texts of 2 of 3 new items are longer than the run reads and were cut"]
    again = Recommender.from_pretrained(tiny_run)
    assert predict(again, source, tmp_path / "kept.csv").cut_items == 2
    columns["item_id"] = ["another", "last", "3", "another", "last one"]
    assert predict(again, _write(tmp_path / "in.csv", columns), tmp_path / "more.csv").cut_items == 2


UNKNOWN = {"user_id": ["1", "nobody", "2", "nobody"], "item_id": ["3", "3", "nowhere", "nowhere"]}


@pytest.mark.parametrize("target", ["out.csv", "out.parquet"])
def test_unknown_ids_have_no_score_and_are_counted(target: str, tiny_run: Path, tmp_path: Path) -> None:
    predicted = predict(tiny_run, _write(tmp_path / "in.csv", UNKNOWN), tmp_path / target)
    result = _read(tmp_path / target)
    assert [score is None for score in result["score"]] == [False, True, True, True]
    assert result["basis"] == ["personal", "unknown-user", "unknown-item", "unknown-item"]
    items, users = predicted.notes("skip")
    assert items == (
        "2 of 4 rows are of items that the run does not know and whose columns title, year, genres are not given, such"
        " as 'nowhere': they have no score"
    )
    assert users == "2 of 4 rows are of users that the run does not know, such as 'nobody': they have no score"


def test_popular_scores_unknown_users_for_the_average_user_and_never_an_item_without_text(
    tiny_run: Path, tmp_path: Path
) -> None:
    predicted = predict(tiny_run, _write(tmp_path / "in.csv", UNKNOWN), tmp_path / "out.parquet", unknown="popular")
    result = _read(tmp_path / "out.parquet")
    average = float(Recommender.from_pretrained(tiny_run).score(["anyone"], ["3"])[0])
    assert result["score"][1] == pytest.approx(average, abs=1e-5)
    assert result["score"][2:] == [None, None]
    assert predicted.notes("popular")[-1].endswith("such as 'nobody': scored for the average user")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (("nobody", "3"), "row 2: user 'nobody' is unknown to the run, which knows '1', '2', '3' and others"),
        (
            ("1", "no"),
            "row 2: item 'no' is unknown to the run; give the columns that its text takes: title, year, genres",
        ),
    ],
)
def test_refuse_ends_at_the_first_unknown_id_and_writes_nothing(
    row: tuple[str, str], said: str, tiny_run: Path, tmp_path: Path
) -> None:
    source = _write(tmp_path / "in.csv", {"user_id": ["1", row[0]], "item_id": ["3", row[1]]})
    with pytest.raises(InputError, match=said):
        predict(tiny_run, source, tmp_path / "out.csv", unknown="refuse")
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"user": ["1"], "item_id": ["3"]}, r"no column user_id \(it has user, item_id\)"),
        ({"user_id": ["1", None], "item_id": ["3", "4"]}, "row 2: user_id or item_id is empty"),
    ],
)
def test_input_that_cannot_be_scored_is_named_and_leaves_nothing(
    columns: dict[str, list[Any]], said: str, tiny_run: Path, tmp_path: Path
) -> None:
    source = _write(tmp_path / "in.parquet", columns)
    with pytest.raises(InputError, match=said):
        predict(tiny_run, source, tmp_path / "out.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["in.parquet"]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_failure_in_a_late_chunk_leaves_a_former_target_as_it_was(
    ending: str, tiny_run: Path, pairs: dict[str, list[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pair_files, "CHUNK_ROWS", 30)
    pairs["item_id"][190] = ""
    source = _write(tmp_path / "in.parquet", pairs)
    target = tmp_path / f"out.{ending}"
    target.write_text("former")
    with pytest.raises(InputError, match="exists already: --overwrite replaces it"):
        predict(tiny_run, source, target)
    with pytest.raises(InputError, match="row 191: user_id or item_id is empty"):
        predict(tiny_run, source, target, overwrite=True)
    assert target.read_text() == "former"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.parquet", f"out.{ending}"]
    pairs["item_id"][190] = "1"
    _write(source, pairs)
    assert predict(tiny_run, source, target, overwrite=True).rows == 200
    assert len(_read(target)["score"]) == 200


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: folder / "none.csv", "no input file"),
        (lambda folder: folder / "in.txt", "name it .csv or .parquet"),
        (lambda folder: folder / "broken.parquet", "broken.parquet: unreadable"),
        (lambda folder: folder / "empty.csv", "empty.csv: the file is empty"),
        (lambda folder: folder / "empty.parquet", "empty.parquet: unreadable"),
        (lambda folder: folder / "header.csv", "there are no rows"),
        (lambda folder: folder / "folder.csv", "is no regular file"),
        (lambda folder: folder / "pipe.csv", "is no regular file"),
    ],
)
def test_unreadable_input_is_one_line(make: Callable[[Path], Path], said: str, tiny_run: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.parquet").write_bytes(b"no parquet")
    (tmp_path / "empty.csv").touch()
    (tmp_path / "empty.parquet").touch()
    (tmp_path / "header.csv").write_text("user_id,item_id\n")
    (tmp_path / "in.txt").write_text("user_id,item_id\n1,1\n")
    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(InputError, match=said) as caught:
        predict(tiny_run, make(tmp_path), tmp_path / "out.csv")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.csv").exists()


def test_name_that_is_too_long_is_refused(tiny_run: Path, tmp_path: Path) -> None:
    source = _write(tmp_path / "in.csv", {"user_id": ["1"], "item_id": ["3"]})
    for target, given in ((f"{'a' * 300}.csv", source), ("out.csv", tmp_path / f"{'a' * 300}.csv")):
        with pytest.raises(InputError, match="File name too long"):
            predict(tiny_run, given, tmp_path / target)


def test_target_that_is_a_folder_is_refused(tiny_run: Path, tmp_path: Path) -> None:
    source = _write(tmp_path / "in.csv", {"user_id": ["1"], "item_id": ["3"]})
    (tmp_path / "out.csv").mkdir()
    with pytest.raises(InputError, match="is no regular file: it cannot be replaced"):
        predict(tiny_run, source, tmp_path / "out.csv", overwrite=True)

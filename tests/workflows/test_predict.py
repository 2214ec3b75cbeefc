"""Predict: a file of pairs in, scores out, streamed, and a target that appears whole or not at all."""

from __future__ import annotations

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
    assert predict(tiny_run, _write(tmp_path / source, pairs), tmp_path / target) == 200
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
    monkeypatch.setattr(module, "_CHUNK_BYTES", 300)
    monkeypatch.setattr(module, "_CHUNK_ROWS", 30)
    sizes: list[int] = []
    real = module._scored

    def scored(recommender: Recommender, table: pa.Table, *rest: Any) -> pa.Table:
        sizes.append(len(table))
        return real(recommender, table, *rest)

    monkeypatch.setattr(module, "_scored", scored)
    assert predict(tiny_run, source, tmp_path / "chunks.parquet") == 200
    assert sum(sizes) == 200
    assert max(sizes) < 50
    assert _read(tmp_path / "chunks.parquet") == _read(tmp_path / "whole.parquet")


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_new_items_are_scored_by_their_text_columns_once_over_all_chunks(
    ending: str, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CHUNK_BYTES", 100)
    monkeypatch.setattr(module, "_CHUNK_ROWS", 2)
    columns = {
        "user_id": ["1", "2", "1", "2", "1"],
        "item_id": ["new", "new", "3", "new", "other"],
        "title": ["Heat", "Heat", "ignored", "Heat", "Babe"],
        "year": [1995, 1995, 0, 1995, 1995],
        "genres": ["", "", "", "", ""],
    }
    assert predict(tiny_run, _write(tmp_path / f"in.{ending}", columns), tmp_path / "out.parquet") == 5
    result = _read(tmp_path / "out.parquet")
    assert result["basis"] == ["text", "text", "personal", "text", "text"]
    assert result["score"][1] == result["score"][3]
    recommender = Recommender.from_pretrained(tiny_run)
    recommender.add_items([{"item_id": "h", "title": "Heat", "year": 1995, "genres": ""}])
    assert result["score"][0] == pytest.approx(float(recommender.score(["1"], ["h"])[0]), abs=1e-3)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"user_id": ["1", "2"], "item_id": ["3", "nowhere"]}, "row 2: item 'nowhere' is unknown to the run"),
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
    monkeypatch.setattr(module, "_CHUNK_ROWS", 30)
    pairs["item_id"][190] = "nowhere"
    pairs = {name: pairs[name] for name in ("user_id", "item_id")}
    source = _write(tmp_path / "in.parquet", pairs)
    target = tmp_path / f"out.{ending}"
    target.write_text("former")
    with pytest.raises(InputError, match="exists already: --overwrite replaces it"):
        predict(tiny_run, source, target)
    with pytest.raises(InputError, match="row 191: item 'nowhere'"):
        predict(tiny_run, source, target, overwrite=True)
    assert target.read_text() == "former"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.parquet", f"out.{ending}"]
    pairs["item_id"][190] = "1"
    _write(source, pairs)
    assert predict(tiny_run, source, target, overwrite=True) == 200
    assert len(_read(target)["score"]) == 200


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: folder / "none.csv", "no input file"),
        (lambda folder: folder / "in.txt", "name it .csv or .parquet"),
        (lambda folder: folder / "broken.parquet", "broken.parquet: unreadable"),
        (lambda folder: folder / "empty.csv", "empty.csv: "),
        (lambda folder: folder / "header.csv", "there are no rows"),
    ],
)
def test_unreadable_input_is_one_line(make: Callable[[Path], Path], said: str, tiny_run: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.parquet").write_bytes(b"no parquet")
    (tmp_path / "empty.csv").touch()
    (tmp_path / "header.csv").write_text("user_id,item_id\n")
    (tmp_path / "in.txt").write_text("user_id,item_id\n1,1\n")
    with pytest.raises(InputError, match=said) as caught:
        predict(tiny_run, make(tmp_path), tmp_path / "out.csv")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.csv").exists()


def test_columns_of_an_earlier_prediction_are_replaced(
    pairs: dict[str, list[Any]], tiny_run: Path, tmp_path: Path
) -> None:
    again = {**pairs, "score": [9.0] * 200, "basis": ["old"] * 200}
    predict(tiny_run, _write(tmp_path / "in.parquet", again), tmp_path / "out.parquet")
    written = pq.read_table(tmp_path / "out.parquet")
    assert written.schema.names == ["user_id", "item_id", "note", "score", "basis"]
    assert "old" not in written.column("basis").to_pylist()

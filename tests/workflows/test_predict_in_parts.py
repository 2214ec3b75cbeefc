"""Predict in parts: workers give the scores that one process gives, bit for bit, and an interrupted job is taken up."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest

from llmrec_peft.cluster.pool import Pool
from llmrec_peft.errors import InputError, InterruptedTrainingError
from llmrec_peft.workflows import pair_files
from llmrec_peft.workflows import predict_in_parts as module
from llmrec_peft.workflows.predict import predict
from llmrec_peft.workflows.predict_in_parts import predict_in_parts
from llmrec_peft.workflows.predict_worker import NewItemWorker, ScoreWorker


@pytest.fixture
def pairs(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """Known and unknown users over known items, new ones with a text, and one without; read in five chunks."""
    monkeypatch.setattr(pair_files, "CHUNK_ROWS", 50)
    new = {"a": "Heat", "b": "Heat and sand " * 40, "c": "Babe"}
    items = [("abc"[at % 3] if at % 7 == 0 else str(1 + at * 7 % 40)) for at in range(210)]
    titles = [new.get(item, "") for item in items]
    items[-1] = "nowhere"
    return {
        "user_id": [str(1 + at % 33) for at in range(210)],
        "item_id": items,
        "title": titles,
        "year": [1995 if title else None for title in titles],
        "genres": ["Crime|Drama" if title else None for title in titles],
    }


def _write(path: Path, columns: dict[str, list[Any]]) -> Path:
    table = pa.table(columns)
    pc.write_csv(table, path) if path.suffix == ".csv" else pq.write_table(table, path)
    return path


@pytest.mark.parametrize("names", [("in.parquet", "out.parquet"), ("in.csv", "out.csv")])
def test_parts_give_the_file_that_one_process_writes(
    names: tuple[str, str], tiny_run: Path, pairs: dict[str, list[Any]], tmp_path: Path
) -> None:
    source, target = _write(tmp_path / names[0], pairs), tmp_path / names[1]
    whole = predict(tiny_run, source, tmp_path / f"whole-{names[1]}")
    assert (whole.rows, whole.new_items, whole.cut_items, whole.unknown_items) == (210, 3, 1, 1)
    parts = predict_in_parts(tiny_run, source, target, False, "skip", Pool())
    assert parts == whole
    assert target.read_bytes() == (tmp_path / f"whole-{names[1]}").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*names, f"whole-{names[1]}"])


def test_prompts_of_new_items_are_scored_in_parts(
    task_runs: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llmrec_peft.run.recommender import Recommender

    monkeypatch.setattr(pair_files, "CHUNK_ROWS", 4)
    run = task_runs("prompt")
    recommender = Recommender.from_pretrained(run)
    columns = {name: ["Heat" if kind.kind == "text" else None] * 6 for name, kind in recommender.items.types.items()}
    known = list(recommender.catalogue.ids[:3])
    pairs = {"user_id": list(recommender.vocabulary.users[:6]), "item_id": ["x", *known, "y", "x"], **columns}
    source = _write(tmp_path / "in.parquet", pairs)
    predict(run, source, tmp_path / "whole.parquet")
    predict_in_parts(run, source, tmp_path / "parts.parquet", False, "skip", Pool())
    assert (tmp_path / "parts.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()


def test_an_interrupted_job_goes_on_and_another_one_begins_anew(
    tiny_run: Path, pairs: dict[str, list[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = _write(tmp_path / "in.parquet", pairs), tmp_path / "out.parquet"
    done: list[str] = []
    real = ScoreWorker.work

    def interrupted(worker: ScoreWorker, part: str) -> dict[str, Any]:
        if len(done) == 3:
            done.append("interrupted")
            raise KeyboardInterrupt
        done.append(part)
        return real(worker, part)

    monkeypatch.setattr(ScoreWorker, "work", interrupted)
    with pytest.raises(InterruptedTrainingError, match="the same command goes on"):
        predict_in_parts(tiny_run, source, target, False, "skip", Pool())
    assert not target.exists()
    assert len(done) == 4
    monkeypatch.setattr(NewItemWorker, "work", _never)
    predict_in_parts(tiny_run, source, target, False, "skip", Pool())
    assert len(done) == 4 + 2, "three of five parts were done"
    whole = predict(tiny_run, source, tmp_path / "whole.parquet")
    assert target.read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert whole.new_items == 3
    assert not list(tmp_path.glob(".*"))


def test_a_new_text_of_a_new_item_makes_another_job(
    tiny_run: Path, pairs: dict[str, list[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = _write(tmp_path / "in.parquet", pairs), tmp_path / "out.parquet"
    real, done = ScoreWorker.work, 0

    def interrupted(worker: ScoreWorker, part: str) -> dict[str, Any]:
        nonlocal done
        done += 1
        if done == 4:
            raise KeyboardInterrupt
        return real(worker, part)

    monkeypatch.setattr(ScoreWorker, "work", interrupted)
    with pytest.raises(InterruptedTrainingError):
        predict_in_parts(tiny_run, source, target, False, "skip", Pool())
    pairs["title"] = ["Toy Story" if title == "Heat" else title for title in pairs["title"]]
    predict_in_parts(tiny_run, _write(source, pairs), target, False, "skip", Pool())
    predict(tiny_run, source, tmp_path / "whole.parquet")
    assert target.read_bytes() == (tmp_path / "whole.parquet").read_bytes()


@pytest.mark.parametrize("changed", ["nothing", "private files", "unknown users", "version"])
def test_scores_are_taken_up_where_nothing_has_changed_that_they_depend_on(
    changed: str, tiny_run: Path, pairs: dict[str, list[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, source, target = tmp_path / "run", _write(tmp_path / "in.parquet", pairs), tmp_path / "out.parquet"
    shutil.copytree(tiny_run, run)
    real, done = ScoreWorker.work, list[str]()

    def interrupted(worker: ScoreWorker, part: str) -> dict[str, Any]:
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(part)
        return real(worker, part)

    def counted(worker: ScoreWorker, part: str) -> dict[str, Any]:
        done.append(part)
        return real(worker, part)

    monkeypatch.setattr(ScoreWorker, "work", interrupted)
    with pytest.raises(InterruptedTrainingError):
        predict_in_parts(run, source, target, False, "skip", Pool())
    monkeypatch.setattr(ScoreWorker, "work", counted)
    if changed == "private files":  # the same version of the run, which other histories may answer for
        (run / "seen.safetensors").unlink()
    elif changed == "version":
        monkeypatch.setattr(module, "__version__", "0.0.0")
    predict_in_parts(run, source, target, False, "popular" if changed == "unknown users" else "skip", Pool())
    assert len(done) == 3 + (2 if changed == "nothing" else 5)


def test_a_worker_whose_copy_of_the_run_lacks_histories_ends_the_job(
    tiny_run: Path, pairs: dict[str, list[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, source = tmp_path / "run", _write(tmp_path / "in.parquet", pairs)
    shutil.copytree(tiny_run, run)
    real = ScoreWorker.work

    def elsewhere(worker: ScoreWorker, part: str) -> dict[str, Any]:
        (run / "seen.safetensors").unlink()
        return real(worker, part)

    monkeypatch.setattr(ScoreWorker, "work", elsewhere)
    with pytest.raises(InputError, match=r"lacks seen\.safetensors, and no file where the job was begun"):
        predict_in_parts(run, source, tmp_path / "out.parquet", False, "skip", Pool())


def _never(*_: Any) -> Iterator[None]:
    raise AssertionError("new items were encoded before the interruption")


def test_what_cannot_be_shared_is_refused_in_one_line(
    tiny_run: Path, pairs: dict[str, list[Any]], tmp_path: Path
) -> None:
    from llmrec_peft.run.recommender import Recommender

    source = _write(tmp_path / "in.parquet", pairs)
    ray = Pool(ray=True)
    with pytest.raises(InputError, match="name files, not -"):
        predict(tiny_run, Path("-"), tmp_path / "out.csv", pool=ray)
    with pytest.raises(InputError, match="from its folder"):
        predict(Recommender.from_pretrained(tiny_run), source, tmp_path / "out.csv", pool=ray)
    with pytest.raises(InputError, match="add --ray"):
        Pool(workers=2)
    with pytest.raises(InputError, match=r"row 2: user_id or item_id is empty"):
        twice = {"user_id": ["1", ""], "item_id": ["1", "2"]}
        predict_in_parts(tiny_run, _write(tmp_path / "b.csv", twice), tmp_path / "o.csv", False, "skip", Pool())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.csv", "in.parquet"]

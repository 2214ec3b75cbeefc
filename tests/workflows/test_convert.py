"""`llmrec convert`: a run of format 3 answers as before in this format, or stays as it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from former_runs import former, sealed_former
from typer.testing import CliRunner

from llmrec_peft.artifact.manifest import ADDED, read_manifest
from llmrec_peft.backbone.tensor_files import read_tensors
from llmrec_peft.cli.main import app
from llmrec_peft.errors import InputError
from llmrec_peft.run.recommender import Recommender
from llmrec_peft.workflows.convert import convert


@pytest.fixture
def old(tiny_run: Path, tmp_path: Path) -> Path:
    """The trained run, as format 3 had it."""
    return former(tiny_run, tmp_path / "old")


def contents(folder: Path) -> dict[str, bytes]:
    """Every file's bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def answers(run: Path) -> Any:
    """Lists and scores of a run, to the last bit."""
    recommender = Recommender.from_pretrained(run)
    users, items = list(recommender.vocabulary.users), list(recommender.vocabulary.items)
    return recommender.recommend([*users[:9], "nobody"], 7), recommender.score(users[:9], items[:9]).tolist()


def test_run_of_the_former_format_is_refused_by_a_line_that_names_convert(old: Path) -> None:
    with pytest.raises(InputError, match=r"format 3, written by version '0\.1\.0'; .*`llmrec convert`") as caught:
        Recommender.from_pretrained(old)
    assert "\n" not in str(caught.value)


def test_converted_run_answers_bit_for_bit_as_before(old: Path, tiny_run: Path, tmp_path: Path) -> None:
    before = contents(old)
    told = convert(old, tmp_path / "new")
    assert contents(old) == before
    assert answers(tmp_path / "new") == answers(tiny_run)
    manifest = read_manifest(tmp_path / "new")
    assert (manifest.former, manifest.digest) == (told["former"], told["digest"])
    assert manifest.former == json.loads(before["manifest.json"])["digest"]
    assert (tmp_path / "new" / "README.md").read_bytes() == before["README.md"]
    for name in ("catalogue.safetensors", "seen.safetensors"):
        one, other = read_tensors(tmp_path / "new" / name), read_tensors(tiny_run / name)
        assert one.keys() == other.keys()
        assert all(tensor.equal(other[part]) for part, tensor in one.items()), name


@pytest.mark.parametrize("task", ["prompt", "ranking"])
def test_runs_of_other_tasks_are_converted_with_columns_and_marks(
    task: str, task_runs: Callable[[str], Path], tmp_path: Path
) -> None:
    run = task_runs(task)
    convert(former(run, tmp_path / "run"))
    for name in ("items.parquet", "seen.safetensors", "catalogue.safetensors"):
        if name.endswith("parquet"):
            assert pq.read_table(tmp_path / "run" / name).equals(pq.read_table(run / name))
        else:
            one, other = read_tensors(tmp_path / "run" / name), read_tensors(run / name)
            assert all(tensor.equal(other[part]) for part, tensor in one.items()), name
    assert Recommender.from_pretrained(tmp_path / "run").recommend(["nobody"], 3, seen=True)


def test_run_is_replaced_in_place_and_one_without_histories_stays_without(old: Path) -> None:
    (old / "seen.parquet").unlink()
    told = convert(old)
    assert read_manifest(old).digest == told["digest"]
    assert not (old / "seen.safetensors").exists()
    assert not (old / "vocabulary.parquet").exists()
    assert set(ADDED) <= set(contents(old))
    with pytest.raises(InputError, match=r"is a run folder of format 4.*it is up to date"):
        convert(old)


def _twice(old: Path) -> None:
    table = pq.read_table(old / "vocabulary.parquet").to_pydict()
    table["id"][1] = table["id"][0]
    import pyarrow as pa

    pq.write_table(pa.table(table), old / "vocabulary.parquet")
    sealed_former(old)


SPOILED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a changed table": (
        lambda old: (old / "items.parquet").write_bytes(b"x"),
        "items.parquet is not what the run wrote",
    ),
    "a changed tensor": (lambda old: (old / "head.safetensors").write_bytes(b"x"), "head.safetensors is not what"),
    "a missing file": (lambda old: (old / "signals.safetensors").unlink(), "signals.safetensors is missing"),
    "an id twice": (_twice, "the id of a user is empty or stands twice"),
    "no run": (lambda old: (old / "manifest.json").unlink(), "is no run folder"),
}


@pytest.mark.parametrize("case", SPOILED)
def test_spoiled_run_is_refused_in_one_line_and_stays_as_it_is(case: str, old: Path, tmp_path: Path) -> None:
    spoil, message = SPOILED[case]
    spoil(old)
    before = contents(tmp_path)
    for out in (None, tmp_path / "new"):
        with pytest.raises(InputError, match=message) as caught:
            convert(old, out)
        assert "\n" not in str(caught.value)
    assert contents(tmp_path) == before


def test_command_prints_both_digests_and_json(old: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["convert", str(old), "--out", str(tmp_path / "new"), "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["format"], told["items"], told["users"]) == (4, 40, 30)
    assert told["digest"] == read_manifest(tmp_path / "new").digest
    done = CliRunner().invoke(app, ["convert", str(old)])
    assert f"format 4, {told['former'][:12]} is now {told['digest'][:12]}" in done.stdout.replace("\n", "")

"""Parts: results count for the job that they say, and for no other; what is unreadable is made again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmrec_peft.cluster.parts import INPUTS, JOB, REPORT, RESULTS, Parts, read_part, write_result
from llmrec_peft.errors import InputError


def _inputs(count: int = 3, base: int = 0) -> Iterator[pa.Table]:
    return (pa.table({"n": [base + number]}) for number in range(count))


def _interrupted(target: Path, asked: dict[str, int], count: int = 3) -> list[str]:
    """Begin a job, do its first two parts, and fail."""
    names: list[str] = []
    with pytest.raises(RuntimeError), Parts.of(target, "job") as parts:
        names = list(parts.begin(asked, _inputs(count)))
        for name in names[:2]:
            doubled = pa.table({"n": [2 * read_part(parts.folder / INPUTS / name).column("n")[0].as_py()]})
            write_result(parts.folder, name, doubled, parts.job, {"rows": 1, "name": name})
        raise RuntimeError
    return names


def test_a_job_is_taken_up_with_its_reports_and_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "out"
    names = _interrupted(target, {"a": 1})
    assert (tmp_path / ".out.job" / RESULTS / names[0]).is_file()
    with Parts.of(target, "job") as parts:
        assert parts.begin({"a": 1}, _inputs()) == dict.fromkeys(names, 1)
        reports = parts.reports(names)
        assert reports == {name: {"rows": 1, "name": name} for name in names[:2]}
        assert parts.result(names[1]).column("n").to_pylist() == [2]
        with pytest.raises(InputError, match=f"{names[2]}"):
            parts.result(names[2])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("other", ["asked", "input", "order"])
def test_results_of_another_job_are_thrown_away(other: str, tmp_path: Path) -> None:
    names = _interrupted(tmp_path / "out", {"a": 1})
    with Parts.of(tmp_path / "out", "job") as parts:
        inputs = list(_inputs(base=5 if other == "input" else 0))
        parts.begin({"a": 2 if other == "asked" else 1}, iter(inputs[::-1] if other == "order" else inputs))
        assert parts.reports(names) == {}
        assert parts.done() == []


def test_a_job_that_failed_before_its_first_part_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), Parts.of(tmp_path / "out", "job") as parts:
        parts.begin({}, _inputs())
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_spoiled_results_are_not_taken_up(tmp_path: Path) -> None:
    target = tmp_path / "out"
    names = _interrupted(target, {})
    results = tmp_path / ".out.job" / RESULTS
    job = pq.read_schema(results / names[0]).metadata[JOB]

    def spoil(metadata: dict[bytes, bytes], name: str) -> None:
        pq.write_table(pa.table({"n": [1]}).replace_schema_metadata(metadata), results / name)

    good = json.dumps({"rows": 1}).encode()
    for metadata in (
        {JOB: b"another", REPORT: good},
        {REPORT: good},
        {JOB: job, REPORT: b"{}"},
        {JOB: job, REPORT: b"[1"},
        {JOB: job, REPORT: b"[1]"},
        {JOB: job, REPORT: b'{"rows": 2}'},
    ):
        spoil(metadata, names[0])
        (results / names[1]).unlink(missing_ok=True)
        (results / names[1]).symlink_to(results / names[0])
        (results / names[2]).write_bytes(b"PAR1\xff\xff\xff\x7fPAR1")
        with Parts.of(target, "job") as parts:
            parts.begin({}, _inputs())
            assert parts.reports(names) == {}, metadata
            with pytest.raises(InputError):
                parts.result(names[2])
            for name in names:
                with pytest.raises(InputError):
                    parts.result(name)
        _interrupted(target, {})


def test_two_processes_do_not_work_on_one_target(tmp_path: Path) -> None:
    with (
        Parts.of(tmp_path / "out", "job"),
        pytest.raises(InputError, match="is being written by"),
        Parts.of(tmp_path / "out", "job"),
    ):
        pass

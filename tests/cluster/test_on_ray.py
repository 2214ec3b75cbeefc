"""Ray: two real workers give the bytes that one process writes; what is wrong comes back as one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmrec_peft.backbone.remote_code import is_allowed
from llmrec_peft.cluster.pool import Pool
from llmrec_peft.errors import InputError
from llmrec_peft.recipe import load_recipe
from llmrec_peft.workflows import encode as encoding
from llmrec_peft.workflows import pair_files
from llmrec_peft.workflows.encode import encode
from llmrec_peft.workflows.predict import predict


class _Echo:
    """Reports who works on a part; one part is wrong."""

    def __init__(self, wrong: str) -> None:
        self.wrong, self.parts = wrong, 0

    def work(self, part: str) -> Mapping[str, Any]:
        if part == self.wrong:
            raise InputError(f"{part} is\nwrong")
        self.parts += 1
        return {"process": os.getpid(), "parts": self.parts, "code": is_allowed()}


@pytest.fixture(scope="module")
def ray() -> Any:
    """Ray with its Data library, or the reason why the tests are skipped."""
    pytest.importorskip("ray.data", reason="Ray is not installed: pip install 'llmrec-peft[ray]'")
    import ray

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a test
    return ray


@pytest.fixture(scope="module")
def running(ray: Any) -> Iterator[Any]:
    """A Ray that a program has started and that several jobs use."""
    from llmrec_peft.cluster.on_ray import running as begun

    with begun(ray, 2):
        yield ray


def test_without_ray_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"Ray Data cannot be imported .*: pip install 'llmrec-peft\[ray\]'"):
        list(Pool(ray=True).each(_Echo, {"wrong": ""}, ["a"]))


@pytest.mark.trains
def test_two_workers_encode_the_bytes_that_one_process_writes_and_ray_ends_with_them(
    ray: Any, tiny_data: Path, tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "PART_ROWS", 16)
    changes = {"data.path": str(tiny_data), "backbone.name": str(tiny_backbone), "backbone.precision": "fp32"}
    recipe = load_recipe("movies", [], changes)
    encode(recipe, tmp_path / "here.parquet")
    encoded = encode(recipe, tmp_path / "ray.parquet", pool=Pool(ray=True, workers=2))
    assert encoded.parts == 3
    assert (tmp_path / "ray.parquet").read_bytes() == (tmp_path / "here.parquet").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here.parquet", "ray.parquet"]
    assert not ray.is_initialized()


@pytest.mark.trains
def test_parts_are_shared_by_workers_and_the_first_error_ends_the_job(running: Any) -> None:
    parts = [f"p{number}" for number in range(6)]
    reports = dict(Pool(ray=True, workers=2, allow_code=True).each(_Echo, {"wrong": ""}, parts))
    assert sorted(reports) == parts
    assert os.getpid() not in {report["process"] for report in reports.values()}
    assert max(report["parts"] for report in reports.values()) > 1
    assert all(report["code"] for report in reports.values())
    with pytest.raises(InputError, match="p3 is wrong"):
        list(Pool(ray=True, workers=1).each(_Echo, {"wrong": "p3"}, parts))
    with pytest.raises(InputError, match="Ray knows 0 GPUs"):
        list(Pool(ray=True, workers=1, gpus=1.0).each(_Echo, {"wrong": ""}, parts))
    assert running.is_initialized()


def test_two_workers_score_the_bytes_that_one_process_writes(
    running: Any, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pair_files, "CHUNK_ROWS", 50)
    items = [("abc"[at % 3] if at % 7 == 0 else str(1 + at * 7 % 40)) for at in range(170)]
    titles = [{"a": "Heat", "b": "Heat and sand", "c": "Babe"}.get(item, "") for item in items]
    columns = {
        "user_id": [str(1 + at % 33) for at in range(170)],
        "item_id": items,
        "title": titles,
        "year": [1995 if title else None for title in titles],
        "genres": ["Crime|Drama" if title else None for title in titles],
    }
    source = tmp_path / "in.parquet"
    pq.write_table(pa.table(columns), source)
    whole = predict(tiny_run, source, tmp_path / "whole.parquet")
    assert (whole.rows, whole.new_items) == (170, 3)
    assert predict(tiny_run, source, tmp_path / "ray.parquet", pool=Pool(ray=True, workers=2)) == whole
    assert (tmp_path / "ray.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()

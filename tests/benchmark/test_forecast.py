"""Forecast: memory from the estimate, time from finished cells of the same kind or from one epoch."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmrec_peft.benchmark.bench import foreseen
from llmrec_peft.benchmark.cells import Cell, expand, load_matrix
from llmrec_peft.benchmark.choices import Choices
from llmrec_peft.benchmark.forecast import forecasts, upper_bound
from llmrec_peft.benchmark.matrix import Matrix
from llmrec_peft.benchmark.rows import bare_row, write_json
from llmrec_peft.benchmark.sections import Limits, Timing
from llmrec_peft.footprint.check import footprint_of
from llmrec_peft.recipe.yaml_file import dump_yaml

PROBE = """
import json, pathlib, sys
spec = json.loads(pathlib.Path(sys.argv[1]).read_text())
pathlib.Path(sys.argv[3]).mkdir(parents=True)
assert spec["recipe"]["training"]["epochs"] == 1 and spec["timing"] is None
assert spec["recipe"]["seed"] == 1 and "thin" not in sys.argv[2], "one of each unknown kind"
seconds = {"prepare": 2.0, "encode": 3.0, "train": 8.0, "before": 1.0, "ablations": 0.5, "cell": 20.0}
row = {"axes": spec["axes"], "key": spec["key"], "status": "ok", "reason": None, "seconds": seconds}
pathlib.Path(sys.argv[2]).write_text(json.dumps(row))
"""


@pytest.fixture
def plain(tiny_backbone: Path) -> dict[str, Any]:
    return {
        "name": "m",
        "recipes": [{"recipe": "movies", "data": "demo"}],
        "adapters": ["lora", {"method": "lora", "rank": 2, "label": "thin"}],
        "seeds": [1, 2],
        "set": {"training.epochs": 5, "backbone.name": str(tiny_backbone)},
    }


@pytest.fixture
def cells(plain: dict[str, Any]) -> list[Cell]:
    return expand(Matrix.from_plain(plain, "m.yaml"), Path("m.yaml"))


@pytest.mark.trains
def test_time_is_that_of_finished_cells_of_the_same_kind_or_else_a_bound(cells: list[Cell], tmp_path: Path) -> None:
    done = next(cell for cell in cells if cell.axes["adapter"] == "thin")
    (tmp_path / "cells").mkdir()
    row = {**bare_row(done, "ok", ""), "seconds": {"cell": 42.0}}
    write_json(tmp_path / "cells" / done.file, row)
    rest = [cell for cell in cells if cell is not done]
    choices = Choices(show=False, command=(sys.executable, "-c", PROBE))
    found = forecasts(rest, cells, tmp_path, choices, probe=True)
    times = {cell.title.removeprefix("movies "): (found[cell.key].seconds, found[cell.key].basis) for cell in rest}
    bound = 20.0 + 4 * (8.0 - 3.0 + 1.0 + 0.5) + 2.0 + 7 * 10.0
    assert times == {
        "lora seed 1": (bound, "one epoch, at most"),
        "lora seed 2": (bound, "one epoch, at most"),
        "thin seed 2": (42.0, "1 finished"),
    }
    (first, *_) = rest
    assert found[first.key].memory_mb == pytest.approx(footprint_of(first.recipe).total / 2**20, abs=0.1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cells"], "nothing is written beside the rows"


def test_a_bound_is_at_most_the_limit_and_without_timing_smaller(cells: list[Cell]) -> None:
    row = {"seconds": {"prepare": 2.0, "encode": 3.0, "train": 8.0, "before": 1.0, "ablations": 0.5, "cell": 20.0}}
    assert upper_bound(replace(cells[0], timing=None), row) == 46.0
    assert upper_bound(replace(cells[0], timing=Timing(seconds=1.0, steps=False)), row) == 54.0
    assert upper_bound(replace(cells[0], limits=Limits(seconds=30.0)), row) == 30.0


def test_without_a_probe_and_without_data_nothing_is_known(plain: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(
        dump_yaml({**plain, "recipes": [{"recipe": "movies", "data": "absent"}]}), encoding="utf-8"
    )
    choices = Choices(show=False, command=(sys.executable, "-c", "raise SystemExit('never called')"))
    answer = foreseen(tmp_path / "m.yaml", tmp_path, tmp_path / "out", "thin", choices, probe=False)
    assert answer["total"] == {"cells": 2, "seconds": None, "unknown": 2, "memory_mb": None}
    assert {one["basis"] for one in answer["cells"]} == {"no finished cell of this kind"}
    assert not (tmp_path / "out").exists()


@pytest.mark.trains
def test_what_a_probe_fails_of_is_said(plain: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(dump_yaml(plain), encoding="utf-8")
    choices = Choices(show=False, command=(sys.executable, "-c", "raise SystemExit('error: no room')"))
    answer = foreseen(tmp_path / "m.yaml", tmp_path, tmp_path / "out", "seed 1", choices, probe=True)
    assert [one["basis"] for one in answer["cells"]] == ["one epoch failed: no room"] * 2
    assert answer["total"]["unknown"] == 2
    assert json.dumps(answer)


def test_finished_and_refused_cells_are_not_forecast(plain: dict[str, Any], tmp_path: Path) -> None:
    changed = {**plain, "adapters": ["dora", "lora"], "precisions": ["int8"], "seeds": [1]}
    (tmp_path / "m.yaml").write_text(dump_yaml(changed), encoding="utf-8")
    _, found = load_matrix(tmp_path / "m.yaml", tmp_path)
    lora = next(cell for cell in found if cell.axes["adapter"] == "lora")
    (tmp_path / "out" / "cells").mkdir(parents=True)
    row = {**bare_row(lora, "ok", ""), "seconds": {"cell": 42.0}}
    write_json(tmp_path / "out" / "cells" / lora.file, row)
    answer = foreseen(tmp_path / "m.yaml", tmp_path, tmp_path / "out", None, Choices(show=False), probe=True)
    assert [one["would"].split(":")[0] for one in answer["cells"]] == ["refused", "finished"]
    assert [one["seconds"] for one in answer["cells"]] == [None, None]
    assert answer["total"] == {"cells": 0, "seconds": None, "unknown": 0, "memory_mb": None}

"""Keys of cells: what their digests cover, and which earlier rows are theirs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llmrec_peft import registry
from llmrec_peft.benchmark import code_digest as code
from llmrec_peft.benchmark import fingerprint
from llmrec_peft.benchmark.cell import measure
from llmrec_peft.benchmark.cells import Cell, expand
from llmrec_peft.benchmark.choices import Choices
from llmrec_peft.benchmark.fingerprint import Fingerprints
from llmrec_peft.benchmark.matrix import Matrix
from llmrec_peft.benchmark.rows import bare_row, read_row, read_stale, write_json
from llmrec_peft.benchmark.runner import plan, run_cells
from llmrec_peft.errors import InputError
from llmrec_peft.recipe import load_recipe

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of data: two files, one in a folder of its own, and a hidden one."""
    data = tmp_path / "films"
    (data / "inner").mkdir(parents=True)
    for name in ("ratings.csv", "inner/films.csv", ".notes"):
        (data / name).write_text(f"what stands in {name}", encoding="utf-8")
    return data


def cell_of(data: Path | str, **fields: Any) -> Cell:
    plain = {
        "name": "m",
        "recipes": [{"recipe": "movies", "label": "films"}],
        "set": {"data.path": str(data), **fields},
    }
    (cell,) = expand(Matrix.from_plain(plain, "m.yaml"), Path("m.yaml"))
    return cell


@pytest.mark.parametrize(
    "change",
    [
        lambda data: (data / "ratings.csv").write_text("other", encoding="utf-8"),
        lambda data: (data / "inner" / "films.csv").unlink(),
        lambda data: (data / "ratings.csv").rename(data / "stars.csv"),
        lambda data: (data / "more.csv").touch(),
    ],
    ids=["content", "removed", "renamed", "added"],
)
def test_a_key_changes_with_the_files_of_the_data(change: Callable[[Path], object], folder: Path) -> None:
    before = cell_of(folder)
    change(folder)
    after = cell_of(folder)
    assert after.fingerprint != before.fingerprint
    assert after.key != before.key


def test_a_key_stays_where_the_data_move_and_hidden_files_change(folder: Path, tmp_path: Path) -> None:
    before = cell_of(folder)
    (folder / ".notes").write_text("other", encoding="utf-8")
    (folder / "ratings.csv").touch()
    moved = folder.rename(tmp_path / "moved")
    after = cell_of(moved)
    assert (after.key, after.file) == (before.key, before.file)


def test_a_key_changes_with_the_files_of_a_base_that_is_a_folder(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text("{}", encoding="utf-8")
    cell = cell_of("demo", **{"backbone.name": str(base)})
    (base / "config.json").write_text('{"hidden_size": 8}', encoding="utf-8")
    assert cell_of("demo", **{"backbone.name": str(base)}).key != cell.key
    assert cell_of("demo").base is None, "an alias names its weights"


def test_a_folder_without_end_and_what_is_no_file_do_not_stop_a_fingerprint(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "again").symlink_to(folder)
    os.mkfifo(folder / "pipe")
    assert Fingerprints().of_data(cell_of(folder).recipe) == cell_of(folder).fingerprint
    monkeypatch.setattr(fingerprint, "MOST_FILES", 1)
    with pytest.raises(InputError, match="films: more than 1 files"):
        cell_of(folder)


def test_other_code_is_another_key_of_the_same_file(tmp_path: Path) -> None:
    cell = cell_of("demo")
    other = replace(cell, code="another")
    assert (other.file, other.key) == (cell.file, cell.key_under("another"))
    path = tmp_path / cell.file
    write_json(path, {**bare_row(other, "failed", "no reason"), "status": "ok"})
    assert read_row(path, cell) is None
    assert read_row(path, other) is not None
    assert read_stale(path, other) is None, "its own code"
    stale = read_stale(path, cell)
    assert stale is not None
    assert stale["stale"] is True
    assert "stale" not in json.loads(path.read_text(encoding="utf-8"))
    assert read_stale(path, replace(cell, fingerprint="other data")) is None
    write_json(path, {"status": "ok", "code": "another", "key": "made up"})
    assert read_stale(path, cell) is None


def test_cells_of_other_code_are_run_again_unless_they_are_to_be_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cell = cell_of("demo")
    (tmp_path / "cells").mkdir()
    former = {**bare_row(replace(cell, code="another"), "ok", ""), "reason": None}
    write_json(tmp_path / "cells" / cell.file, former)
    assert plan([cell], tmp_path, Choices()) == [(cell, "run: measured by other code")]
    assert plan([cell], tmp_path, Choices(keep_stale=True)) == [(cell, "finished by other code")]
    assert run_cells([cell], tmp_path, Choices(keep_stale=True, show=False)) == [{**former, "stale": True}]
    assert json.loads((tmp_path / "cells" / cell.file).read_text(encoding="utf-8")) == former
    (row,) = run_cells([cell], tmp_path, Choices(command=(sys.executable, "-c", "raise SystemExit('gone')")))
    assert (row["status"], row["reason"], row["code"]) == ("failed", "gone", cell.code)
    assert "measured by other code, and measured again: 1 cells" in capsys.readouterr().err


def test_the_code_digest_covers_this_package_and_those_of_the_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_recipe("movies")
    digest = code.code_digest(recipe)
    assert code.code_digest(recipe.changed({"adapter.method": "ia3"})) == digest, "cells of one run share a digest"
    asked = set[str]()

    def other(name: str) -> str:
        asked.add(name)
        return "digest"

    monkeypatch.setattr(code, "_of_package", other)
    assert code.code_digest(recipe) != digest
    assert asked == {"llmrec_adapters", "llmrec_recipes"}
    assert code.counts(Path("training/loop.py"))
    assert code.counts(Path("a_new_room/file.py"))
    assert code.counts(Path("benchmark/latency.py"))
    assert not code.counts(Path("benchmark/report.py"))
    assert not code.counts(Path("cli/bench.py"))


def test_a_strangers_plugin_counts_where_a_recipe_names_it_with_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_recipe("movies")
    digest = code.code_digest(recipe)
    known = dict(registry.plugins("adapters"))
    dist = SimpleNamespace(name="foreign", version="1.0")
    entry = SimpleNamespace(module="a_foreign_package.lora", dist=dist)
    foreign = {**known, "lora": replace(known["lora"], entry_point=entry)}
    real = registry.plugins
    monkeypatch.setattr(registry, "plugins", lambda kind: foreign if kind == "adapters" else real(kind))
    first = code.code_digest(recipe)
    assert first != digest
    dist.version = "1.1"
    assert code.code_digest(recipe) not in (first, digest)
    assert code.code_digest(recipe.changed({"adapter.method": "ia3"})) == digest, "it names no plugin of the stranger's"


def test_a_module_that_stands_alone_and_one_that_is_missing_have_digests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "a_plugin_of_one_file.py").write_text("raise RuntimeError('imported')", encoding="utf-8")
    assert len(code._of_package("a_plugin_of_one_file")) == 64
    assert code._of_package("a_plugin_that_is_missing") == ""


@pytest.mark.trains
def test_all_code_that_a_cell_imports_is_covered() -> None:
    measuring = (
        "workflows.train",
        "run.recommender",
        "benchmark.answers",
        "benchmark.step_latency",
        "benchmark.phases",
    )
    lines = [
        "import sys",
        *(f"import llmrec_peft.{name}" for name in ("benchmark.cell", "benchmark.sampler", *measuring)),
    ]
    lines += ["for name, one in sys.modules.items():", "    if name.startswith('llmrec_peft'): print(one.__file__)"]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    loaded = {Path(line).relative_to(ROOT / "llmrec_peft") for line in done.stdout.split()}
    assert len(loaded) > 100
    passive = {"benchmark/__init__.py", "benchmark/code_digest.py", "benchmark/fingerprint.py", "benchmark/sections.py"}
    missing = {path.as_posix() for path in loaded if not code.counts(path)} - passive - {"workflows/__init__.py"}
    assert missing == set(), "name them in llmrec_peft/benchmark/code_digest.py"


@pytest.mark.parametrize("changed", ["code", "fingerprint"])
def test_a_cell_refuses_to_measure_under_a_wrong_digest(changed: str, tmp_path: Path) -> None:
    spec = {**cell_of("demo").spec(), changed: "before somebody edited"}
    with pytest.raises(InputError, match="changed while the benchmark was running: start it again"):
        measure(spec, tmp_path / "run")
    assert not (tmp_path / "run").exists()

"""Folders and files that appear whole or not at all."""

from __future__ import annotations

import errno
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llmrec_peft.artifact.folder import whole_file, whole_folder
from llmrec_peft.errors import InputError


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_folder_appears_when_the_block_ends(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "deep" / "run") as partial:
        (partial / "sub").mkdir()
        (partial / "sub" / "file").write_text("x", encoding="utf-8")
        assert not (tmp_path / "deep" / "run").exists()
    assert names(tmp_path) == ["deep", "deep/run", "deep/run/sub", "deep/run/sub/file"]
    assert (tmp_path / "deep" / "run").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "deep" / "run" / "sub" / "file").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("error", [ValueError("bug"), InputError("wrong"), KeyboardInterrupt()])
def test_nothing_is_left_when_the_block_fails(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)), whole_folder(tmp_path / "run") as partial:
        (partial / "half").write_text("x", encoding="utf-8")
        raise error
    assert names(tmp_path) == []


def test_full_disk_is_the_users_matter_and_another_fault_is_ours(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no room on the disk"), whole_folder(tmp_path / "run"):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match="Input/output error"), whole_folder(tmp_path / "run"):
        raise OSError(errno.EIO, "Input/output error")
    assert names(tmp_path) == []


def test_folder_that_exists_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "old").touch()
    with pytest.raises(InputError, match="run exists already"), whole_folder(tmp_path / "run"):
        raise AssertionError("not entered")
    assert names(tmp_path) == ["run", "run/old"]


def old_run(folder: Path) -> None:
    """A folder that holds what the manifest of a run lists."""
    folder.mkdir()
    (folder / "old").touch()
    manifest = {"format": 2, "version": "0.1.0", "digest": "0" * 64, "base": {}, "files": {"old": "0" * 64}}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def test_overwrite_replaces_a_run_as_a_whole(tmp_path: Path) -> None:
    old_run(tmp_path / "run")
    with whole_folder(tmp_path / "run", overwrite=True) as partial:
        (partial / "new").touch()
        assert names(tmp_path / "run") == ["manifest.json", "old"]
    assert names(tmp_path) == ["run", "run/new"]


def test_failed_overwrite_leaves_the_former_folder(tmp_path: Path) -> None:
    old_run(tmp_path / "run")
    with pytest.raises(RuntimeError), whole_folder(tmp_path / "run", overwrite=True) as partial:
        (partial / "new").touch()
        raise RuntimeError("half way")
    assert names(tmp_path) == ["run", "run/manifest.json", "run/old"]


def test_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write beside"), whole_folder(tmp_path / "file" / "run"):
        raise AssertionError("not entered")


def test_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    target.write_text("old", encoding="utf-8")
    with pytest.raises(RuntimeError), whole_file(target) as partial:
        partial.write_text("half", encoding="utf-8")
        raise RuntimeError("half way")
    assert names(tmp_path) == ["out.csv"]
    assert target.read_text(encoding="utf-8") == "old"
    with whole_file(target) as partial:
        partial.write_text("new", encoding="utf-8")
    assert names(tmp_path) == ["out.csv"]
    assert target.read_text(encoding="utf-8") == "new"


def test_file_in_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no folder"), whole_file(tmp_path / "absent" / "x.csv"):
        raise AssertionError("not entered")
    assert names(tmp_path) == []


@pytest.fixture
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A disk of a few kilobytes, the number given by the test."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={request.param}k", "tmpfs", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"no right to mount a small disk: {made.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def settings(backbone: Path) -> list[str]:
    return [f"backbone.name={backbone}", "training.epochs=1", "training.refit=false"]


@pytest.mark.parametrize("small_disk", [160], indirect=True)
def test_publishing_onto_a_full_disk_is_one_line_and_leaves_nothing(
    llmrec: Callable[..., subprocess.CompletedProcess[str]],
    small_disk: Path,
    tiny_data: Path,
    tiny_backbone: Path,
) -> None:
    overrides = [argument for setting in settings(tiny_backbone) for argument in ("--set", setting)]
    run = small_disk / "run"
    done = llmrec("train", "movies", "--data", tiny_data, *overrides, "--out", run, "--quiet")
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1] == f"error: {run}: no room on the disk; the run was not written"
    assert names(small_disk) == []


@pytest.mark.trains
@pytest.mark.parametrize("small_disk", [4, 40], indirect=True)
def test_training_onto_a_full_disk_leaves_nothing(small_disk: Path, tiny_data: Path, tiny_backbone: Path) -> None:
    from llmrec_peft.recipe import load_recipe
    from llmrec_peft.workflows.train import train

    recipe = load_recipe("movies", settings(tiny_backbone), {"data.path": str(tiny_data)})
    with pytest.raises(InputError, match=r"no room on the disk|No space left on device"):
        train(recipe, small_disk / "run", show=False)
    assert names(small_disk) == []

"""What --out and --overwrite may touch: a run of ours, or nothing; tried before anything is computed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from llmrec_peft.artifact import place
from llmrec_peft.artifact.folder import whole_file, whole_folder
from llmrec_peft.errors import InputError
from llmrec_peft.experiment.training_folder import held_for_training
from llmrec_peft.recipe import load_recipe
from llmrec_peft.workflows import train as workflow

MANIFEST = {"format": 2, "version": "0.1.0", "digest": "0" * 64, "base": {}, "files": {"head.safetensors": "0" * 64}}


def run_at(folder: Path, **changes: object) -> Path:
    folder.mkdir(parents=True)
    (folder / "head.safetensors").write_bytes(b"weights")
    (folder / "manifest.json").write_text(json.dumps({**MANIFEST, **changes}), encoding="utf-8")
    return folder


def digest(folder: Path) -> str:
    """Names, kinds and contents of everything below a folder."""
    sha = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        link = path.readlink() if path.is_symlink() else ""
        sha.update(f"{path.relative_to(folder)} {path.lstat().st_mode} {link}".encode())
        if path.is_file() and not path.is_symlink():
            sha.update(path.read_bytes())
    return sha.hexdigest()


def file_(folder: Path) -> Path:
    (folder / "target").write_text("precious", encoding="utf-8")
    return folder / "target"


def thesis(folder: Path) -> Path:
    (folder / "target").mkdir()
    (folder / "target" / "thesis.tex").write_text("thesis", encoding="utf-8")
    return folder / "target"


def link_to_run(folder: Path) -> Path:
    run_at(folder / "real")
    (folder / "target").symlink_to("real")
    return folder / "target"


def dangling(folder: Path) -> Path:
    (folder / "target").symlink_to("nowhere")
    return folder / "target"


def run_with_thesis(folder: Path) -> Path:
    run_at(folder / "target")
    (folder / "target" / "thesis.tex").write_text("thesis", encoding="utf-8")
    return folder / "target"


def run_with_folder(folder: Path) -> Path:
    run_at(folder / "target", files={"head.safetensors": "", "sub": ""})
    (folder / "target" / "sub").mkdir()
    return folder / "target"


def other_manifest(folder: Path) -> Path:
    """A web extension's or a build's manifest.json is none of ours."""
    run_at(folder / "target", digest="1.2.3")
    return folder / "target"


def linked_manifest(folder: Path) -> Path:
    run_at(folder / "elsewhere")
    (folder / "target").mkdir()
    (folder / "target" / "manifest.json").symlink_to("../elsewhere/manifest.json")
    return folder / "target"


def piped_manifest(folder: Path) -> Path:
    (folder / "target").mkdir()
    os.mkfifo(folder / "target" / "manifest.json")
    return folder / "target"


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "target")
    return folder / "target"


STRANGE: list[Callable[[Path], Path]] = [
    *(file_, thesis, link_to_run, dangling, run_with_thesis, run_with_folder),
    *(other_manifest, linked_manifest, piped_manifest, pipe),
]


@pytest.mark.parametrize("make", STRANGE)
@pytest.mark.parametrize("overwrite", [True, False])
def test_what_is_no_run_is_never_replaced(
    make: Callable[[Path], Path], overwrite: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = make(tmp_path)
    before = digest(tmp_path)
    monkeypatch.setattr(workflow, "_train", lambda *_: pytest.fail("nothing is trained"))
    recipe = load_recipe("movies", changes={"data.path": "demo"})
    with pytest.raises(InputError) as raised:
        workflow.train(recipe, target, overwrite=overwrite, show=False)
    assert "target" in str(raised.value)
    assert "\n" not in str(raised.value)
    with pytest.raises(InputError), whole_folder(target, overwrite=overwrite):
        pytest.fail("not entered")
    assert digest(tmp_path) == before


@pytest.mark.parametrize("make", [lambda folder: run_at(folder / "target"), lambda folder: (folder / "target").mkdir()])
def test_a_run_and_an_empty_folder_are_replaced(make: Callable[[Path], object], tmp_path: Path) -> None:
    make(tmp_path)
    with whole_folder(tmp_path / "target", overwrite=True) as folder:
        (folder / "new").touch()
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["target", "target/new"]


@pytest.mark.parametrize("where", ["here", "above", "home"])
def test_where_one_stands_or_lives_is_never_replaced(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_at(tmp_path / "run", files={"inner": ""})
    (run / "head.safetensors").unlink()
    inner = run / "inner"
    inner.mkdir()
    if where == "home":
        monkeypatch.setenv("HOME", str(run))
    else:
        monkeypatch.chdir(run if where == "here" else inner)
    with pytest.raises(InputError, match="your home, or a folder around where you are"):
        place.require_replaceable(run)


@pytest.mark.parametrize("name", [".", "..", "/", "a/..", "", "../.."])
def test_path_that_names_nothing_of_its_own_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = digest(tmp_path)
    with pytest.raises(InputError, match="names no folder of its own"), whole_folder(Path(name), overwrite=True):
        pytest.fail("not entered")
    with pytest.raises(InputError, match="names no folder of its own"), whole_file(Path(name)):
        pytest.fail("not entered")
    with pytest.raises(InputError, match="names no folder of its own"), held_for_training(Path(name), False, True):
        pytest.fail("not entered")
    assert digest(tmp_path) == before


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("x" * 250, "File name too long"),
        ("x" * 300, "File name too long"),
        ("/".join(["d" * 100] * 39), "File name too long"),
        ("file/run", "Not a directory"),
        ("nul\0byte", "zero byte"),
    ],
)
def test_place_that_cannot_be_written_is_found_before_training(name: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    before = digest(tmp_path)
    with pytest.raises(InputError, match=said), held_for_training(tmp_path / name, False, False):
        pytest.fail("not entered")
    assert digest(tmp_path) == before, "parents that were made for it are gone, too"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_the_right_to_write_is_found_before_training(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(InputError, match="Permission denied"), held_for_training(tmp_path / "run", False, False):
            pytest.fail("not entered")
    finally:
        tmp_path.chmod(0o700)


def test_read_only_disk_is_found_before_training(tmp_path: Path) -> None:
    """Root may write everywhere but there."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "ro,size=64k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a disk")
    try:
        with pytest.raises(InputError, match="Read-only file system"), held_for_training(disk / "run", False, False):
            pytest.fail("not entered")
        with pytest.raises(InputError, match="Read-only file system"), whole_file(disk / "out.csv"):
            pytest.fail("not entered")
        with pytest.raises(InputError, match="it is a disk"), whole_folder(disk, overwrite=True):
            pytest.fail("not entered")
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_parent_that_is_missing_is_made_and_a_trailing_slash_is_no_matter(tmp_path: Path) -> None:
    with whole_folder(Path(f"{tmp_path}/deep/er/run/")) as folder:
        (folder / "file").touch()
    assert (tmp_path / "deep" / "er" / "run" / "file").is_file()


@pytest.mark.parametrize("left", [".a.b.zzz.new", ".a.b.training", ".a.b.new", ".a.zzz.new"])
def test_hidden_folders_of_neighbours_are_left_alone(left: str, tmp_path: Path) -> None:
    """Run `a` is published while run `a.b` is."""
    (tmp_path / left).mkdir()
    (tmp_path / left / "half").touch()
    with held_for_training(tmp_path / "a", False, False), whole_folder(tmp_path / "a") as folder:
        (folder / "file").touch()
    assert (tmp_path / left / "half").is_file()


@pytest.mark.parametrize("ending", ["training", "new"])
def test_folder_of_somebody_else_with_the_hidden_name_is_in_the_way(ending: str, tmp_path: Path) -> None:
    mine = tmp_path / f".run.{ending}"
    mine.mkdir()
    (mine / "thesis.tex").touch()
    before = digest(tmp_path)
    with pytest.raises(InputError, match="is in the way and was not made for"):
        if ending == "training":
            with held_for_training(tmp_path / "run", False, True):
                pytest.fail("not entered")
        else:
            with whole_folder(tmp_path / "run"):
                pytest.fail("not entered")
    shutil.rmtree(mine)
    mine.symlink_to("elsewhere")
    with pytest.raises(InputError), held_for_training(tmp_path / "run", False, True), whole_folder(tmp_path / "run"):
        pytest.fail("not entered")
    assert before


def test_what_comes_in_between_is_not_replaced(tmp_path: Path) -> None:
    run_at(tmp_path / "run")
    with (
        pytest.raises(InputError, match=r"is not replaced: beside a run it holds thesis\.tex"),
        whole_folder(tmp_path / "run", overwrite=True) as folder,
    ):
        (folder / "new").touch()
        (tmp_path / "run" / "thesis.tex").touch()
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "head.safetensors",
        "manifest.json",
        "thesis.tex",
    ]
    with pytest.raises(InputError, match="exists already"), whole_folder(tmp_path / "other") as folder:
        (folder / "new").touch()
        (tmp_path / "other").mkdir()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "run"]


def test_what_comes_at_the_last_moment_is_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from llmrec_peft.artifact import folder as room

    run_at(tmp_path / "run")
    real = room.exchange

    def exchange(new: Path, target: Path, aside: Path) -> Path | None:
        (tmp_path / "run" / "thesis.tex").touch(exist_ok=True)
        return real(new, target, aside)

    monkeypatch.setattr(room, "exchange", exchange)
    with pytest.raises(InputError, match="it changed meanwhile"), whole_folder(tmp_path / "run", overwrite=True):
        pass
    assert (tmp_path / "run" / "thesis.tex").is_file()
    assert (tmp_path / "run" / "head.safetensors").is_file()


@pytest.mark.parametrize("kind", ["folder", "link", "dangling", "pipe", "device"])
def test_file_replaces_no_folder_link_pipe_or_device(kind: str, tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    if kind == "folder":
        target.mkdir()
    elif kind == "pipe":
        os.mkfifo(target)
    elif kind == "device":
        target = Path("/dev/null")
    else:
        if kind == "link":
            (tmp_path / "real.csv").write_text("precious", encoding="utf-8")
        target.symlink_to("real.csv")
    before = digest(tmp_path)
    with pytest.raises(InputError, match=r"name a file|name the file itself"), whole_file(target):
        pytest.fail("not entered")
    assert digest(tmp_path) == before


def test_temporary_file_cannot_be_foreseen_and_is_nobody_elses(tmp_path: Path) -> None:
    names = set()
    for _ in range(3):
        with whole_file(tmp_path / "out.csv") as partial:
            names.add(partial.name)
            assert partial.parent == tmp_path
            assert partial.read_bytes() == b""
    assert len(names) == 3
    assert not any(str(os.getpid()) == name.split(".")[-2] for name in names)


def test_file_of_another_process_is_not_replaced_unasked(tmp_path: Path) -> None:
    with pytest.raises(InputError), whole_file(tmp_path / "out.csv", overwrite=False) as partial:
        partial.write_text("mine", encoding="utf-8")
        (tmp_path / "out.csv").write_text("theirs", encoding="utf-8")
    assert (tmp_path / "out.csv").read_text(encoding="utf-8") == "theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


def test_long_name_of_a_file_is_written(tmp_path: Path) -> None:
    target = tmp_path / ("x" * 251 + ".csv")
    with whole_file(target) as partial:
        partial.write_text("1", encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_file_where_nothing_can_be_made_is_one_line() -> None:
    with pytest.raises(InputError, match="nothing was written"), whole_file(Path("/proc/out.csv")):
        pytest.fail("not entered")

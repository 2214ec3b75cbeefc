"""SealedStore: what is taken in whole and verified, what is refused and leaves nothing, and what a kill leaves."""

from __future__ import annotations

import functools
import json
import os
import pickle
import resource
import shutil
import signal
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kills import _started
from resealed import resealed

from llmrec_peft.artifact import sealed as sealed_module
from llmrec_peft.artifact.manifest import HISTORIES, read_manifest
from llmrec_peft.artifact.sealed import SealedFolder
from llmrec_peft.artifact.workspace import Workspace
from llmrec_peft.errors import InputError
from llmrec_peft.serving import sealed_store
from llmrec_peft.serving.sealed_store import SealedRun, SealedStore


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Path:
    """A copy of a run folder."""
    return Path(shutil.copytree(tiny_run, tmp_path / "run"))


def left_in(store: SealedStore) -> list[str]:
    """Everything in a store."""
    return sorted(path.name for path in store.folder.iterdir())


def test_run_is_copied_whole_read_only_and_under_its_digest(run: Path, tmp_path: Path) -> None:
    store = SealedStore(tmp_path / "store")
    sealed = store.add(run)
    manifest = read_manifest(run)
    assert sealed.folder == store.folder / manifest.digest
    assert left_in(store) == store.runs() == [manifest.digest]
    assert read_manifest(sealed.folder) == manifest  # verifies every byte
    names = {*manifest.files, *manifest.private, *manifest.reports, "manifest.json"}
    assert {path.name for path in sealed.folder.iterdir()} == names
    assert {stat.S_IMODE(path.stat().st_mode) for path in sealed.folder.iterdir()} == {0o400}
    assert stat.S_IMODE(sealed.folder.stat().st_mode) == 0o500
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700


def test_run_that_is_there_is_not_copied_again(run: Path, tmp_path: Path) -> None:
    store = SealedStore(tmp_path / "store")
    first = store.add(run)
    inode = (first.folder / "recipe.yaml").stat().st_ino
    assert SealedStore(tmp_path / "store").add(run) == first
    assert (first.folder / "recipe.yaml").stat().st_ino == inode


def test_copy_without_histories_is_another_one(run: Path, tmp_path: Path) -> None:
    store = SealedStore(tmp_path / "store")
    whole = store.add(run)
    (run / "seen.safetensors").unlink()
    published = store.add(run)
    assert (whole.digest, whole.withheld) == (published.digest, ())
    assert published.withheld == ("seen.safetensors",)
    assert left_in(store) == [whole.digest, f"{whole.digest}-no-seen"]


@pytest.mark.parametrize("name", ["item_vectors.safetensors", "items.parquet", "metrics.json"])
def test_damaged_copy_is_replaced(name: str, run: Path, tmp_path: Path) -> None:
    store = SealedStore(tmp_path / "store")
    path = store.add(run).folder / name
    if name.endswith("json"):
        path.parent.chmod(0o700)
        path.unlink()
        path.parent.chmod(0o500)
    else:
        path.chmod(0o600)
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size - 1)
    sealed = store.add(run)
    assert read_manifest(sealed.folder) == read_manifest(run)
    assert left_in(store) == [sealed.digest]


def change(name: str, content: bytes) -> Callable[[Path], None]:
    """Write other bytes into a file of a run."""
    return lambda run: (run / name).write_bytes(content) and None


def linked(run: Path) -> None:
    """Put a link to a file of the same bytes in the place of a file."""
    target = run.parent / "elsewhere"
    (run / "items.parquet").rename(target)
    (run / "items.parquet").symlink_to(target)


def piped(run: Path) -> None:
    """Put a FIFO in the place of a file."""
    (run / "items.parquet").unlink()
    os.mkfifo(run / "items.parquet")


def cut(run: Path) -> None:
    """Cut a file."""
    with (run / "seen.safetensors").open("r+b") as file:
        file.truncate(100)


def leading_out(run: Path) -> None:
    """Let the manifest name a file outside of the run."""
    values = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    values["files"]["../secret.json"] = "0" * 64
    (run / "manifest.json").write_text(json.dumps(values), encoding="utf-8")


def pickled(name: str) -> Callable[[Path], None]:
    """Put a pickle in the place of a file, and let the manifest say so."""

    def apply(run: Path) -> None:
        (run / name).write_bytes(pickle.dumps(list(range(100))))
        resealed(run)

    return apply


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "changed": (change("head.safetensors", b"other"), r"head\.safetensors is not what the run wrote"),
    "cut": (cut, r"seen\.safetensors is not what the run wrote"),
    "missing": (lambda run: (run / "signals.safetensors").unlink(), r"signals\.safetensors is missing"),
    "link": (linked, r"items\.parquet: is a link"),
    "FIFO": (piped, r"items\.parquet: is a FIFO"),
    "folder": (lambda run: (run / "metrics.json").unlink() or (run / "metrics.json").mkdir(), "is a folder"),
    "path": (leading_out, "names a file '../secret.json' that no run folder holds"),
    "pickled tensors": (pickled("adapter_model.safetensors"), r"adapter_model\.safetensors: no safetensors file"),
    "pickled table": (pickled("items.parquet"), r"items\.parquet: no Parquet file"),
    "no manifest": (lambda run: (run / "manifest.json").unlink(), "is no run folder"),
    "manifest of another": (change("manifest.json", b"[]"), "not a manifest"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_one_line_and_nothing_is_left(case: str, run: Path, tmp_path: Path) -> None:
    store = SealedStore(tmp_path / "store")
    spoil, message = REFUSED[case]
    spoil(run)
    with pytest.raises(InputError, match=message) as refusal:
        store.add(run)
    assert "\n" not in str(refusal.value)
    assert left_in(store) == []


def test_another_digest_than_asked_for_is_refused(run: Path, tmp_path: Path) -> None:
    store = SealedStore(tmp_path / "store")
    with pytest.raises(InputError, match="and not 000000000000, which was asked for"):
        store.add(run, "0" * 64)
    assert left_in(store) == []


def test_file_that_changes_while_it_is_copied_is_refused(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = sealed_module.read_parts

    def changing(descriptor: int, size: int) -> Any:
        with (run / "item_vectors.safetensors").open("r+b") as file:
            file.seek(-4, os.SEEK_END)
            file.write(b"\xff" * 4)
        return read(descriptor, size)

    monkeypatch.setattr(sealed_module, "read_parts", changing)
    store = SealedStore(tmp_path / "store")
    with pytest.raises(InputError, match=r"item_vectors\.safetensors is not what the run wrote"):
        store.add(run)
    assert left_in(store) == []


def test_full_disk_is_one_line_and_nothing_is_left(run: Path, tmp_path: Path) -> None:
    store = SealedStore(tmp_path / "store")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, before[1]))
    try:
        with pytest.raises(InputError, match=r"was not taken into .*: no room on the disk"):
            store.add(run)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert left_in(store) == []
    assert read_manifest(store.add(run).folder) == read_manifest(run)


def test_several_threads_take_one_run_in(run: Path, tmp_path: Path) -> None:
    store, found = SealedStore(tmp_path / "store"), list[Any]()
    threads = [threading.Thread(target=lambda: found.append(store.add(run))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 6
    assert len(set(found)) == 1
    assert left_in(store) == [found[0].digest]


def test_copy_under_way_is_left_alone_by_another_start(run: Path, tmp_path: Path) -> None:
    store, digest = SealedStore(tmp_path / "store"), read_manifest(run).digest
    with Workspace.of(store.folder / digest, sealed_store.ENDING) as workspace:
        SealedStore(store.folder)
        assert workspace.folder.exists()
        with pytest.raises(InputError, match="is being written by process"):
            SealedStore(store.folder, wait_s=0.2).add(run)
    assert store.add(run).digest == digest


def test_start_removes_only_folders_of_its_own_kind(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    strangers = [folder / f".{'0' * 64}.new", folder / ".cache", folder / "notes"]
    for stranger in strangers:
        stranger.mkdir(parents=True)
        (stranger / "mine").write_text("mine", encoding="utf-8")
    SealedStore(folder)
    assert [(stranger / "mine").read_text(encoding="utf-8") for stranger in strangers] == ["mine"] * 3


def killed_at(moment: int) -> None:
    """Take ``run`` in, and be killed at the n-th of the steps of which a copy consists."""
    steps = [0]

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def step(*given: Any, **named: Any) -> Any:
            steps[0] += 1
            if steps[0] == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*given, **named)

        return step

    for name in ("flush", "exchange", "_require_kind", "write_json"):
        setattr(sealed_store, name, counted(getattr(sealed_store, name)))
    SealedFolder.copy = counted(SealedFolder.copy)  # type: ignore[method-assign]
    SealedStore("store").add("run")


def test_killed_copy_leaves_a_store_that_goes_on(tiny_run: Path, tmp_path: Path) -> None:
    manifest, killed, ended, moment = read_manifest(tiny_run), 0, False, 1
    while not ended:
        place = tmp_path / str(moment)
        place.mkdir()
        shutil.copytree(tiny_run, place / "run")
        process = _started(functools.partial(killed_at, moment), place)
        process.join(120)
        ended = process.exitcode == 0
        killed += process.exitcode == -signal.SIGKILL
        for left in (place / "store").iterdir():
            if left.name.startswith("."):
                assert left.name == f".{manifest.digest}.new"
            else:
                assert read_manifest(left) == manifest  # whole, or it has no name
        store = SealedStore(place / "store")
        assert left_in(store) in ([], [manifest.digest]), "the next start has removed what was left"
        assert read_manifest(store.add(place / "run").folder) == manifest
        assert left_in(store) == [manifest.digest]
        moment += 3
    assert killed >= 8


DIGEST = "a" * 64


def test_sealed_run_is_known_by_the_name_of_its_folder(run: Path, tmp_path: Path) -> None:
    store = SealedStore(tmp_path / "store")
    for _ in range(2):
        sealed = store.add(run)
        assert SealedRun.named(store.folder, sealed.folder.name) == sealed
        (run / "seen.safetensors").unlink(missing_ok=True)
    assert sealed.withheld == ("seen.safetensors",)
    both = SealedRun.named(store.folder, f"{sealed.digest}-no-seen-no-users")
    assert (both.digest, both.withheld) == (sealed.digest, HISTORIES)


@pytest.mark.parametrize(
    "name", ["", "..", DIGEST[1:], DIGEST.upper(), f"{DIGEST}-no-items", f"../{DIGEST}", f"{DIGEST}\n"]
)
def test_other_names_are_those_of_no_sealed_run(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no name of a run in a store"):
        SealedRun.named(tmp_path, name)

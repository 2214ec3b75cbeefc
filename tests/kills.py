"""Kill commands at seeded random moments and look at what they leave: the old state or the new one, never a mix."""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import os
import random
import shutil
import signal
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

from forked import IMPORTED

from llmrec_peft.artifact.manifest import read_manifest

SECONDS = 240
_FEW = 4


@dataclass(frozen=True)
class Killed:
    """A command that is killed again and again.

    Attributes:
        name: Its name.
        command: Arguments of `llmrec`, or a function to call, with the folder that it works in.
        prepare: Makes what it needs in an empty folder.
        state: What is there, as a plain value that two equal states share; raises AssertionError for a mix.
        again: Arguments that go on after a kill; by default the same.
    """

    name: str
    command: list[str] | Callable[[], None]
    prepare: Callable[[Path], None]
    state: Callable[[Path], Any]
    again: list[str] | None = None


def kill_at_random_moments(killed: Killed, kills: int, seed: int, folder: Path) -> int:
    """Kill a command `kills` times, each in a fresh folder, then let it end, and compare.

    Args:
        killed: The command.
        kills: How often.
        seed: Seed of the moments.
        folder: Empty folder to work in.

    Returns:
        How many kills came before the command's end.
    """
    rng, place = random.Random(f"{killed.name} {seed}"), folder / "whole"
    place.mkdir(parents=True)
    killed.prepare(place)
    before = killed.state(place)
    _ended(_started(_nothing, place))  # starts the server of processes, which takes seconds
    began = time.monotonic()
    _ended(_started(killed.command, place))
    seconds = time.monotonic() - began
    after = killed.state(place)
    assert before != after
    early = 0
    for number in range(kills):
        place = folder / str(number)
        place.mkdir()
        killed.prepare(place)
        process = _started(killed.command, place)
        process.join(rng.uniform(0.0, seconds))
        early += process.is_alive()
        process.kill()
        process.join()
        found = killed.state(place)
        assert found in (before, after), f"{killed.name}, kill {number}: neither the old state nor the new one"
        _ended(_started(killed.command if killed.again is None else killed.again, place))
        assert killed.state(place) == after, f"{killed.name}, kill {number}: another result after the kill"
        left = [path.name for path in place.iterdir() if path.name.endswith(".training")]
        assert not left, f"{killed.name}, kill {number}: what was interrupted is still there"
        shutil.rmtree(place)
    assert early or kills < _FEW, "every kill came too late"
    return early


def _nothing() -> None:
    """Do nothing, in a process of its own."""


def _started(command: list[str] | Callable[[], None], place: Path) -> Any:
    context = multiprocessing.get_context("forkserver")
    before = dict(os.environ)
    os.environ.update({"HF_HUB_OFFLINE": "1", "COLUMNS": "200", "OMP_NUM_THREADS": "1"})
    try:
        context.set_forkserver_preload(list(IMPORTED))
        forkserver.ensure_running()
        process = context.Process(target=_run, args=(command, str(place), dict(os.environ)))
        process.start()
    finally:
        os.environ.clear()
        os.environ.update(before)
    return process


def _run(command: list[str] | Callable[[], None], place: str, environment: dict[str, str]) -> None:
    os.setsid()
    for descriptor in (1, 2):
        os.dup2(os.open(f"{place}/.printed", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), descriptor)
    os.chdir(place)
    os.environ.clear()
    os.environ.update(environment)
    import torch

    torch.set_num_threads(1)
    if not isinstance(command, list):
        command()
        return
    from llmrec_peft.cli.main import main

    main(command)


def _ended(process: Any) -> None:
    process.join(SECONDS)
    assert process.exitcode == 0, "the command failed, or hangs"


def run_state(run: Path) -> str | None:
    """Digest of a run that is whole; None where there is none."""
    return read_manifest(run).digest if run.exists() else None


def file_state(path: Path) -> str | None:
    """Digest of a file; None where there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


def update_of(run: Path, data: Path, folder: Path) -> Killed:
    """Return the update of a run with newer data, which is killed; the run that it begins with has to stay whole.

    Args:
        run: The run.
        data: MovieLens folder that it was trained on.
        folder: Folder that is made: the same with further users and ratings.
    """
    write_newer(data, folder)
    before = read_manifest(run).digest

    def state(place: Path) -> str | None:
        assert read_manifest(run).digest == before, "the run that is updated was changed"
        return run_state(place / "updated")

    command = ["update", str(run), "--data", str(folder), "--out", "updated", "--force", "--resume", "-q"]
    return Killed("update", [*command, "--set", "update.epochs=3"], lambda place: None, state)


def kill_after_publishing(killed: Killed, place: Path) -> None:
    """Kill an update of `update_of` right after its run is in its place, before its hidden folder is gone.

    Args:
        killed: The update.
        place: Empty folder to work in; both are left there.
    """
    process = _started(partial(_update_until_published, killed.command), place)
    process.join(SECONDS)
    assert process.exitcode == -signal.SIGKILL


def go_on(killed: Killed, place: Path) -> None:
    """Run the command once more, to its end."""
    _ended(_started(killed.command, place))


def _update_until_published(arguments: list[str]) -> None:
    from llmrec_peft.cli.main import main
    from llmrec_peft.workflows import update

    real = update.publish

    def publish(*given: Any) -> None:
        real(*given)
        os.kill(os.getpid(), signal.SIGKILL)

    update.publish = publish
    main(arguments)


def write_newer(data: Path, folder: Path) -> None:
    """Write a MovieLens folder once more, with further users and ratings."""
    shutil.copytree(data, folder)
    users, rng = range(901, 911), random.Random(1)
    with (folder / "u.user").open("a", encoding="latin-1") as people:
        people.writelines(f"{user}|30|F|writer|00000\n" for user in users)
    with (folder / "u1.base").open("a", encoding="utf-8") as ratings:
        for user in users:
            for item in rng.sample(range(1, 41), 20):
                ratings.write(f"{user}\t{item}\t{rng.randint(1, 5)}\t{890000000 + rng.randrange(10**6)}\n")


def watch_of(run: Path, data: Path) -> Killed:
    """Return a watch that looks once at a folder with two deliveries, one of them wrong, and is killed.

    Args:
        run: The run that it begins with.
        data: MovieLens folder that the run was trained on.
    """

    def prepare(place: Path) -> None:
        shutil.copytree(run, place / "run")
        (place / "in" / "wrong").mkdir(parents=True)
        (place / "in" / "wrong" / "u.item").write_text("no table", encoding="utf-8")
        write_newer(data, place / "in" / "newer")

    def state(place: Path) -> Any:
        path, updated = place / "run.watch.json", run_state(place / "run-u1")
        told = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"deliveries": {}, "current": None}
        fates = {name: one["fate"] for name, one in told["deliveries"].items() if name != "wrong"}
        assert (told["current"] is None) == (not fates), "what is learned and what is current disagree"
        assert updated is not None or not fates, "a delivery is called learned without a run that has learned it"
        return fates and [fates, told["deliveries"]["wrong"]["fate"], updated]

    return Killed("watch", watch_once, prepare, state)


def watch_once() -> None:
    """Look once; every update is promoted."""
    from llmrec_peft.cli.main import main
    from llmrec_peft.workflows import update

    update.promotes = lambda *_: True
    main(["watch", "in", "--run", "run", "--once", "--settle", "0", "-q", "--set", "update.epochs=3"])


def rows_state(out: Path) -> list[str]:
    """Names and outcome of the rows of a benchmark, each of them whole."""
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((out / "cells").glob("*.json"))]
    return [f"{row['key']} {row['status']}" for row in rows] + [
        path.name for path in sorted(out.glob("results.*")) if path.stat().st_size
    ]


FILES = {name: os.urandom(1 << 20) for name in ("u.item", "u.data", "u.user")}


def download() -> None:
    """Fetch an archive that lies here instead of at its owner's."""
    from llmrec_peft.data import download as room
    from llmrec_peft.data.source import Download

    content = (Path.cwd() / "archive.zip").read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as files:
        digests = {name.split("/")[1]: hashlib.sha256(files.read(name)).hexdigest() for name in files.namelist()}
    room._read = lambda _: content  # type: ignore[assignment]
    values: dict[str, Any] = {"url": "https://data.example/ml.zip", "folder": "ml", "sha256": digests}
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    described = Download(**values, md5=md5, licence="none")
    if not Path("ml").exists():
        room.fetch(described, Path("ml"))


def pack(place: Path) -> None:
    """Put the archive there."""
    with zipfile.ZipFile(place / "archive.zip", "w") as files:
        for name, content in FILES.items():
            files.writestr(f"ml/{name}", content)


def folder_state(folder: Path) -> list[tuple[str, int]] | None:
    """Names and sizes of a folder's files; None where there is none."""
    return sorted((path.name, path.stat().st_size) for path in folder.iterdir()) if folder.exists() else None

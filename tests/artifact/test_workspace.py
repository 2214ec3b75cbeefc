"""Hidden folders: one process at a time, recoverable after a kill between any two steps."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import pytest

from llmrec_peft.artifact import exchange as exchanging
from llmrec_peft.artifact import folder as room
from llmrec_peft.artifact.folder import partials_of, whole_file, whole_folder
from llmrec_peft.artifact.lock import Lock
from llmrec_peft.artifact.workspace import Workspace
from llmrec_peft.errors import InputError

FORK = multiprocessing.get_context("fork")
KILLED = 77


def run_at(folder: Path, content: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "content").write_text(content, encoding="utf-8")
    manifest = {"format": 2, "version": "0.1.0", "digest": "0" * 64, "base": {}, "files": {"content": ""}}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def content(folder: Path) -> str | None:
    """What a run holds, whole; None where there is none."""
    if not folder.exists():
        return None
    assert sorted(path.name for path in folder.iterdir()) == ["content", "manifest.json"]
    return (folder / "content").read_text(encoding="utf-8")


def in_child(work: Callable[[], Any]) -> int:
    """Run something in a process of its own; return its exit code."""
    process = FORK.Process(target=work)
    process.start()
    process.join(30)
    assert process.exitcode is not None
    return process.exitcode


def hold(target: Path, held: Event) -> None:
    with Workspace.of(target, "training"):
        held.set()
        time.sleep(60)


def killed_before(step: int, calls: list[str], swaps: bool) -> None:
    """In a child: end the process, without any tidying up, before the n-th change of the disk."""
    left = [step]

    def counted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            left[0] -= 1
            calls.append(name)
            if left[0] < 0:
                os._exit(KILLED)
            return real(*arguments, **options)

        return call

    for owner, name in ((os, "rename"), (os, "replace"), (os, "mkdir"), (os, "rmdir"), (os, "unlink"), (os, "open")):
        setattr(owner, name, counted(name, getattr(owner, name)))
    Path.rename = counted("rename", Path.rename)  # type: ignore[method-assign]
    Path.mkdir = counted("mkdir", Path.mkdir)  # type: ignore[method-assign]
    exchanging.swapped = counted("swap", exchanging.swapped if swaps else lambda *_: False)


@pytest.mark.parametrize("swaps", [True, False], ids=["one-step", "two-steps"])
@pytest.mark.parametrize("former", [True, False], ids=["replacing", "new"])
def test_kill_before_any_step_leaves_the_old_or_the_new(swaps: bool, former: bool, tmp_path: Path) -> None:
    seen: set[str | None] = set()
    for step in range(200):
        place = tmp_path / str(step)
        target = place / "run"
        if former:
            run_at(target, "old")
        else:
            place.mkdir()

        def replace(target: Path = target, step: int = step) -> None:
            killed_before(step, [], swaps)
            with whole_folder(target, overwrite=True) as folder:
                run_at(folder, "new")
            os._exit(0)

        code = in_child(replace)
        assert code in (0, KILLED)
        with Workspace.of(target):  # the next process that would write there
            found = content(target)
        assert found in (("old", "new") if former else (None, "new"))
        assert [path.name for path in place.iterdir()] in ([], ["run"]), "nothing is left behind"
        seen.add(found)
        if code == 0:
            break
    else:
        pytest.fail("it never got to its end")
    assert len(seen) == 2
    assert step > 5


def test_second_process_is_told_who_holds_the_place(tmp_path: Path) -> None:
    held = FORK.Event()
    process = FORK.Process(target=hold, args=(tmp_path / "run", held))
    process.start()
    try:
        assert held.wait(20)
        began = time.monotonic()
        with pytest.raises(InputError) as raised, Workspace.of(tmp_path / "run", "training"):
            pytest.fail("not entered")
        assert time.monotonic() - began < 2.0, "at once"
        said = str(raised.value)
        assert f"is being written by process {process.pid} on {socket.gethostname()}, since 20" in said
        assert Workspace(tmp_path / "run", "training").holder()
        with Workspace.of(tmp_path / "other", "training"):
            pass  # another target is another matter
    finally:
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
    assert Workspace(tmp_path / "run", "training").holder() is None
    with Workspace.of(tmp_path / "run", "training"):
        pass  # the lock of a dead process blocks nobody
    assert list(tmp_path.iterdir()) == []


def test_same_process_is_told_too(tmp_path: Path) -> None:
    with (
        Workspace.of(tmp_path / "run"),
        pytest.raises(InputError, match=f"process {os.getpid()} on"),
        whole_folder(tmp_path / "run"),
    ):
        pytest.fail("not entered")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x"}', '{"pid": 1, "host": "h", "since": 1e300}', "[" * 4000])
def test_holder_of_whom_nothing_can_be_read_is_another_process(text: str, tmp_path: Path) -> None:
    first, second = Lock(tmp_path / "lock"), Lock(tmp_path / "lock")
    assert first.acquire() is None
    (tmp_path / "lock.json").write_text(text, encoding="utf-8")
    assert second.acquire() == "another process"
    first.release()
    assert second.acquire() is None
    second.release()
    assert list(tmp_path.iterdir()) == []


def _take_turns(place: Path, rounds: int) -> None:
    for _ in range(rounds):
        workspace = Workspace(place / "run", "new")
        try:
            workspace.take()
        except InputError as error:
            assert "is being written by" in str(error)
            continue
        inside = workspace.folder / "inside"
        os.close(os.open(inside, os.O_CREAT | os.O_EXCL))  # nobody else is here
        time.sleep(0.0005)
        inside.unlink()
        with (place / "turns").open("a", encoding="utf-8") as file:
            file.write("x")
        workspace.remove()


def test_many_processes_never_hold_it_at_once(tmp_path: Path) -> None:
    processes = [FORK.Process(target=_take_turns, args=(tmp_path, 60)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    assert (tmp_path / "turns").read_text(), "somebody had a turn"
    assert [path.name for path in tmp_path.iterdir()] == ["turns"]


def test_partial_files_of_a_target_are_told_apart_from_its_neighbours(tmp_path: Path) -> None:
    names = {}
    for name in ("a", "a.b"):
        with whole_file(tmp_path / name) as partial:
            names[name] = partial.name
    for name in names.values():
        (tmp_path / name).touch()
    (tmp_path / ".a.short.new").touch()
    assert [path.name for path in partials_of(tmp_path / "a")] == [names["a"]]
    assert [path.name for path in partials_of(tmp_path / "a.b")] == [names["a.b"]]


def test_failed_exchange_leaves_the_former_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_at(tmp_path / "run", "old")

    def fail(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(room, "exchange", fail)
    with pytest.raises(InputError, match="Permission denied"), whole_folder(tmp_path / "run", overwrite=True) as folder:
        run_at(folder, "new")
    assert content(tmp_path / "run") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]

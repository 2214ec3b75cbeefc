"""`llmrec serve` as a user starts it: it becomes ready, answers as `llmrec recommend` does, and drains."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from llmrec_peft.serving.http.client.client import Client

pytestmark = [pytest.mark.trains, pytest.mark.timeout(240)]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


class Process:
    """A server that was started by the command."""

    def __init__(self, folder: Path, *options: str) -> None:
        command = [sys.executable, "-m", "llmrec_peft.cli.main", "serve", "--port", "0", *options]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
        self.process = subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)
        self.lines: list[str] = []
        self._read = threading.Thread(target=self._reading)
        self._read.start()

    def _reading(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.rstrip())

    @property
    def url(self) -> str:
        """Its address, once it has said it."""
        until = time.monotonic() + 60
        while time.monotonic() < until and self.process.poll() is None:
            for line in list(self.lines):
                if found := re.search(r"listening on (http://\S+)", line):
                    return found[1]
            time.sleep(0.02)
        raise AssertionError("\n".join(self.lines))

    def ready(self) -> str:
        """Wait until it is ready, and return its address."""
        url, until = self.url, time.monotonic() + 120
        while time.monotonic() < until and self.process.poll() is None:
            if httpx.get(f"{url}/readyz").status_code == 200:
                return url
            time.sleep(0.05)
        raise AssertionError("\n".join(self.lines))

    def end(self, sent: int = signal.SIGTERM) -> int:
        """End it, and return its exit code."""
        self.process.send_signal(sent)
        code = self.process.wait(60)
        self._read.join(10)
        return code


@pytest.fixture
def started() -> Iterator[Callable[..., Process]]:
    """Start servers, none of which outlives the test."""
    found: list[Process] = []

    def start(folder: Path, *options: str) -> Process:
        found.append(Process(folder, *options))
        return found[-1]

    yield start
    for one in found:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


def test_it_answers_as_recommend_does_keeps_its_tenants_and_drains(
    tmp_path: Path, rivals: list[Path], started: Callable[..., Process], llmrec: Run
) -> None:
    options = ["--tenant", f"a={rivals[0]}", "--tenant", f"b={rivals[1]}"]
    server = started(tmp_path, *options)
    url = server.ready()
    key = tmp_path / "serve-state" / "admin.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700
    assert not any(key.read_text().strip()[16:] in line for line in server.lines), "the key is never said"

    asked = {"tenant": "a", "user_id": "1", "k": 5}
    assert httpx.post(f"{url}/v1/recommend", json=asked).status_code == 401
    with Client(url, key_file=key) as client:
        alone = {
            name: json.loads(llmrec("recommend", run, "--user", "1", "-k", "5", "--json").stdout)
            for name, run in zip("ab", rivals, strict=False)
        }
        answers = {name: client.recommend(name, "1", k=5) for name in "ab"}
        for name, answer in answers.items():
            served = [(one.item_id, one.title) for one in answer.answers[0].items]
            assert served == [(one["item_id"], one["title"]) for one in alone[name]["items"]]
            scores = [one.score for one in answer.answers[0].items]
            assert scores == pytest.approx([one["score"] for one in alone[name]["items"]], abs=2e-4)
        assert answers["a"] != answers["b"]
        client.send_events("a", [{"user_id": "1", "item_id": "1", "label": 5.0, "event_id": "e1"}])
    assert server.end() == 0

    again = started(tmp_path)  # no run is named: they are in the registry
    with Client(again.ready(), key_file=key) as client:
        assert {name: client.recommend(name, "1", k=5) for name in "ab"} == answers
        assert [one.event_id for one in client.all_events("a")] == ["e1"]
        assert client.send_events("a", [{"user_id": "1", "item_id": "1", "label": 5.0, "event_id": "e1"}]).stored == 0
    assert again.end(signal.SIGINT) == 0


def test_while_it_drains_what_runs_is_answered(tmp_path: Path, tiny_run: Path, started: Callable[..., Process]) -> None:
    server = started(tmp_path, "--tenant", f"a={tiny_run}")
    url = server.ready()
    found: list[int] = []
    with Client(url, key_file=tmp_path / "serve-state" / "admin.key") as client:
        client.recommend("a", "1")
        film = {"year": 1995, "genres": ["Crime"], "description": "A film of many words, and of more. " * 20}
        items = [{"item_id": f"n{number}", "title": f"Film {number}", **film} for number in range(500)]

        def add() -> None:
            found.append(client.add_items("a", items).main.state)

        thread = threading.Thread(target=add)
        thread.start()
        time.sleep(0.2)
        server.process.send_signal(signal.SIGTERM)
        seen = set()
        while thread.is_alive():
            try:
                seen.add(httpx.get(f"{url}/readyz").status_code)
            except httpx.HTTPError:
                break
            time.sleep(0.05)
        thread.join()
    assert found == [1], "it was under way"
    assert 503 in seen
    assert server.process.wait(60) == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--tenant", "a"], "write NAME=RUN"),
        (["--tenant", "../a=x"], "a name has"),
        (["--tenant", "a=nowhere"], "no run folder"),
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
        (["--port", "70000"], "port"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, options: list[str], said: str, llmrec: Run) -> None:
    done = llmrec("serve", *options, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "serve-state").exists()


def test_a_second_server_on_the_same_state_is_refused(
    tmp_path: Path, tiny_run: Path, started: Callable[..., Process], llmrec: Run
) -> None:
    server = started(tmp_path, "--tenant", f"a={tiny_run}")
    server.ready()
    done = llmrec("serve", "--port", "0", cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert server.process.poll() is None


def test_a_run_that_is_refused_ends_the_server_with_one_line(
    tmp_path: Path, tiny_run: Path, started: Callable[..., Process]
) -> None:
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(tiny_run, broken)
    (broken / "head.safetensors").write_bytes(b"no tensors")
    server = started(tmp_path, "--tenant", f"a={broken}")
    assert server.process.wait(60) == 2
    server._read.join(10)
    assert "head.safetensors" in server.lines[-1]

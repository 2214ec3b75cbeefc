"""Remembered digests: a large file is read once a state, whatever lies in the cache; a changed one is read again."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from llmrec_peft.backbone import remembered as module
from llmrec_peft.backbone.base_files import content_digest
from llmrec_peft.backbone.remembered import read_anew, remembered
from llmrec_peft.identity import file_digest


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, and a process that knows nothing; files count as settled at once."""
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LLMREC_VERIFY", raising=False)
    monkeypatch.setattr(module, "_here", {})
    monkeypatch.setattr(module, "_SETTLED_NS", 0)
    return tmp_path / "cache" / "digests"


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    path.write_bytes(os.urandom(module.LARGE))
    time.sleep(0.02)  # the clock of time stamps is coarse
    return path


class Reader:
    """Digests a file and counts how often."""

    def __init__(self) -> None:
        self.reads = 0

    def __call__(self, path: Path) -> str:
        self.reads += 1
        return file_digest(path)


def another_process() -> None:
    module._here.clear()


def test_one_process_reads_once_and_the_next_one_not_at_all(large: Path) -> None:
    read = Reader()
    assert remembered(large, "sha256", read) == remembered(large, "sha256", read) == file_digest(large)
    assert read.reads == 1
    another_process()
    assert remembered(large, "sha256", read) == file_digest(large)
    assert read.reads == 1
    assert remembered(large, "another question", read) == file_digest(large)
    assert read.reads == 2


def _overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(os.urandom(100))


def _set_back(path: Path) -> None:
    found = path.stat()
    _overwrite(path)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def _replace(path: Path) -> None:
    found = path.stat()
    other = path.with_name("other")
    other.write_bytes(os.urandom(found.st_size))
    os.utime(other, ns=(found.st_atime_ns, found.st_mtime_ns))
    other.replace(path)


@pytest.mark.parametrize("change", [_overwrite, _set_back, _replace])
@pytest.mark.parametrize("process", [lambda: None, another_process])
def test_changed_file_is_read_again(large: Path, change: Callable[[Path], None], process: Callable[[], None]) -> None:
    before = content_digest(large)
    change(large)
    process()
    assert content_digest(large) == file_digest(large) != before


def _garbage(record: Path) -> None:
    record.write_bytes(b"\xff{")


def _fifo(record: Path) -> None:
    record.unlink()
    os.mkfifo(record)


def _link(record: Path) -> None:
    record.unlink()
    record.symlink_to("/dev/zero")


def _huge(record: Path) -> None:
    os.truncate(record, 1 << 40)


HOSTILE = [
    _garbage,
    _fifo,
    _link,
    _huge,
    lambda record: record.write_text("[" * 10_000),
    lambda record: record.write_text('{"sha256": [[1, 2], 7], "sha256": "x"}'),
    lambda record: record.write_text('{"sha256": 5}'),
]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("spoil", HOSTILE)
def test_broken_record_counts_as_none(large: Path, cache: Path, spoil: Callable[[Path], None]) -> None:
    content_digest(large)
    spoil(next(cache.glob("*.json")))
    another_process()
    assert content_digest(large) == file_digest(large)


def test_answer_that_is_no_digest_is_not_believed(large: Path, cache: Path) -> None:
    content_digest(large)
    record = next(cache.glob("*.json"))
    record.write_text(record.read_text().replace(file_digest(large), "../../etc/passwd"))
    another_process()
    assert content_digest(large) == file_digest(large)


def test_cache_that_cannot_be_written_changes_nothing(large: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("no folder")
    another_process()
    assert content_digest(large) == file_digest(large)


@pytest.mark.parametrize("asked", ["variable", "block"])
def test_everything_is_read_anew_on_request(
    large: Path, cache: Path, asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content_digest(large)
    record = next(cache.glob("*.json"))
    record.write_text(record.read_text().replace(file_digest(large), "0" * 64))
    another_process()
    assert content_digest(large) == "0" * 64  # what lies in the user's own cache is believed
    another_process()
    if asked == "variable":
        monkeypatch.setenv("LLMREC_VERIFY", "1")
        assert content_digest(large) == file_digest(large)
    else:
        with read_anew():
            assert content_digest(large) == file_digest(large)
    assert "LLMREC_VERIFY" not in os.environ or asked == "variable"
    assert file_digest(large) in record.read_text()


def test_file_that_was_changed_a_moment_ago_is_not_remembered(
    large: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SETTLED_NS", 10**12)
    read = Reader()
    assert remembered(large, "sha256", read) == remembered(large, "sha256", read)
    assert read.reads == 2
    assert not cache.exists()


def test_many_writers_leave_one_whole_record(large: Path, cache: Path) -> None:
    def ask(number: int) -> None:
        remembered(large, f"question {number % 3}", file_digest)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.suffix for path in cache.iterdir()] == [".json"]
    another_process()
    assert remembered(large, "question 0", lambda path: "not asked") in (file_digest(large), "not asked")

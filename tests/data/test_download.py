"""Download: the owner's archive checked by digest, or one line and nothing on disk."""

from __future__ import annotations

import hashlib
import http.client
import io
import subprocess
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from llmrec_recipes.movies.reader import Movies

from llmrec_peft.data.download import fetch
from llmrec_peft.data.source import Download
from llmrec_peft.errors import InputError

FILES = {"u.item": b"1|Film\n", "u.data": b"1\t1\t5\t0\n"}
URL = "https://data.example/ml.zip"


def archive(files: dict[str, bytes], folder: str = "ml") -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, text in files.items():
            zipped.writestr(f"{folder}/{name}", text)
    return content.getvalue()


def described(content: bytes, files: dict[str, bytes] = FILES, **changes: Any) -> Download:
    values = {
        "url": URL,
        "md5": hashlib.md5(content, usedforsecurity=False).hexdigest(),
        "folder": "ml",
        "sha256": {name: hashlib.sha256(text).hexdigest() for name, text in files.items()},
        "licence": "for research",
    }
    return Download(**{**values, **changes})


class Answer(io.BytesIO):
    """What `urlopen` gives."""

    headers: dict[str, str] = {}  # noqa: RUF012 - as in http.client


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes | Exception], None]:
    """Let the owner's address answer some bytes or fail."""

    def answer_with(content: bytes | Exception) -> None:
        def answer(url: str, timeout: float) -> Answer:
            assert url == URL
            if isinstance(content, Exception):
                raise content
            return Answer(content)

        monkeypatch.setattr(urllib.request, "urlopen", answer)

    return answer_with


def test_known_files_and_nothing_else_are_unpacked(tmp_path: Path, serve: Callable[[bytes | Exception], None]) -> None:
    content = archive({**FILES, "mku.sh": b"#!/bin/sh\n", "../../escaped": b"x"})
    serve(content)
    fetch(described(content), tmp_path / "data" / "ml")
    assert {path.name: path.read_bytes() for path in (tmp_path / "data" / "ml").iterdir()} == FILES
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["data", "ml", "u.data", "u.item"]
    assert (tmp_path / "data" / "ml").stat().st_mode & 0o777 == 0o755


GOOD = archive(FILES)


@pytest.mark.parametrize(
    ("content", "download", "words"),
    [
        (GOOD + b"\0", described(GOOD), f"{URL}: MD5 "),
        (GOOD, described(GOOD, md5="0" * 32), f"not {'0' * 32} as its owner publishes"),
        (GOOD, described(GOOD, {**FILES, "u.data": b"other"}), "u.data is not the file that is known"),
        (GOOD, described(GOOD, {**FILES, "u.user": b""}), "not the archive it should be"),
        (GOOD, described(GOOD, folder="ml-100k"), "not the archive it should be"),
        (b"<html>", described(b"<html>"), "not the archive it should be"),
        (urllib.error.URLError("Name or service not known"), described(GOOD), "give its folder with --data"),
        (TimeoutError("timed out"), described(GOOD), "cannot be reached (timed out)"),
        (ConnectionResetError(104, "Connection reset"), described(GOOD), "cannot be reached"),
        (http.client.BadStatusLine("junk"), described(GOOD), "cannot be reached"),
        (GOOD, described(GOOD, url="http://data.example/ml.zip"), "only https addresses are fetched"),
    ],
    ids=[
        "changed archive",
        "wrong md5",
        "wrong member",
        "absent member",
        "other folder",
        "no zip",
        "offline",
        "slow",
        "reset",
        "no http",
        "plain http",
    ],
)
def test_what_is_not_the_owners_archive_leaves_nothing_behind(
    tmp_path: Path,
    serve: Callable[[bytes | Exception], None],
    content: bytes | Exception,
    download: Download,
    words: str,
) -> None:
    serve(content)
    with pytest.raises(InputError) as caught:
        fetch(download, tmp_path / "data" / "ml")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_folder_that_exists_is_left_alone(tmp_path: Path, serve: Callable[[bytes | Exception], None]) -> None:
    serve(AssertionError("not asked for"))
    (tmp_path / "mine").write_text("precious", encoding="utf-8")
    with pytest.raises(InputError, match=r"exists already"):
        fetch(described(GOOD), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_place_that_cannot_be_written_is_named(tmp_path: Path, serve: Callable[[bytes | Exception], None]) -> None:
    serve(GOOD)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file/ml: .*nothing was kept"):
        fetch(described(GOOD), tmp_path / "file" / "ml")


def test_answer_without_end_is_cut_off(
    tmp_path: Path, serve: Callable[[bytes | Exception], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmrec_peft.data.download._MAX_BYTES", 1 << 20)
    serve(b"\0" * (3 << 20))
    with pytest.raises(InputError, match="over 1 MiB, which is not the known archive"):
        fetch(described(GOOD), tmp_path / "ml")


def test_films_are_described_by_the_digests_of_the_real_files(shared_data: Path) -> None:
    assert Movies.download is not None
    for name, digest in Movies.download.sha256.items():
        assert hashlib.sha256((shared_data / "ml-100k" / name).read_bytes()).hexdigest() == digest


@pytest.mark.trains
def test_offline_command_shows_the_licence_then_one_line_and_writes_nothing(
    llmrec: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    nowhere = "http://127.0.0.1:9"
    done = llmrec("download", "movies", cwd=tmp_path, https_proxy=nowhere, HTTPS_PROXY=nowhere, no_proxy="")
    assert done.returncode == 2
    assert Movies.download is not None
    licence = Movies.download.licence
    assert done.stderr.startswith(licence + "\n")
    rest = done.stderr.removeprefix(licence + "\n").splitlines()
    assert len([line for line in rest if line.strip()]) == 1
    assert rest[-1].startswith(f"error: {Movies.download.url} cannot be reached (")
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []

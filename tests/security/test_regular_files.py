"""Files from outside are opened as regular files of a bounded size, or refused in one line without waiting."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from llmrec_peft.errors import InputError
from llmrec_peft.regular_files import open_regular, read_regular, require_regular


def test_a_regular_file_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "some"
    for content in (b"", b"abc", os.urandom(100_000)):
        path.write_bytes(content)
        assert read_regular(path, 100_000) == content
        assert require_regular(path, 100_000).st_size == len(content)


def _link(path: Path) -> None:
    path.with_name("target").write_bytes(b"abc")
    path.symlink_to("target")


def _socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's name is short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


KINDS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "is missing"),
    "link": (_link, "is a link, not a regular file"),
    "link to nothing": (lambda path: path.symlink_to("nowhere"), "is a link"),
    "link to a device": (lambda path: path.symlink_to("/dev/zero"), "is a link"),
    "link to itself": (lambda path: path.symlink_to(path.name), "is a link"),
    "folder": (lambda path: path.mkdir(), "is a folder"),
    "FIFO": (os.mkfifo, "is a FIFO"),
    "socket": (_socket, "is a socket"),
    "one byte too many": (lambda path: path.write_bytes(bytes(1001)), "1,001 bytes, more than the 1,000"),
    "sparse": (lambda path: (path.touch(), os.truncate(path, 1 << 40)), "more than the 1,000"),
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", KINDS)
def test_anything_else_is_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    make, words = KINDS[kind]
    path = tmp_path / "some"
    make(path)
    for door in (read_regular, require_regular):
        with pytest.raises(InputError, match=words) as refused:
            door(path, 1000)
        assert "\n" not in str(refused.value) and str(path) in str(refused.value)


def test_names_that_no_file_can_have_are_refused(tmp_path: Path) -> None:
    for name in ("a" * 300, "a\0b"):
        with pytest.raises(InputError, match="cannot be opened"):
            read_regular(tmp_path / name, 10)


def test_a_file_exchanged_for_a_link_between_the_question_and_the_opening_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "some"
    path.write_bytes(b"mine")
    (tmp_path / "secret").write_bytes(b"secret")
    opened = os.open

    def exchanged(name: Path, flags: int) -> int:
        path.unlink()
        path.symlink_to("secret")
        return opened(name, flags)

    monkeypatch.setattr(os, "open", exchanged)
    with pytest.raises(InputError, match="cannot be opened"):
        read_regular(path, 100)


def test_a_file_that_grows_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "some"
    path.write_bytes(b"abc")
    with open_regular(path, 10):
        pass
    read = os.read

    def grown(descriptor: int, count: int) -> bytes:
        with path.open("ab") as file:
            file.write(b"x")
        return read(descriptor, count)

    monkeypatch.setattr(os, "read", grown)
    with pytest.raises(InputError, match="was changed while it was read"):
        read_regular(path, 10)

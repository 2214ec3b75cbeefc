"""Key files: which key is found, and who can read one that is written."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from llmrec_peft.errors import InputError
from llmrec_peft.serving.http.client.key_files import found_key, read_key_file, write_key_file

ONE, TWO, THREE = (f"llmrec_0000000{number}_{letter * 43}" for number, letter in ((1, "a"), (2, "b"), (3, "c")))


def test_a_key_is_written_for_its_owner_alone_and_never_over_a_file(tmp_path: Path) -> None:
    file = tmp_path / "films.key"
    write_key_file(file, ONE)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert read_key_file(file) == ONE
    with pytest.raises(InputError, match="cannot be written"):
        write_key_file(file, TWO)
    assert read_key_file(file) == ONE
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="cannot be written"):
        write_key_file(tmp_path / "link", TWO)


def test_the_named_file_goes_before_the_environment_and_that_before_the_servers_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert found_key(None, {}) is None
    (tmp_path / "serve-state").mkdir()
    write_key_file(tmp_path / "serve-state" / "admin.key", ONE)
    assert found_key(None, {}) == ONE
    assert found_key(None, {"LLMREC_KEY": TWO}) == TWO
    write_key_file(tmp_path / "own.key", THREE)
    assert found_key(tmp_path / "own.key", {"LLMREC_KEY": TWO}) == THREE


@pytest.mark.parametrize("content", ["", "secret", ONE + "x", f"{ONE}\n{TWO}", "\x00" * 9, "é" * 60])
def test_what_is_no_key_is_refused_without_being_repeated(tmp_path: Path, content: str) -> None:
    file = tmp_path / "films.key"
    file.write_text(content, encoding="utf-8")
    file.chmod(0o600)
    with pytest.raises(InputError, match="holds no key of llmrec serve") as wrong:
        read_key_file(file)
    assert "secret" not in str(wrong.value)
    assert "aaa" not in str(wrong.value)


def test_a_link_to_a_key_is_refused(tmp_path: Path) -> None:
    write_key_file(tmp_path / "films.key", ONE)
    (tmp_path / "link").symlink_to(tmp_path / "films.key")
    with pytest.raises(InputError, match="is a link"):
        read_key_file(tmp_path / "link")

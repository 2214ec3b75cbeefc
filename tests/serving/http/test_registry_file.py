"""The registry's file: for its owner and one server alone, and refused in one line where it is none."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from made_up_routes import version, with_items

from llmrec_peft.errors import InputError
from llmrec_peft.serving.http.registry.database import open_for_writing, reading
from llmrec_peft.serving.http.registry.registry import FILE, Registry
from llmrec_peft.serving.http.registry.schema import FORMAT
from llmrec_peft.serving.routes import Route
from llmrec_peft.serving.sealed_store import SealedStore


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_nobody_but_the_owner_reads_it(registry: Registry, state: Path) -> None:
    registry.begin("shop", Route(version(state / "store", "a")))
    assert mode(state) == 0o700
    assert {mode(path) for path in state.glob(f"{FILE}*")} == {0o600}
    assert (state / f"{FILE}-wal").exists(), "the log beside it as well"


def test_file_and_folder_that_others_could_read_are_closed_to_them(
    registry: Registry, opened: Callable[[], Registry], state: Path
) -> None:
    registry.close()
    (state / FILE).chmod(0o644)
    state.chmod(0o755)
    opened()
    assert (mode(state), mode(state / FILE)) == (0o700, 0o600)


def test_second_server_is_refused_until_the_first_one_has_ended(registry: Registry, state: Path) -> None:
    with pytest.raises(InputError, match=f"registry.sqlite is served by process {os.getpid()} on .*: one server"):
        Registry(state / FILE, SealedStore(state / "store"))
    registry.close()
    Registry(state / FILE, SealedStore(state / "store")).close()


def test_commits_are_flushed(registry: Registry) -> None:
    connection = registry._writer._connection
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert connection.execute("PRAGMA foreign_keys").fetchone() == (1,)


def make_text(file: Path) -> None:
    file.write_text("no database at all, but a text that is longer than a header of SQLite: " * 20, encoding="utf-8")


def make_other_program(file: Path) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE tenants (name TEXT)")
    connection.close()


def make_newer(file: Path) -> None:
    connection = open_for_writing(file, 1.0)
    connection.execute(f"PRAGMA user_version = {FORMAT + 1}")
    connection.close()


def make_link(file: Path) -> None:
    make_text(file.with_name("elsewhere"))
    file.symlink_to("elsewhere")


def make_damaged(file: Path) -> None:
    with Registry(file, SealedStore(file.parent / "store")) as registry:
        for number in range(50):
            grown = with_items(version(file.parent / "store", f"{number}"), [f"{item}" for item in range(20)], 64)
            registry.begin(f"{number}", Route(grown))
    with file.open("r+b") as content:
        for page in range(4, file.stat().st_size // 4096, 3):
            content.seek(page * 4096)
            content.write(os.urandom(64))


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "a text": (make_text, "it is no SQLite file"),
    "another program's": (make_other_program, "is a database of another program"),
    "newer": (make_newer, f"is a registry of format {FORMAT + 1}, and this version of llmrec reads format {FORMAT}"),
    "a link": (make_link, "is a link, not a regular file"),
    "a folder": (Path.mkdir, "is a folder, not a regular file"),
    "damaged": (make_damaged, "is damaged"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_file_that_is_no_registry_is_refused_in_one_line_and_stays(kind: str, state: Path) -> None:
    make, said = WRONG[kind]
    state.mkdir()
    make(state / FILE)
    before = (state / FILE).read_bytes() if (state / FILE).is_file() else b""
    with pytest.raises(InputError, match=said) as caught:
        Registry(state / FILE, SealedStore(state / "store"))
    assert str(caught.value).isprintable()
    assert not before or (state / FILE).read_bytes() == before
    assert not list(state.glob(".*lock*")), "and nobody serves it"


def test_start_that_was_interrupted_leaves_a_file_that_is_taken(state: Path) -> None:
    state.mkdir()
    (state / FILE).touch()
    with Registry(state / FILE, SealedStore(state / "store")) as registry:
        assert registry.tenants() == registry.keys() == []


def test_missing_registry_is_not_made_by_who_reads_it(state: Path) -> None:
    with pytest.raises(InputError, match="is missing"), reading(state / FILE, 1.0):
        pass
    assert not state.exists()


def test_folder_that_cannot_be_made_is_an_error_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(InputError, match="no registry can be here"):
        Registry(tmp_path / "taken" / FILE, SealedStore(tmp_path / "store"))

"""Files of users that `llmrec recommend` and `llmrec report` take: tables of any form, and lists."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llmrec_peft.errors import InputError
from llmrec_peft.workflows import user_files
from llmrec_peft.workflows.user_files import read_users


def _written(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    return folder / name


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("u.csv", b"age;user_id\n3;007\n4;8\n"),
        ("u.csv", b"age\tuser_id\n3\t007\n4\t8\n"),
        ("u.tsv", b"age\tuser_id\n3\t007\n4\t8\n"),
        ("u.tsv", "age\tuser_id\r\n3\t007\r\n4\t8\r\n".encode("utf-16")),
        ("u.jsonl", b'{"user_id": "007", "age": 3}\n{"user_id": "8", "age": 4}\n'),
        ("u.json", json.dumps([{"user_id": "007"}, {"user_id": "8"}]).encode()),
        ("u.csv.gz", gzip.compress(b"age,user_id\n3,007\n4,8\n", mtime=0)),
        ("u.txt", b"user_id\n007\n8\n"),
    ],
)
def test_tables_of_users_of_any_form_give_the_ids(name: str, content: bytes, tmp_path: Path) -> None:
    assert read_users(_written(tmp_path, name, content)) == (["007", "8"], 0)


def _run_with(options: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a run whose recipe has some data.options."""
    sealed = SimpleNamespace(open=lambda _: SimpleNamespace(recipe=lambda: {"data": {"options": options}}))
    monkeypatch.setattr(user_files, "SealedFolder", sealed)
    return Path("run")


def test_the_column_may_be_called_as_in_the_files_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = _run_with({"users": {"id": "Nr"}, "interactions": {"user": "Kundennr"}}, monkeypatch)
    assert read_users(_written(tmp_path, "u.csv", b"Kundennr;x\n007;1\n007;2\n"), run) == (["007"], 1)
    assert read_users(_written(tmp_path, "u.csv", b"Kundennr,Nr\n1,007\n"), run) == (["007"], 0)
    with pytest.raises(InputError, match=r"no column user_id or Nr or Kundennr \(it has a, b\); a file with"):
        read_users(_written(tmp_path, "u.csv", b"a,b\n1,2\n"), run)


@pytest.mark.parametrize("options", [None, [], {"users": 3, "interactions": {"user": ["a"]}}, "x"])
def test_runs_of_other_data_name_no_column(options: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = _run_with(options, monkeypatch)
    with pytest.raises(InputError, match=r"no column user_id \(it has a, b\)"):
        read_users(_written(tmp_path, "u.tsv", b"a\tb\n1\t2\n"), run)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("u.tsv", b"user_id\tx\n1\t2\n\t3\n", "row 2: user_id is empty"),
        ("u.tsv", "user_id\tx\nJürgen\t2\n".encode("latin-1"), "not utf-8 text: save the file as UTF-8"),
        ("u.tsv", b"user_id\tx\n1\t2\n2\t3\t4\n", "line 3: 3 columns where 2 are expected"),
        ("u.tsv", b"x\tuser_id\na\t007\nb\t008\tc\n", "line 3: 3 columns where 2 are expected"),
        ("u.jsonl", b'{"user_id": ["a"]}\n', "are no ids"),
        ("u.csv.gz", gzip.compress(b"user_id,x\n" + b"1,2\n" * 9000, mtime=0)[:60], "damaged or cut off"),
        ("u.tsv", b"", "the file is empty"),
    ],
)
def test_tables_that_cannot_be_read_are_refused(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        read_users(_written(tmp_path, name, content))

"""`llmrec recommend` for one user and for many, from files and to files."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from task_places import Run


@pytest.fixture
def here(tmp_path: Path, tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the trained run."""
    (tmp_path / "run").symlink_to(tiny_run)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


MANY = ["recommend", "run", "-k", "2", "--users"]


def _written(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_json_of_one_user_is_an_object_and_of_several_a_list(here: Path, llmrec_here: Run) -> None:
    one = json.loads(llmrec_here("recommend", "run", "--user", "1", "-k", "2", "--json").out)
    assert (one["user_id"], len(one["items"])) == ("1", 2)
    several = json.loads(llmrec_here("recommend", "run", "--user", "1", "--user", "2", "-k", "2", "--json").out)
    assert several[0] == one
    assert [answer["user_id"] for answer in several] == ["1", "2"]


@pytest.mark.parametrize("name", ["users.csv", "users.parquet", "users.txt", "-"])
def test_each_user_of_a_file_is_answered_once_in_its_order(
    name: str, here: Path, llmrec_here: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = ["3", "1", "3", "2"]
    if name == "users.parquet":
        pq.write_table(pa.table({"user_id": pa.array(map(int, users)), "x": users}), here / name)
    elif name == "users.csv":
        (here / name).write_text("x,user_id\n" + "".join(f"007,{user}\n" for user in users), encoding="utf-8")
    else:
        (here / "users.txt").write_bytes(b"\xef\xbb\xbf" + "\r\n".join([*users, ""]).encode())
        if name == "-":
            monkeypatch.setattr("sys.stdin", (here / "users.txt").open(encoding="utf-8"))
    done = llmrec_here(*MANY, name, "--output", "best.csv")
    assert done.code == 0, done.err
    assert done.err.splitlines() == [
        "6 recommendations in best.csv",
        "1 rows repeat a user: each is answered once",
    ]
    rows = _written(here / "best.csv")
    assert [row["user_id"] for row in rows] == ["3", "3", "1", "1", "2", "2"]
    assert [row["rank"] for row in rows] == ["1", "2"] * 3
    alone = json.loads(llmrec_here("recommend", "run", "--user", "1", "-k", "2", "--json").out)
    assert [(row["item_id"], float(row["score"])) for row in rows[2:4]] == [
        (item["item_id"], item["score"]) for item in alone["items"]
    ]


def test_output_is_parquet_by_its_ending(here: Path, llmrec_here: Run) -> None:
    (here / "users.txt").write_text("1\n2\n", encoding="utf-8")
    assert llmrec_here(*MANY, "users.txt", "--output", "best.parquet").code == 0
    table = pq.read_table(here / "best.parquet")
    assert table.column_names == ["user_id", "rank", "item_id", "title", "score", "basis"]
    assert table["user_id"].to_pylist() == ["1", "1", "2", "2"]


@pytest.mark.parametrize(
    ("unknown", "answered", "said"),
    [
        ("popular", ["1", "1", "1.0", "1.0"], "such as '1.0': they get the most popular items"),
        ("skip", ["1", "1"], "such as '1.0': they get no answer"),
    ],
)
def test_unknown_users_are_counted(unknown: str, answered: list[str], said: str, here: Path, llmrec_here: Run) -> None:
    (here / "users.txt").write_text("1\n1.0\n", encoding="utf-8")
    done = llmrec_here(*MANY, "users.txt", "--output", "best.csv", "--unknown", unknown)
    assert [row["user_id"] for row in _written(here / "best.csv")] == answered
    assert done.err.splitlines()[-1] == f"1 of 2 users are unknown to the run, {said}"


def test_where_all_are_unknown_some_that_are_known_are_shown(here: Path, llmrec_here: Run) -> None:
    (here / "users.txt").write_text(" 1\n1.0\n", encoding="utf-8")
    done = llmrec_here(*MANY, "users.txt", "--output", "best.csv")
    assert done.err.splitlines()[-1].endswith("; users that it knows are '1', '2', '3'")


@pytest.mark.parametrize(
    ("content", "name", "said"),
    [
        (b"nobody\n", "users.txt", "user 'nobody' is unknown to the run, which knows '1', '2', '3' and others"),
        (b"\xff\n", "users.txt", "users.txt, line 1: not utf-8 text"),
        (b"", "users.txt", "users.txt: there are no users"),
        (b"x" * 100_000, "users.txt", "users.txt, line 1: it is longer than any id"),
        (b"user\n1\n", "users.csv", "users.csv: no column user_id (it has user)"),
        (b"user_id,x\n,1\n", "users.csv", "users.csv, row 1: user_id is empty"),
        (b"", "users.csv", "users.csv: the file is empty"),
        (b"1\n", "users.parquet", "users.parquet: unreadable"),
    ],
)
def test_users_that_cannot_be_read_are_refused_in_one_line(
    content: bytes, name: str, said: str, here: Path, llmrec_here: Run
) -> None:
    (here / name).write_bytes(content)
    done = llmrec_here(*MANY, name, "--output", "best.csv", "--unknown", "refuse")
    assert (done.code, done.out) == (2, "")
    assert len(done.err.splitlines()) == 1
    assert said in done.err
    assert not (here / "best.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "say whom: --user ID, or --users FILE for many"),
        (["--user", "1", "--users", "users.txt"], "say whom"),
        (["--user", "1", "--user", ""], "--user: the id is empty"),
        (["--user", "1", "--json", "--output", "best.csv"], "give one of them"),
        (["--users", "absent.txt"], "no input file absent.txt"),
        (["--user", "1", "--output", "best.txt"], "best.txt: name it .csv or .parquet"),
        (["--user", "1", "--output", "run"], "run: name it .csv or .parquet"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(
    arguments: list[str], said: str, here: Path, llmrec_here: Run
) -> None:
    done = llmrec_here("recommend", "run", *arguments)
    assert done.code == 2
    assert said in done.err

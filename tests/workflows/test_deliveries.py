"""What comes into a folder: complete deliveries in the order they came; what is still being written is left alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from llmrec_peft.errors import InputError
from llmrec_peft.workflows import deliveries as room
from llmrec_peft.workflows.deliveries import deliveries, look_at


def put(path: Path, text: str = "a,b\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def names(folder: Path, settle: float = 0.0) -> list[str]:
    return [one.name for one in deliveries(folder, settle)]


def test_hidden_unfinished_and_empty_entries_are_no_deliveries(tmp_path: Path) -> None:
    for name in (".hidden", "a.csv.part", "b.tmp", "whole.csv", "folder/rows.csv", "half/rows.csv", "half/more.part"):
        put(tmp_path / name)
    (tmp_path / "empty").mkdir()
    assert sorted(names(tmp_path)) == ["folder", "whole.csv"]


def test_delivery_is_complete_only_once_nothing_has_changed_for_a_while(tmp_path: Path) -> None:
    file = put(tmp_path / "folder" / "rows.csv")
    assert names(tmp_path, 0.0) == ["folder"]
    assert not names(tmp_path, 30.0)
    os.utime(file, (1, 1))  # as a copy that keeps the times of its source: being new is not hidden by it
    os.utime(file.parent, (1, 1))
    assert not names(tmp_path, 30.0)


def test_order_is_that_of_coming_not_that_of_names(tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv", "c.csv"):
        put(tmp_path / name)
        while look_at(tmp_path / name).changed >= _now(tmp_path):  # type: ignore[union-attr]
            pass
    assert names(tmp_path) == ["b.csv", "a.csv", "c.csv"]


@pytest.mark.parametrize("change", ["size", "time", "more", "name"])
def test_any_change_gives_another_fingerprint(change: str, tmp_path: Path) -> None:
    file = put(tmp_path / "folder" / "rows.csv")
    before = look_at(tmp_path / "folder")
    assert before == look_at(tmp_path / "folder")
    if change == "size":
        about = file.stat()
        put(file, "a,b,c\n")
        os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))
    elif change == "time":
        os.utime(file, (1, 1))
    elif change == "more":
        put(tmp_path / "folder" / "deep" / "items.csv")
    else:
        file.rename(file.with_name("other.csv"))
    after = look_at(tmp_path / "folder")
    assert before is not None
    assert after is not None
    assert after.fingerprint != before.fingerprint


def test_wrong_folder_and_a_delivery_without_bound_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"nowhere: No such file"):
        deliveries(tmp_path / "nowhere", 0.0)
    put(tmp_path / "folder" / "a.csv")
    put(tmp_path / "folder" / "b.csv")
    monkeypatch.setattr(room, "MOST_FILES", 1)
    with pytest.raises(InputError, match="more than 1 files"):
        deliveries(tmp_path, 0.0)


def test_link_to_nothing_is_not_there_yet(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    put(tmp_path / "folder" / "a.csv")
    (tmp_path / "folder" / "b.csv").symlink_to(tmp_path / "nothing")
    assert not names(tmp_path)


def _now(folder: Path) -> float:
    """The file system's own time, whose steps are coarser than those of the clock."""
    probe = put(folder / ".probe")
    return probe.stat().st_ctime

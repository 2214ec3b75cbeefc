"""Commands that are killed leave the old state or the new one; a short run of tests/soak/test_kills.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from kills import (
    Killed,
    download,
    file_state,
    folder_state,
    go_on,
    kill_after_publishing,
    kill_at_random_moments,
    pack,
    run_state,
    update_of,
    watch_of,
)

pytestmark = pytest.mark.trains


def test_killed_download(tmp_path: Path) -> None:
    killed = Killed("download", download, pack, lambda place: folder_state(place / "ml"))
    kill_at_random_moments(killed, 3, 1, tmp_path)


def test_killed_export(tiny_run: Path, tmp_path: Path) -> None:
    killed = Killed(
        "export-vectors",
        ["export-vectors", str(tiny_run), "--out", "items.arrow", "--overwrite"],
        lambda place: (place / "items.arrow").write_text("old", encoding="utf-8") and None,
        lambda place: file_state(place / "items.arrow"),
    )
    kill_at_random_moments(killed, 2, 1, tmp_path)


def test_killed_update(tiny_data: Path, tiny_run: Path, tmp_path: Path) -> None:
    kill_at_random_moments(update_of(tiny_run, tiny_data, tmp_path / "newer"), 2, 1, tmp_path / "kills")


def test_update_killed_between_publishing_and_tidying_up(tiny_data: Path, tiny_run: Path, tmp_path: Path) -> None:
    killed, place = update_of(tiny_run, tiny_data, tmp_path / "newer"), tmp_path / "place"
    place.mkdir()
    kill_after_publishing(killed, place)
    published = run_state(place / "updated")
    assert published is not None
    assert (place / ".updated.training").is_dir()
    go_on(killed, place)
    assert run_state(place / "updated") == published
    assert not (place / ".updated.training").exists()


def test_killed_watch(tiny_data: Path, tiny_run: Path, tmp_path: Path) -> None:
    kill_at_random_moments(watch_of(tiny_run, tiny_data), 1, 1, tmp_path)

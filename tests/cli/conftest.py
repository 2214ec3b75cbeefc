"""Fixtures of the commands' tests: a working folder of small data, and the command in this process."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from task_places import Done, Place, Run, write_likes, write_records

from llmrec_peft.cli.main import main


@pytest.fixture
def task_place(tmp_path: Path, tiny_data: Path, tiny_backbone: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    shutil.copytree(tiny_data, tmp_path / "ml")
    (tmp_path / "enc").symlink_to(tiny_backbone)
    write_likes(tmp_path / "likes")
    write_records(tmp_path / "records")
    monkeypatch.chdir(tmp_path)
    return Place(tmp_path)


@pytest.fixture
def llmrec_here(capsys: pytest.CaptureFixture[str]) -> Run:
    """The command as its entry point runs it, in this process."""

    def run(*arguments: str) -> Done:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        told = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Done(ended.value.code, told.out, told.err)

    return run

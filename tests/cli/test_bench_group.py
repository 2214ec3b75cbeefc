"""`llmrec bench`: a matrix needs no command's name, and results are rendered without measuring anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmrec_peft.cli.main import main

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


def run(*arguments: object) -> object:
    with pytest.raises(SystemExit) as ended:
        main(["bench", *map(str, arguments)])
    return ended.value.code


@pytest.mark.parametrize("named", [[], ["run"]])
def test_a_matrix_and_options_mean_run(named: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*named, "--table", RESULTS / "movies-u1.json") == 0
    assert "| movies-u1 |" in capsys.readouterr().out
    assert run(*named, "absent.yaml", "--out", "absent") == 2
    assert "absent.yaml" in capsys.readouterr().err


def test_a_mistake_names_the_help_of_the_command_that_was_meant(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("m.yaml", "--job", "2") == 2
    assert "llmrec bench run --help" in capsys.readouterr().err


def test_results_are_rendered_beside_themselves_or_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run("report", RESULTS / "movies-u1.json", "--out", out) == 0
    assert str(out / "report.html") in capsys.readouterr().out
    stamp = (out / "results.json").stat().st_mtime_ns
    (out / "report.html").unlink()
    assert run("report", out, "--json") == 0
    assert (out / "report.html").is_file()
    assert (out / "results.json").stat().st_mtime_ns == stamp, "what is read is not written"
    assert run("report", tmp_path / "absent") == 2
    file = tmp_path / "file"
    file.touch()
    assert run("report", out, "--out", file / "x") == 2

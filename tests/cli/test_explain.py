"""`llmrec explain`: JSON for scripts, tables for people, one line for what was typed wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from llmrec_peft.testing.adapters.backbones import make_tiny

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny decoder that chooses words by its input embedding."""
    folder = make_tiny("tiny-llama", tmp_path_factory.mktemp("decoder"))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    sizes = {"tie_word_embeddings": True, "max_position_embeddings": 512}
    (folder / "config.json").write_text(json.dumps({**config, **sizes}), encoding="utf-8")
    return folder


def test_json_holds_evidence_its_test_and_a_text(tiny_run: Path, decoder: Path, llmrec: Command) -> None:
    arguments = ["--user", "3", "--item", "7", "--pairs", "6", "--top", "2", "--generate", "--decoder", decoder]
    done = llmrec("explain", tiny_run, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert {"user", "item", "title", "score", "evidence", "faithfulness", "text", "generation"} <= set(report)
    assert (report["user"], report["item"]) == ("3", "7")
    assert sum(one["kind"] == "history" for one in report["evidence"]) == 2
    assert report["faithfulness"]["run"]["history"]["pairs"] <= 6
    assert report["text"]
    assert report["generation"]["decoder"] == str(decoder)
    assert "Traceback" not in done.stderr


def test_tables_tell_the_same(tiny_run: Path, llmrec: Command) -> None:
    done = llmrec("explain", tiny_run, "--user", "3", "--item", "7", "--pairs", "6", "--top", "2")
    assert done.returncode == 0, done.stderr
    for said in ("for user 3: ", "sum, in stars", "mean rating", "sum, before", "history", "words of the", "rated "):
        assert said in done.stdout, said
    assert "deletion test of this pair" in done.stdout
    assert "deletion test of the run" in done.stdout
    assert "passes" in done.stdout or "fails" in done.stdout


def test_words_by_integrated_gradients_and_no_test_of_the_run(tiny_run: Path, llmrec: Command) -> None:
    asked = ["--user", "3", "--item", "7", "--words", "integrated-gradients", "--pairs", "0"]
    done = llmrec("explain", tiny_run, *asked, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert {one["method"] for one in report["evidence"] if one["kind"] == "word"} == {"integrated gradients"}
    assert report["faithfulness"]["run"] is None


def test_without_the_private_file_it_says_what_it_cannot_tell(tiny_run: Path, tmp_path: Path, llmrec: Command) -> None:
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    (run / "seen.safetensors").unlink()
    done = llmrec("explain", run, "--user", "3", "--item", "7", "--pairs", "4")
    assert done.returncode == 0, done.stderr
    assert "no history items: seen.safetensors" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--user", "nobody", "--item", "7"], "unknown user 'nobody'"),
        (["--user", "3", "--item", "nothing"], "unknown item 'nothing'"),
        (["--user", "3", "--item", "7", "--writer", "w"], "belong to --generate: give it too"),
        (["--user", "3", "--item", "7", "--generate", "--writer", "w", "--decoder", "smollm2"], "leave --decoder out"),
        (["--user", "3", "--item", "7", "--generate", "--decoder", "minilm", "--pairs", "0"], "cannot write"),
        (["--user", "3", "--item", "7", "--generate", "--writer", "no-such-folder", "--pairs", "0"], "no run folder"),
        (["--user", "3", "--item", "7", "--words", "shap"], "--words"),
        (["--user", "3", "--item", "7", "--delete", "0"], "--delete"),
        (["--user", "3"], "--item"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(
    arguments: list[str], said: str, tiny_run: Path, llmrec: Command
) -> None:
    done = llmrec("explain", tiny_run, *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stderr.startswith("error: ")
    assert said in done.stderr


def test_folder_that_is_no_run_is_refused(tmp_path: Path, llmrec: Command) -> None:
    done = llmrec("explain", tmp_path, "--user", "3", "--item", "7")
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1)
    assert "is no run folder" in done.stderr

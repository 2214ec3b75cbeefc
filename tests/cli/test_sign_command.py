"""`llmrec sign` and `llmrec verify`."""

from __future__ import annotations

import json
from pathlib import Path

from signed_runs import write_keys, write_run
from task_places import Run


def test_a_run_is_signed_and_verified(tmp_path: Path, llmrec_here: Run) -> None:
    run, keys = write_run(tmp_path / "run"), write_keys(tmp_path)
    signed = llmrec_here("sign", str(run), "--key", str(keys.private))
    assert (signed.code, signed.out.split()) == (0, [f"{run / 'model.sig'}:", "signs", "6", "files"])
    done = llmrec_here("verify", str(run), "--key", str(keys.public))
    assert done.code == 0
    words = " ".join(done.out.split())
    assert "6 files are as the owner of key" in words
    assert "private files match the signed manifest: seen.safetensors" in words
    told = json.loads(llmrec_here("verify", str(run), "--key", str(keys.public), "--json").out)
    assert sorted(told) == ["digest", "files", "key", "private"]


def test_a_changed_run_is_one_line_and_code_2(tmp_path: Path, llmrec_here: Run) -> None:
    run, keys = write_run(tmp_path / "run"), write_keys(tmp_path)
    llmrec_here("sign", str(run), "--key", str(keys.private))
    (run / "recipe.yaml").write_text("name: else\n")
    done = llmrec_here("verify", str(run), "--key", str(keys.public))
    assert (done.code, done.out) == (2, "")
    assert done.err == f"error: {run} is not what was signed: recipe.yaml changed\n"


def test_the_signature_may_lie_elsewhere(tmp_path: Path, llmrec_here: Run) -> None:
    run, keys = write_run(tmp_path / "run"), write_keys(tmp_path)
    told = llmrec_here("sign", str(run), "--key", str(keys.private), "--out", str(tmp_path / "films.sig"), "--json")
    assert json.loads(told.out)["signature"] == str(tmp_path / "films.sig")
    assert not (run / "model.sig").exists()


def test_nobody_is_asked_for_a_password_where_there_is_no_terminal(tmp_path: Path, llmrec_here: Run) -> None:
    run, keys = write_run(tmp_path / "run"), write_keys(tmp_path, password=b"secret")
    done = llmrec_here("sign", str(run), "--key", str(keys.private))
    assert done.code == 2
    assert "LLMREC_KEY_PASSWORD" in done.err
    assert not (run / "model.sig").exists()

"""`llmrec push --sign` and `llmrec pull --verify`."""

from __future__ import annotations

from pathlib import Path

from hub_server import Hub
from signed_runs import write_keys
from task_places import Run


def test_what_is_pushed_with_a_key_is_pulled_with_its_other_half(
    hub: Hub, people_run: Path, tmp_path: Path, llmrec_here: Run
) -> None:
    keys, other = write_keys(tmp_path), write_keys(tmp_path, "other")
    pushed = llmrec_here(
        *(
            "push",
            str(people_run),
            "ann/films",
            "--include-items",
            "--licence",
            "cc-by-4.0",
            "--sign",
            str(keys.private),
        )
    )
    assert pushed.code == 0, pushed.err
    assert b"license: cc-by-4.0\n" in hub.files("ann/films")["README.md"]
    out = tmp_path / "run"
    refused = llmrec_here("pull", "ann/films", "--out", str(out), "--verify", str(other.public))
    assert (refused.code, refused.out) == (2, "")
    assert "was signed with another key" in refused.err
    assert not out.exists()
    pulled = llmrec_here("pull", "ann/films", "--out", str(out), "--verify", str(keys.public))
    assert pulled.code == 0, pulled.err
    assert llmrec_here("verify", str(out), "--key", str(keys.public)).code == 0


def test_a_key_is_checked_before_anything_is_asked_of_the_hub(
    hub: Hub, people_run: Path, tmp_path: Path, llmrec_here: Run
) -> None:
    keys = write_keys(tmp_path)
    assert llmrec_here("push", str(people_run), "ann/films", "--sign", str(keys.public)).code == 2
    done = llmrec_here("pull", "ann/films", "--out", str(tmp_path / "run"), "--verify", str(keys.private))
    assert done.code == 2
    assert "verify with the public one" in done.err
    assert not hub.requests

"""The end of a process: threads that load and encode do not abort it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys
from llmrec_peft.serving.engine import Engine

engine = Engine(sys.argv[1], device="cpu")
engine.register("shop", sys.argv[2])
film = {"title": "Brass Lanterns", "year": 1995, "genres": ["Crime"], "description": "A film."}
engine.add_items("shop", [{"item_id": "new", **film}])
"""


def test_process_that_has_just_encoded_texts_ends_well(tmp_path: Path, rivals: list[Path]) -> None:
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "store"), str(rivals[0])]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr[-500:]
    assert "terminate called" not in ended.stderr

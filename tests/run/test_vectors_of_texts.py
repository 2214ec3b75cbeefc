"""Vectors of a run's texts: stored, encoded again, alone or together, they are the same.

To the last bit in bf16, where passes have a shape that depends on a text alone; in fp32 within the rounding of passes
of other shapes, which differs from processor to processor.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from llmrec_peft import Recommender
from llmrec_peft.backbone.tensor_files import write_tensors

NEW = [
    {"item_id": f"new-{at}", "title": title, "year": 1990 + at, "genres": genres}
    for at, (title, genres) in enumerate(
        [
            ("Silent Window", ["Drama"]),
            ("A Very Long Title of a Film in Which Nothing Happens at Sea", ["Drama", "Romance"]),
            ("Up", ["Action"]),
            ("The Return of the Café Number Seven", ["Comedy", "Drama"]),
            ("Sea", ["Drama"]),
        ]
    )
]


@pytest.mark.parametrize(("precision", "rounding"), [("bf16", 0.0), ("fp32", 2e-6)])
def test_new_items_have_the_same_vectors_alone_and_together(
    precision: str, rounding: float, tiny_data: Path, quick_run: Callable[..., Path]
) -> None:
    run = quick_run("movies", {"data.path": str(tiny_data), "backbone.precision": precision})
    together, alone = Recommender.from_pretrained(run), Recommender.from_pretrained(run)
    together.add_items(NEW)
    for row in reversed(NEW):
        alone.add_items([row])
    ids = [str(row["item_id"]) for row in NEW]
    first = together.catalogue.vectors[[together.catalogue.row_of[item] for item in ids]]
    second = alone.catalogue.vectors[[alone.catalogue.row_of[item] for item in ids]]
    torch.testing.assert_close(first, second, rtol=0, atol=rounding)
    assert together.score(["1"] * 5, ids).tolist() == pytest.approx(alone.score(["1"] * 5, ids).tolist(), abs=1e-6)


def test_stored_vectors_are_those_of_the_loaded_model(tiny_run: Path) -> None:
    recommender = Recommender.from_pretrained(tiny_run)
    stored = recommender.catalogue.vectors
    assert torch.equal(recommender.encode(list(recommender.items.texts)), stored)
    some = [4, 30, 9]
    assert torch.equal(recommender.encode([recommender.items.texts[at] for at in some]), stored[some])


@pytest.fixture(scope="module")
def embedding_run(tiny_data: Path, tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in an embedding model with prompts, pooled by cls, whose Dense layer widens its vectors."""
    from llmrec_peft.recipe import load_recipe
    from llmrec_peft.workflows.train import train

    base = tmp_path_factory.mktemp("embedding-model") / "base"
    shutil.copytree(tiny_backbone, base)
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Dense": "Dense"}
    modules = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in kinds.items()]
    files = {
        "modules.json": modules,
        "1_Pooling/config.json": {"word_embedding_dimension": 32, "pooling_mode_cls_token": True},
        "2_Dense/config.json": {"in_features": 32, "out_features": 48, "bias": False},
        "config_sentence_transformers.json": {"prompts": {"query": "query: ", "passage": "passage: "}},
    }
    for name, content in files.items():
        (base / name).parent.mkdir(exist_ok=True)
        (base / name).write_text(json.dumps(content))
    torch.manual_seed(0)
    write_tensors(base / "2_Dense" / "model.safetensors", {"linear.weight": torch.randn(48, 32)})
    few = [f"backbone.name={base}", "training.epochs=1", "training.refit=false", "evaluation.bootstrap=0"]
    run = tmp_path_factory.mktemp("embedding-run") / "run"
    train(load_recipe("movies", few, {"data.path": str(tiny_data)}), run, show=False)
    return run


def test_a_run_reads_texts_as_its_embedding_model_was_published(embedding_run: Path) -> None:
    recommender = Recommender.from_pretrained(embedding_run)
    stored, texts = recommender.catalogue.vectors, recommender.items.texts
    assert stored.shape[1] == 48
    assert torch.equal(recommender.encode(list(texts)), stored)
    assert not torch.allclose(recommender.encode([f"passage: {text}" for text in texts]), stored, atol=1e-3)
    told = json.loads((embedding_run / "metrics.json").read_text())["texts"]
    assert told["pooling"] == "cls"
    assert told["normalize"] is False
    assert told["prompts"] == {"item": "passage: ", "user": "query: ", "prompt": ""}
    assert told["dense"] == [[32, 48, False, "Tanh"]]


def test_words_of_a_prompt_are_not_explained(embedding_run: Path) -> None:
    from llmrec_peft.explanation.words import worded

    recommender = Recommender.from_pretrained(embedding_run)
    tenant = recommender.loaded
    with tenant.base.inside(tenant.adapter) as (backbone, _):
        text = worded("Silent Window", backbone, 48, "passage: ")
        assert text.words == ("Silent", "Window")
        plain = backbone.tokenize(["passage: Silent Window"], 48)[0]
        assert list(text.ids) == plain


def test_merged_weights_are_still_those_of_an_embedding_model(embedding_run: Path, tmp_path: Path) -> None:
    from llmrec_peft.backbone.load import load_backbone
    from llmrec_peft.recipe.sections import BackboneSection
    from llmrec_peft.workflows.merge_into_base import IntoBase, merge_into_base

    merge_into_base(embedding_run, tmp_path / "merged", IntoBase(precision="fp32", show=False))
    out = tmp_path / "merged" / "base"
    merged = load_backbone(BackboneSection(name=str(out), precision="fp32"), torch.device("cpu"))
    reader = merged.reads(BackboneSection())
    assert (reader.pooling, reader.width, reader.prompts["item"]) == ("cls", 48, "passage: ")
    recommender = Recommender.from_pretrained(embedding_run)
    encoder = reader.encoder(merged.model, list(merged.model.modules())).eval()
    with torch.no_grad():
        vectors = encoder.encode(reader.tokenized(recommender.items.texts[:9], 48))
    torch.testing.assert_close(vectors, recommender.catalogue.vectors[:9], rtol=0, atol=0.1)


def test_users_texts_come_after_the_prompt_of_queries(embedding_run: Path) -> None:
    from llmrec_peft.model.prompting import Prompting
    from llmrec_peft.recipe import Recipe

    recommender = Recommender.from_pretrained(embedding_run)
    view = {"template": "Someone of {{ user.age }}", "max_length": 16}
    plain = recommender.recipe.plain()
    plain["views"]["user"] = view
    tenant = recommender.loaded
    with tenant.base.inside(tenant.adapter) as (backbone, _):
        writer = Prompting.of(Recipe.from_plain(plain), backbone).user
        assert writer is not None
        written = writer.of_users([{}, {"age": 24}]).texts
        assert written == ["", "query: Someone of 24"]
        ids = backbone.tokenize(["query: Someone of 24"], 16)[0]
        assert writer.tokenized(written).ids[-len(ids) :].tolist() == ids

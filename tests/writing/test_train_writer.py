"""Training a writer: held-out reviews become likelier, a cut training goes on exactly, and stock PEFT loads it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from llmrec_peft.backbone.load import load_backbone
from llmrec_peft.errors import InputError
from llmrec_peft.experiment.prepare import prepare
from llmrec_peft.heads.explanation import ExplanationOptions
from llmrec_peft.recipe import load_recipe
from llmrec_peft.recipe.sections import BackboneSection
from llmrec_peft.workflows.train import train
from llmrec_peft.writing import train_writer as module
from llmrec_peft.writing.reviews import read_reviews
from llmrec_peft.writing.writer import Writer

pytestmark = pytest.mark.trains

Recipe = Callable[..., Any]


def test_held_out_reviews_are_likelier_after_than_before_and_than_token_counts(writer_folder: Path) -> None:
    metrics = json.loads((writer_folder / "metrics.json").read_text(encoding="utf-8"))
    for part in ("valid", "test"):
        figures = metrics[part]
        assert figures["after"]["perplexity"] < 0.75 * figures["before"]["perplexity"]
        assert set(figures["baselines"]) == {"token_counts"}
    assert metrics["comparisons"]["after_minus_before"]["by_user"]["high"] < 0
    assert metrics["primary_metric"] == "perplexity"
    assert metrics["parameters"]["adapter"] == 6 * 32
    history = metrics["training"]["history"]
    assert history[-1] < history[0]


def test_folder_holds_an_adapter_that_stock_peft_loads(writer_folder: Path, tiny_decoder: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModel

    names = {path.name for path in writer_folder.iterdir()}
    assert names == {
        *("adapter_config.json", "adapter_model.safetensors", "recipe.yaml", "metrics.json", "manifest.json"),
        "README.md",
    }
    base = AutoModel.from_pretrained(tiny_decoder, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, writer_folder).eval()
    found = model.get_prompt(1)[0]
    stored = load_file(writer_folder / "adapter_model.safetensors")
    torch.testing.assert_close(found, next(iter(stored.values())))
    assert "after_minus" not in (writer_folder / "README.md").read_text(encoding="utf-8")


def test_interrupted_training_goes_on_exactly(
    writer_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = writer_recipe(**{"data.train_size": 64, "training.epochs": 2, "training.checkpoint_seconds": 0.0})
    whole = train(recipe, tmp_path / "whole", show=False)
    run, calls, rated = tmp_path / "cut", 0, module.rated

    def broken(*given: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 4:  # validation and test of the untuned decoder, the first epoch's, and then
            raise KeyboardInterrupt
        return rated(*given, **named)

    monkeypatch.setattr(module, "rated", broken)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, run, show=False)
    monkeypatch.setattr(module, "rated", rated)
    assert not run.exists()
    with pytest.raises(InputError, match="--resume goes on"):
        train(recipe, run, show=False)
    again = train(recipe, run, resume=True, show=False)
    assert again["test"] == whole["test"]
    assert again["training"]["history"] == whole["training"]["history"]
    first, second = (load_file(folder / "adapter_model.safetensors") for folder in (tmp_path / "whole", run))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert train(recipe, run, resume=True, show=False)["test"] == again["test"]


def test_prompts_tell_what_was_known_and_reviews_follow(writer_recipe: Recipe, tiny_decoder: Path) -> None:
    prepared = prepare(writer_recipe())
    backbone = load_backbone(BackboneSection(name=str(tiny_decoder), precision="fp32"), torch.device("cpu"))
    options = ExplanationOptions(history=2, review_tokens=12, sentences=1, evaluated=10)
    reviews = read_reviews(prepared, options, Writer(backbone), 3.0, seed=1)
    assert len(reviews.valid) == len(reviews.test) == 10
    for part in (reviews.train, reviews.valid, reviews.test):
        assert (part.label > 3.0).all()
    numbers = prepared.interactions
    texts = prepared.dataset.interactions["review"]
    told = 0
    for part in (reviews.train, reviews.test):
        for row, example in zip(part.rows.tolist(), reviews.of(part), strict=True):
            prompt = backbone.tokenizer.decode(example.prompt)
            said = backbone.tokenizer.decode(example.answer, skip_special_tokens=True)
            assert texts[int(prepared.used_rows[row])].startswith(said)
            assert said not in prompt
            assert f"Picked: {prepared.titles[numbers.item[row] - 1]}" in prompt
            line = next((line for line in prompt.splitlines() if line.startswith("The reader liked: ")), None)
            if line is None:
                continue
            titles = line.removeprefix("The reader liked: ").split("; ")
            known = np.flatnonzero(
                (numbers.user == numbers.user[row])
                & (numbers.timestamp < numbers.timestamp[row])
                & (numbers.label > 3.0)
                & np.isin(np.arange(len(numbers)), prepared.split.train)
            )
            assert set(titles) <= {prepared.titles[numbers.item[other] - 1] for other in known}
            assert 1 <= len(titles) <= 2
            told += 1
    assert told > 20


def test_reviews_that_are_cut_are_counted(writer_recipe: Recipe, tiny_decoder: Path) -> None:
    prepared = prepare(writer_recipe())
    backbone = load_backbone(BackboneSection(name=str(tiny_decoder), precision="fp32"), torch.device("cpu"))
    writer = Writer(backbone)
    whole, cut = (
        read_reviews(prepared, ExplanationOptions(review_tokens=tokens, sentences=1), writer, 3.0, seed=1)
        for tokens in (24, 6)
    )
    lengths = [len(example.answer) - (example.answer[-1] == writer.end) for example in whole.example.values()]
    longer = sum(length > 6 for length in lengths)
    assert longer > 0
    assert cut.notes == (f"{longer} of {len(lengths)} reviews are longer than 6 tokens (head.review_tokens): cut",)
    assert all(len(example.answer) <= 7 for example in cut.example.values())


def test_what_cannot_be_learnt_is_refused_before_anything_is_loaded(
    writer_recipe: Recipe, tiny_backbone: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="explanation is trained by itself"):
        train(writer_recipe(heads=["rating", "explanation"], head={"name": "rating"}), tmp_path / "run", show=False)
    monkeypatch.setattr("llmrec_peft.experiment.experiment.load_backbone", None)
    recipe = writer_recipe(**{"backbone.name": str(tiny_backbone)})
    with pytest.raises(InputError, match=r"is an encoder and cannot write; set backbone.name=smollm2"):
        train(recipe, tmp_path / "run", show=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": {"reader": "movies", "path": "demo"}}, "has no reviews to learn to write from"),
        ({"data.liked_above": 5.0}, "the training part of made-up magazines has no reviews of liked items"),
        ({"head.instruction": "why " * 490}, "over the window of 512: lower head.about_words"),
    ],
)
def test_unusable_reviews_are_refused_in_one_line(
    changes: dict[str, Any], said: str, writer_recipe: Recipe, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=said):
        train(writer_recipe(**changes), tmp_path / "run", show=False)
    assert list(tmp_path.iterdir()) == []


def test_example_recipe_is_valid() -> None:
    path = Path(__file__).resolve().parents[2] / "examples" / "magazine-writer.yaml"
    recipe = load_recipe(str(path))
    assert recipe.head.name == "explanation"
    assert module.is_writing(recipe)

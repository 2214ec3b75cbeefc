"""Answers: with which words a decoder answers a prompt is the recipe's choice, such as 是 and 否 in Chinese."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from quick_runs import Trained
from safetensors.torch import load_file

from llmrec_peft.backbone.load import load_backbone
from llmrec_peft.backbone.output_embedding import word_rows
from llmrec_peft.errors import InputError
from llmrec_peft.recipe import load_recipe
from llmrec_peft.recipe.sections import BackboneSection

PROMPT = (
    "用户喜欢：{% for one in history if one.liked %}《{{ one.title }}》{% endfor %}。会喜欢《{{ item.title }}》吗？"
)
ASKED = {
    "head.feed": "prompt",
    "views.prompt.template": PROMPT,
    "views.prompt.max_length": 96,
    "data.expand_histories": False,
    "data.train_size": 64,
    "adapter.method": "lora",
    "signals": {"collaborative": {}},
    "evaluation.collaborative_only": False,
    "backbone.pooling": "last-token",
}


@pytest.mark.parametrize("answers", [("Yes", "No"), ("是", "否")])
def test_a_run_compares_the_words_that_its_recipe_names(
    answers: tuple[str, str], quick_run: Trained, speaking_decoder: Path
) -> None:
    run = quick_run("tallrec-movie", {**ASKED, "backbone.name": str(speaking_decoder), "head.answers": list(answers)})
    backbone = load_backbone(BackboneSection(name=str(speaking_decoder), precision="fp32"), torch.device("cpu"))
    yes, no = word_rows(backbone, list(answers))
    stored = next(value for name, value in load_file(run / "head.safetensors").items() if "yes_minus_no" in name)
    torch.testing.assert_close(stored.flatten(), (yes - no).cpu())


def test_answers_that_begin_alike_are_refused(quick_run: Trained, speaking_decoder: Path) -> None:
    with pytest.raises(InputError, match="its tokenizer starts 是 and 是的 alike"):
        quick_run("tallrec-movie", {**ASKED, "backbone.name": str(speaking_decoder), "head.answers": ["是", "是的"]})


def test_two_answers_are_needed() -> None:
    with pytest.raises(InputError, match=r"head\.answers"):
        load_recipe("tallrec-movie", changes={"head.answers": ["是"]})

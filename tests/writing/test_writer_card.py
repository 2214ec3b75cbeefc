"""Card of a writer's folder: its figures, the licences of its parts, and words of others as words."""

from __future__ import annotations

from typing import Any

import yaml

from llmrec_peft.recipe import load_recipe
from llmrec_peft.writing.writer_report import writer_card

RECIPE = load_recipe("movies", changes={"data.path": "ml", "adapter.method": "lora"})


def metrics(name: str) -> dict[str, Any]:
    part = {
        "before": {"perplexity": 60.0},
        "after": {"perplexity": 20.125},
        "baselines": {"token_counts": {"perplexity": 90.0}},
    }
    return {
        "base": {"name": name, "weights_sha256": "0" * 64, "compute": "bf16"},
        "data": {"name": name, "train": 100, "licence": "Research use."},
        "parameters": {"adapter": 1234},
        **{"valid": part, "test": part},
    }


def test_figures_and_licences_are_shown() -> None:
    card = writer_card(RECIPE, metrics("reviews"))
    assert "| test | 90.00 | 60.00 | 20.12 |" in card
    assert "(1,234 parameters)" in card
    assert "| training data | Research use. | reader movies |" in card


def test_words_of_others_stay_words() -> None:
    card = writer_card(RECIPE, metrics("x\n---\ntags: [owned]\n# <script>"))
    front, body = card.split("---\n", 2)[1:]
    assert yaml.safe_load(front)["tags"][-1] == "lora"
    assert "\n# <script>" not in body
    assert "\\<script\\>" in body

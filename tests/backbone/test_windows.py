"""Windows: families whose positions begin behind the padding's read fewer tokens than their tables have rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_base import make_base

from llmrec_peft.backbone.load import load_backbone
from llmrec_peft.errors import InputError
from llmrec_peft.footprint.rehearsal import bare_on_meta
from llmrec_peft.recipe.sections import BackboneSection

ROWS = 32
RESERVED: dict[str, tuple[dict[str, Any], int]] = {
    "roberta": ({"pad_token_id": 1}, 30),
    "camembert": ({"pad_token_id": 1}, 30),
    "xlm-roberta": ({"pad_token_id": 1}, 30),
    "roberta-prelayernorm": ({"pad_token_id": 3}, 28),
    "data2vec-text": ({"pad_token_id": 1}, 30),
    "mpnet": ({"pad_token_id": 1}, 30),
    "longformer": ({"pad_token_id": 1, "attention_window": [4, 4]}, 30),
    "bert": ({}, 32),
    "distilbert": ({"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24}, 32),
    "llama": ({}, 32),
}


@pytest.mark.parametrize("family", RESERVED)
def test_window_is_the_longest_text_that_passes(family: str, tmp_path: Path) -> None:
    fields, window = RESERVED[family]
    folder = make_base(tmp_path / family, family, **fields)
    backbone = load_backbone(BackboneSection(name=str(folder), precision="fp32"), torch.device("cpu"))
    assert backbone.window == bare_on_meta(folder, torch.float32).window == window
    ids = torch.full((1, window), 7)
    states = backbone.model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
    assert states.shape == (1, window, 16)
    long = "silent " * 100
    assert len(backbone.tokenize([long], window)[0]) == window
    if family != "llama":  # rotations have no table that would end
        with pytest.raises(InputError, match=f"over the {window} that"):
            backbone.tokenize([long], window + 1)
        more = torch.full((1, window + 1), 7)
        with pytest.raises((IndexError, RuntimeError)):
            backbone.model(input_ids=more, attention_mask=torch.ones_like(more))

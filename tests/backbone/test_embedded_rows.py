"""Rows of the input embedding, against which token ids are held, also where a model does not name its embedding."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from llmrec_peft.backbone.tokenizer import embedded_rows


class Silent(torch.nn.Module):
    """A model for which transformers knows no input embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(get_text_config=lambda: SimpleNamespace(vocab_size=37))

    def get_input_embeddings(self) -> Any:
        raise NotImplementedError


def test_rows_are_those_of_the_embedding() -> None:
    assert embedded_rows(SimpleNamespace(get_input_embeddings=lambda: torch.nn.Embedding(41, 2))) == 41


def test_a_model_that_names_no_embedding_is_held_to_its_configuration() -> None:
    assert embedded_rows(Silent()) == 37

"""A base that loads in milliseconds: a seeded BERT or Llama of two layers with a WordPiece tokenizer of 40 tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

WORDS = "silent window heat toy story drama crime film a the of in and by sea long night river old new".split()
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SIZES: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 32,
}
TOKENS = 40


def make_base(folder: Path, model_type: str = "bert", **config: Any) -> Path:
    """Write the base; the bytes are the same every time.

    Args:
        folder: Folder to write to; created if it does not exist.
        model_type: Architecture.
        config: Further fields of its configuration.
    """
    from transformers import AutoConfig, AutoModel

    made = AutoConfig.for_model(model_type, **{**SIZES, "vocab_size": TOKENS, "pad_token_id": 0, **config})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModel.from_config(made, dtype=torch.float32)
        for parameter in model.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    write_tokenizer(folder)
    return folder


def write_tokenizer(folder: Path, words: int = TOKENS) -> None:
    """Write a WordPiece tokenizer of so many tokens."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    names = [*SPECIAL, *WORDS, *(f"w{number}" for number in range(words))][:words]
    tokenizer = Tokenizer(models.WordPiece({name: at for at, name in enumerate(names)}, unk_token=SPECIAL[1]))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    named = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "mask_token": "[MASK]", **named}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")


def changed_json(path: Path, **values: Any) -> None:
    """Change fields of a JSON file; None removes one."""
    found = {**json.loads(path.read_text(encoding="utf-8")), **values}
    kept = {key: value for key, value in found.items() if values.get(key, 0) is not None}
    path.write_text(json.dumps(kept), encoding="utf-8")

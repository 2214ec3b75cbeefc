"""Tiny backbones: seeded random models of many architectures with a real tokenizer, as local folders."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec_peft.backbone.aliases.minilm import MINILM
from llmrec_peft.backbone.aliases.smollm2 import SMOLLM2
from llmrec_peft.backbone.locate import locate
from llmrec_peft.backbone.quiet import quiet_transformers
from llmrec_peft.errors import InputError, nearest

if TYPE_CHECKING:
    from transformers import PretrainedConfig

WIDTH, LAYERS, HEADS, KV_HEADS, INNER, POSITIONS = 32, 4, 4, 2, 64, 128
_SEED = 0
_SPREAD = 0.2
"""Standard deviation of the weights: at a real model's 0.02, states of so narrow a model hardly depend on the text."""

_USUAL = {
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": INNER,
    "max_position_embeddings": POSITIONS,
}
_GROUPED = {**_USUAL, "num_key_value_heads": KV_HEADS}


@dataclass(frozen=True)
class TinyFamily:
    """Settings of a tiny model of one architecture.

    Attributes:
        model_type: Architecture, as transformers names it.
        sizes: Fields of its configuration.
        tokenizer: ``minilm`` or ``smollm2``; the latter only if its package is installed, else the former.
    """

    model_type: str
    sizes: dict[str, Any] = field(default_factory=lambda: dict(_GROUPED))
    tokenizer: str = "minilm"


FAMILIES: dict[str, TinyFamily] = {
    "tiny-bert": TinyFamily("bert", _USUAL),
    "tiny-roberta": TinyFamily("roberta", {**_USUAL, "max_position_embeddings": POSITIONS + 2}),
    "tiny-distilbert": TinyFamily(
        "distilbert",
        {"dim": WIDTH, "n_layers": LAYERS, "n_heads": HEADS, "hidden_dim": INNER, "max_position_embeddings": POSITIONS},
    ),
    "tiny-modernbert": TinyFamily("modernbert", {**_USUAL, "global_attn_every_n_layers": 2, "local_attention": 8}),
    "tiny-llama": TinyFamily("llama", tokenizer="smollm2"),
    "tiny-qwen2": TinyFamily("qwen2"),
    "tiny-mistral": TinyFamily("mistral", {**_GROUPED, "sliding_window": 16}),
    "tiny-gemma": TinyFamily("gemma", {**_GROUPED, "head_dim": WIDTH // HEADS}),
    "tiny-gpt2": TinyFamily(
        "gpt2", {"n_embd": WIDTH, "n_layer": LAYERS, "n_head": HEADS, "n_inner": INNER, "n_positions": POSITIONS}
    ),
}


def make_tiny(name: str, folder: Path) -> Path:
    """Write a tiny random model and its tokenizer; the bytes are the same every time.

    Args:
        name: One of `FAMILIES`.
        folder: Folder to write to; created if it does not exist.

    Returns:
        The folder, for ``backbone.name``.

    Raises:
        InputError: For an unknown name, or if no tokenizer is installed.
    """
    import torch
    from transformers import AutoConfig, AutoModel

    if name not in FAMILIES:
        raise InputError(f"{name!r} is no tiny backbone: {nearest(name, FAMILIES)}")
    family = FAMILIES[name]
    folder.mkdir(parents=True, exist_ok=True)
    pad, vocabulary = _write_tokenizer(family.tokenizer, folder)
    config: PretrainedConfig = AutoConfig.for_model(
        family.model_type,
        **family.sizes,
        vocab_size=vocabulary,
        pad_token_id=pad,
        **dict.fromkeys(("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id")),
        initializer_range=_SPREAD,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        model = AutoModel.from_config(config, dtype=torch.float32, trust_remote_code=False)
        for parameter in model.parameters():  # some architectures scale their initial values, or draw them in parts
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=_SPREAD)
    with quiet_transformers():
        model.save_pretrained(folder)
    return folder


def _write_tokenizer(name: str, folder: Path) -> tuple[int, int]:
    """Write a tokenizer and return its padding id and the size of its vocabulary."""
    from transformers import AutoTokenizer

    alias = "smollm2" if name == "smollm2" and SMOLLM2.embedded() is not None else "minilm"
    if alias == "minilm":
        source = MINILM.embedded()
        if source is None:
            raise InputError(f"tiny backbones take MiniLM's tokenizer: {MINILM.install}")
    else:
        source = locate("smollm2").folder
    for file in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
        if (source / file).is_file():
            shutil.copyfile(source / file, folder / file)
    tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    return int(tokenizer.pad_token_id), len(tokenizer)

"""Tiny seeded embedding models, saved by sentence-transformers itself, so that their layouts are real."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

TEXTS = (
    "Heat (1995). Genres: Action, Crime, Thriller.",
    "Toy Story",
    "A very long description of a film in which nothing happens for a very long time, and then it ends at sea.",
    "Il Postino (1994). Genres: Drama, Romance.",
    "",
    "BABE",
)
QWEN_QUERY = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"
E5_PROMPTS = {"query": "query: ", "passage": "passage: "}
GEMMA_PROMPTS = {"query": "task: search result | query: ", "document": "title: none | text: "}


def save_bert(bert: Path, folder: Path, **fields: Any) -> Path:
    """Save an embedding model over a BERT: `pooling` or `pooling_config`, `normalize`, `dense`, lengths, prompts."""
    return _save(bert, folder, **fields)


def save_decoder(folder: Path, gemma: bool = False, **fields: Any) -> Path:
    """Save an embedding model over a tiny Qwen3, or a Gemma that reads both ways, whose tokenizer ends each text."""
    from transformers import Gemma3TextConfig, Gemma3TextModel, Qwen3Config, Qwen3Model

    sizes = {
        "vocab_size": 160,
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "intermediate_size": 64,
        "max_position_embeddings": 128,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "bos_token_id": 2,
    }
    torch.manual_seed(3)
    plain = folder.with_name(folder.name + "-transformer")
    model = (
        Gemma3TextModel(Gemma3TextConfig(**sizes, use_bidirectional_attention=True))
        if gemma
        else Qwen3Model(Qwen3Config(**sizes))
    )
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.2)
    model.save_pretrained(plain)
    _tokenizer(begins=gemma).save_pretrained(plain)
    return _save(plain, folder, **fields)


def _tokenizer(begins: bool) -> Any:
    """A byte-level tokenizer that pads on the left and ends each text, as Qwen3-Embedding's does."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_next")
    tokenizer.decoder = decoders.Fuse()
    special = ["<pad>", "<eos>", "<bos>"]
    trainer = trainers.BpeTrainer(vocab_size=150, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator([*TEXTS, QWEN_QUERY, *GEMMA_PROMPTS.values()], trainer)
    single = "<bos> $A <eos>" if begins else "$A <eos>"
    tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=[("<bos>", 2), ("<eos>", 1)])
    tokens = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, padding_side="left", **tokens)


def _save(
    plain: Path,
    folder: Path,
    pooling: Any = "mean",
    include_prompt: bool = True,
    normalize: bool = True,
    dense: tuple[tuple[int, bool, str], ...] = (),
    max_length: int = 24,
    prompts: dict[str, str] | None = None,
    default_prompt: str | None = None,
) -> Path:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer

    transformer = Transformer(str(plain), max_seq_length=max_length)
    width = transformer.get_embedding_dimension()
    modules: list[Any] = [transformer, Pooling(width, pooling_mode=pooling, include_prompt=include_prompt)]
    torch.manual_seed(5)
    for outputs, bias, activation in dense:
        modules.append(Dense(width, outputs, bias=bias, activation_function=getattr(torch.nn, activation)()))
        width = outputs
    modules += [Normalize()] if normalize else []
    model = SentenceTransformer(modules=modules, prompts=prompts, default_prompt_name=default_prompt, device="cpu")
    model.save_pretrained(str(folder), create_model_card=False)
    return folder


def published(
    folder: Path, texts: tuple[str, ...], change: Callable[[Any], None] | None = None, **asked: Any
) -> torch.Tensor:
    """Return what sentence-transformers makes of texts, after its transformer was changed in place."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    if change is not None:
        change(model[0].model)
    return torch.from_numpy(model.encode(list(texts), convert_to_numpy=True, batch_size=3, **asked))

"""Output embedding: the matrix that a decoder multiplies with its last state to choose the next token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmrec_peft.backbone.base_weights import weight_files
from llmrec_peft.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from llmrec_peft.backbone.load import Backbone

NAMES = ("lm_head.weight", "embed_out.weight", "output.weight")
"""Names of the matrix in several architectures, if it is not the input embedding itself."""


def output_table(backbone: Backbone) -> Tensor:
    """Return the whole output embedding in the model's number format, as text generation needs it.

    Args:
        backbone: A decoder.

    Returns:
        [vocabulary, width]; the input embedding's own memory if the two are tied.

    Raises:
        InputError: For an encoder, or a model whose files contain no such matrix.
    """
    embedding = backbone.model.get_input_embeddings().weight.detach()  # type: ignore[operator]
    if backbone.kind == "decoder" and getattr(backbone.model.config, "tie_word_embeddings", False):
        tied: Tensor = embedding
        return tied
    table = output_rows(backbone, list(range(len(embedding))))
    return table.to(embedding.dtype)


def output_rows(backbone: Backbone, ids: list[int]) -> Tensor:
    """Return rows of the output embedding, read from the weight files if it is not tied to the input's.

    The bare transformer in memory has no output embedding; in most small models it is the input embedding.

    Args:
        backbone: A decoder.
        ids: Token ids.

    Returns:
        float32 [len(ids), width].

    Raises:
        InputError: For an encoder, or a model whose files contain no such matrix.
    """
    import torch

    config: Any = backbone.model.config
    if backbone.kind != "decoder":
        raise InputError(f"backbone {backbone.identity.name} is an encoder: it does not choose words")
    if getattr(config, "tie_word_embeddings", False):
        table = backbone.model.get_input_embeddings().weight  # type: ignore[operator]
        rows: Tensor = table.detach()[torch.tensor(ids, device=table.device)].float()
        return rows
    return _stored_rows(backbone, ids).to(backbone.device)


def word_rows(backbone: Backbone, words: list[str]) -> Tensor:
    """Return rows of the output embedding for the first token of some words, float32 [len(words), width].

    Raises:
        InputError: If the model has no output embedding (encoders), or two words start with the same token.
    """
    ids = [backbone.tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in words]
    if len(set(ids)) < len(ids):
        raise InputError(f"backbone {backbone.identity.name}: its tokenizer starts {' and '.join(words)} alike")
    return output_rows(backbone, ids)


def _stored_rows(backbone: Backbone, ids: list[int]) -> Tensor:
    import torch
    from safetensors import safe_open

    expected = [int(size) for size in backbone.model.get_input_embeddings().weight.shape]  # type: ignore[operator]
    for file in weight_files(backbone.folder) if backbone.folder is not None else ():
        with safe_open(file, framework="pt") as tensors:
            for name in NAMES:
                if name in tensors.keys():  # noqa: SIM118 - safetensors' file is no mapping
                    rows = tensors.get_slice(name)
                    if list(rows.get_shape()) != expected:
                        raise InputError(
                            f"backbone {backbone.identity.name}: {name} has shape {rows.get_shape()}, its input"
                            f" embedding {expected}"
                        )
                    if ids == list(range(rows.get_shape()[0])):
                        whole: Tensor = tensors.get_tensor(name).float()
                        return whole
                    return torch.cat([rows[index : index + 1] for index in ids]).float()
    raise InputError(f"backbone {backbone.identity.name}: no output embedding in its files ({', '.join(NAMES)})")

"""Model folder: a language model with changed weights as a folder that transformers and sentence-transformers load."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec_peft.backbone.base_files import CONFIG, read_config
from llmrec_peft.backbone.embedding_files import write_embedding_model
from llmrec_peft.backbone.embedding_model import LONGEST, EmbeddingModel
from llmrec_peft.backbone.output_embedding import output_table
from llmrec_peft.backbone.quiet import quiet_transformers

if TYPE_CHECKING:
    from torch import nn

    from llmrec_peft.backbone.load import Backbone
    from llmrec_peft.backbone.text_reader import TextReader

_PROMPT_NAMES = {"item": "document", "user": "query"}
"""Names under which sentence-transformers looks for the prompts of the two kinds of texts."""


def write_model_folder(folder: Path, model: nn.Module, backbone: Backbone) -> None:
    """Write a model's weights, configuration and tokenizer.

    A decoder whose files name a class with an output embedding keeps that embedding, so that it still chooses words.

    Args:
        folder: Empty folder to fill.
        model: Bare transformer with changed weights, unquantized.
        backbone: The base that it was made from.
    """
    if backbone.kind == "decoder":
        model.config.use_cache = True  # type: ignore[union-attr] # switched off for training alone
    whole: Any = _with_output_embedding(model, backbone)
    with quiet_transformers():
        whole.save_pretrained(folder)
        backbone.tokenizer.save_pretrained(folder)


def write_reading(folder: Path, backbone: Backbone, reader: TextReader, max_length: int | None) -> None:
    """Write how a recipe reads texts beside the model's weights, as the files of a sentence-transformers folder.

    Args:
        folder: Folder of the model.
        backbone: The base that the model was made from.
        reader: How the recipe reads texts.
        max_length: Tokens of a text at most; None for what the model can read.
    """
    said = backbone.embedding_model or EmbeddingModel()
    length = min(backbone.window, reader.cap or backbone.window, max_length or backbone.window)
    prompts = {name: reader.prompts[view] for view, name in _PROMPT_NAMES.items() if reader.prompts[view]}
    model = replace(
        said,
        pooling=reader.pooling,
        normalize=reader.normalize,
        prompts=prompts,
        default_prompt=_PROMPT_NAMES["item"] if reader.prompts["item"] else None,
        max_length=length if length <= LONGEST else None,
        files=(),
    )
    write_embedding_model(folder, model, backbone.width, backbone.dense)


def _with_output_embedding(model: nn.Module, backbone: Backbone) -> nn.Module:
    """Return a decoder inside the class that its files name, with the output embedding; other models as they are."""
    import torch
    from torch import nn
    from transformers import AutoModelForCausalLM

    stated = read_config(backbone.folder / CONFIG) if backbone.folder is not None else {}
    named = stated.get("architectures")
    if backbone.kind != "decoder" or not isinstance(named, list) or not str(named[0]).endswith("ForCausalLM"):
        return model
    table = output_table(backbone)
    with torch.device("meta"):
        whole: Any = AutoModelForCausalLM.from_config(model.config, trust_remote_code=False)
    setattr(whole, whole.base_model_prefix, model)
    whole.get_output_embeddings().weight = nn.Parameter(table.to(next(model.parameters()).dtype), requires_grad=False)
    whole.tie_weights()
    absent = any(tensor.is_meta for tensor in whole.parameters())  # such as a bias of the output embedding
    return model if absent else whole

"""Facts: what a model's configuration says, before any weight is read; without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

_ENCODERS = frozenset(
    "albert bert big_bird camembert convbert data2vec-text deberta deberta-v2 distilbert electra ernie esm eurobert"
    " fnet ibert longformer luke megatron-bert mobilebert modernbert mpnet nomic_bert nystromformer rembert roberta"
    " roberta-prelayernorm roformer squeezebert xlm xlm-roberta xlm-roberta-xl xmod yoso".split()
)
_BIASED = frozenset("bloom falcon gpt2 gpt_neox gptj opt phi qwen2".split())
"""Decoders whose linear layers have biases although their configuration has no field that says so."""


@dataclass(frozen=True)
class BackboneFacts:
    """What is known of a model from its ``config.json``.

    Attributes:
        model_type: Name of the architecture, such as ``bert`` or ``llama``.
        kind: Whether tokens attend to later tokens (encoder) or not (decoder).
        width: Size of a token's state.
        depth: Number of transformer layers.
        biased: Whether any linear layer or norm inside the layers has a bias.
        bidirectional: Whether a decoder's configuration lets tokens attend to later ones all the same.
    """

    model_type: str
    kind: Literal["encoder", "decoder"]
    width: int
    depth: int
    biased: bool
    bidirectional: bool = False


def facts_of_config(config: Mapping[str, Any]) -> BackboneFacts | None:
    """Read the facts from a parsed ``config.json``; None if a needed field is missing.

    >>> facts_of_config({"model_type": "llama", "hidden_size": 576, "num_hidden_layers": 30}).biased
    False
    """
    model_type = str(config.get("model_type", ""))
    width = config.get("hidden_size", config.get("n_embd", config.get("dim")))
    depth = config.get("num_hidden_layers", config.get("n_layer", config.get("n_layers")))
    if not model_type or not isinstance(width, int) or not isinstance(depth, int):
        return None
    encoder = model_type in _ENCODERS and not config.get("is_decoder", False)
    encoder = encoder or config.get("use_bidirectional_attention") is True  # EmbeddingGemma: a decoder made an encoder
    named = [config[key] for key in ("attention_bias", "mlp_bias", "norm_bias", "bias") if key in config]
    if model_type == "modernbert":
        biased = any(bool(flag) for flag in named)
    elif encoder or model_type in _BIASED:
        biased = True
    else:
        biased = any(bool(flag) for flag in named)
    bidirectional = not encoder and (config.get("use_bidirectional_attention") or config.get("is_causal") is False)
    return BackboneFacts(model_type, "encoder" if encoder else "decoder", width, depth, biased, bool(bidirectional))

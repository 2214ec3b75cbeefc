"""Embedding files: how texts become vectors, written as the files of a sentence-transformers folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec_peft.backbone.embedding_model import FLAGS, MODULES, POOLINGS, EmbeddingModel
from llmrec_peft.backbone.tensor_files import write_tensors
from llmrec_peft.identity import __version__

if TYPE_CHECKING:
    from llmrec_peft.backbone.dense import DenseLayers

_TYPE = "sentence_transformers.models."
"""Before the names of modules: the spelling that all releases of sentence-transformers read."""


def write_embedding_model(folder: Path, model: EmbeddingModel, width: int, dense: DenseLayers | None) -> None:
    """Write the files that `read_embedding_model` and sentence-transformers read, beside a transformer's weights.

    Args:
        folder: Folder of the transformer.
        model: What the files say; its Dense layers get folders of their own here.
        width: Width of the transformer's states.
        dense: The Dense layers' weights; None if there are none.
    """
    modules = [("", "Transformer"), ("1_Pooling", "Pooling")]
    modules += [(f"{number}_Dense", "Dense") for number in range(2, 2 + len(model.dense))]
    if model.normalize:
        modules.append((f"{len(modules)}_Normalize", "Normalize"))
    listed = [
        {"idx": at, "name": str(at), "path": path, "type": _TYPE + kind} for at, (path, kind) in enumerate(modules)
    ]
    _write(folder / MODULES, listed)
    _write(folder / "1_Pooling" / "config.json", _pooling(model, width))
    if dense is not None:
        paths = [path for path, kind in modules if kind == "Dense"]
        for path, facts, linear in zip(paths, model.dense, dense.linear, strict=True):
            where = "linear" if facts.activation == "Identity" else "activation"
            sizes = {"in_features": facts.inputs, "out_features": facts.outputs, "bias": facts.bias}
            activation = f"torch.nn.modules.{where}.{facts.activation}"
            _write(folder / path / "config.json", {**sizes, "activation_function": activation})
            weights = {f"linear.{name}": tensor for name, tensor in linear.state_dict().items()}
            write_tensors(folder / path / "model.safetensors", weights)
    settings = {"max_seq_length": model.max_length, "do_lower_case": model.lower_case}
    _write(folder / "sentence_bert_config.json", settings)
    prompts = {"prompts": dict(model.prompts), "default_prompt_name": model.default_prompt}
    said = {"__version__": {"llmrec-peft": __version__}, **prompts, "similarity_fn_name": "cosine"}
    _write(folder / "config_sentence_transformers.json", said)


def _pooling(model: EmbeddingModel, width: int) -> dict[str, Any]:
    own = next(name for name, ours in POOLINGS.items() if ours == model.pooling)
    flags = {flag: name == own for flag, name in FLAGS.items()}
    return {"word_embedding_dimension": width, **flags, "include_prompt": model.include_prompt}


def _write(path: Path, values: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

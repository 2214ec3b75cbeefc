"""What `llmrec memory` computes for shapes that nobody here has run: Llama-2-7B and Llama-3-8B. No weights are read.

python benchmarks/footprint_on_paper.py
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from llmrec_peft.footprint.check import footprint_of
from llmrec_peft.recipe import load_recipe

SHAPES = {
    "7B": {"hidden_size": 4096, "num_key_value_heads": 32, "intermediate_size": 11008, "vocab_size": 32000},
    "8B": {"hidden_size": 4096, "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256},
}
COMMON = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
GIB = 2**30


def main() -> None:
    """Print the table of docs/footprint.md."""
    print("| shape | base in | recomputed | base | step | encoding | peak of all phases |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for name, shape in SHAPES.items():
            (Path(folder) / name).mkdir()
            (Path(folder) / name / "config.json").write_text(json.dumps({**COMMON, **shape}), encoding="utf-8")
            for quantization in ("none", "nf4"):
                for recomputed in (False, True):
                    print(_row(name, Path(folder) / name, quantization, recomputed))


def _row(name: str, folder: Path, quantization: str, recomputed: bool) -> str:
    """LoRA rank 16 on queries and values of all layers, steps of 4 texts of 512 tokens."""
    changes = {
        "backbone.name": str(folder),
        "backbone.precision": "bf16",
        "backbone.quantization": quantization,
        "adapter": {"method": "lora", "rank": 16, "layers": "all"},
        "views.item.max_length": 512,
        "training.items_per_batch": 4,
        "training.gradient_checkpointing": recomputed,
    }
    found = footprint_of(load_recipe("movies", changes=changes), 1000, 1000, cuda=True)
    phases = {phase: sum(parts.values()) for phase, parts in found.phases.items()}
    figures = (found.parts["base"], phases["step"], phases["encoding"], found.total)
    base = "bf16" if quantization == "none" else quantization
    cells = " | ".join(f"{figure / GIB:.2f}" for figure in figures)
    return f"| {name} | {base} | {'yes' if recomputed else 'no'} | {cells} |"


if __name__ == "__main__":
    main()

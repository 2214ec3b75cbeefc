"""GGUF: llama.cpp's converter of LoRA knows the names under which a decoder's adapter is saved."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from llmrec_adapters.lora import Lora, LoraOptions
from safetensors.torch import load_file
from tiny_base import make_base

from llmrec_peft.backbone.load import load_backbone
from llmrec_peft.recipe.sections import BackboneSection

gguf = pytest.importorskip("gguf")
PARTS = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")


def test_names_of_a_saved_lora_are_those_of_ggufs_name_map(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", "llama", num_key_value_heads=2)
    backbone = load_backbone(BackboneSection(name=str(base), precision="fp32"), torch.device("cpu"))
    method = Lora(LoraOptions.model_validate({"targets": "all-linear", "rank": 2}))
    (tmp_path / "adapter").mkdir()
    method.save(method.attach(backbone), backbone, tmp_path / "adapter")
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 2)
    found = set()
    # as `get_base_tensor_name` of convert_lora_to_gguf.py does
    for name in load_file(tmp_path / "adapter" / "adapter_model.safetensors"):
        plain = name.replace("base_model.model.", "")
        for end in (".lora_A.weight", ".lora_B.weight"):
            plain = plain.replace(end, ".weight")
        found.add(names.get_name(plain, try_suffixes=(".weight",)))
    assert found == {f"blk.{layer}.{part}.weight" for layer in (0, 1) for part in PARTS}

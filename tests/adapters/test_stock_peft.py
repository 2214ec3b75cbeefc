"""A run folder in the hands of stock peft: it opens, and a script of ten lines reproduces the item vectors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import torch

from llmrec_peft.backbone.aliases.minilm import MINILM

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "load_with_stock_peft.py"


def test_script_with_stock_peft_reproduces_item_vectors(minilm_run: Path) -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, minilm_run, str(MINILM.embedded())],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1e-3


def test_adapter_matters_to_the_item_vectors_that_the_script_reproduces(minilm_run: Path) -> None:
    """Without it the test above could pass on a bare base model."""
    import pyarrow.parquet as pq
    from safetensors.torch import load_file

    from llmrec_peft.backbone.load import load_backbone
    from llmrec_peft.backbone.pooling import pool
    from llmrec_peft.recipe.sections import BackboneSection

    backbone = load_backbone(BackboneSection(name="minilm", precision="fp32"), torch.device("cpu"))
    texts = pq.read_table(minilm_run / "items.parquet")["text"].to_pylist()
    encoded = backbone.tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        states = backbone.model(**encoded).last_hidden_state
    bare = torch.nn.functional.normalize(pool(states, encoded["attention_mask"], "mean"), dim=-1)
    stored = load_file(minilm_run / "item_vectors.safetensors")["text"][1:]
    assert float((bare - stored).abs().max()) > 5e-3


def test_peft_opens_the_run_folder_itself(minilm_run: Path) -> None:
    from peft import PeftConfig, PeftModel
    from transformers import AutoModel

    config = PeftConfig.from_pretrained(minilm_run)
    assert config.base_model_name_or_path == MINILM.hub_id
    assert config.revision == MINILM.revision
    model = PeftModel.from_pretrained(AutoModel.from_pretrained(MINILM.embedded()), minilm_run)
    assert any("lora_A" in name for name, _ in model.named_parameters())


def test_run_folder_holds_safetensors_alone_and_no_path_of_this_machine(minilm_run: Path) -> None:
    names = {path.name for path in minilm_run.rglob("*") if path.is_file()}
    assert not {name for name in names if name.endswith((".bin", ".pt", ".pth", ".pkl", ".ckpt"))}
    config = (minilm_run / "adapter_config.json").read_text(encoding="utf-8")
    assert str(MINILM.embedded()) not in config
    manifest = json.loads((minilm_run / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["base"]["name"] == MINILM.hub_id
    assert manifest["base"]["weights_sha256"] == MINILM.weights["model.safetensors"]

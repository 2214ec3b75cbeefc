"""Load a run's adapter with stock transformers and peft, and hold the vectors it gives against the stored ones.

Usage: python examples/load_with_stock_peft.py RUN BASE, where BASE is the folder (or Hub id) of the base model.
For a run in fp32 that normalizes mean-pooled states; prints the largest absolute difference.
"""

import sys

import pyarrow.parquet
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer

run, base = sys.argv[1:3]
model = PeftModel.from_pretrained(AutoModel.from_pretrained(base), run).eval()
texts = pyarrow.parquet.read_table(f"{run}/items.parquet")["text"].to_pylist()
tokens = AutoTokenizer.from_pretrained(base)(texts, padding=True, truncation=True, max_length=48, return_tensors="pt")
with torch.no_grad():
    states = model(**tokens).last_hidden_state
mask = tokens["attention_mask"].unsqueeze(-1)
vectors = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)
print(float((vectors - load_file(f"{run}/item_vectors.safetensors")["text"][1:]).abs().max()))

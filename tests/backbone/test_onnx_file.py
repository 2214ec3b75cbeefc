"""ONNX files: vectors of the graph are the model's, whatever the batch; what cannot be one graph is refused."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_base import make_base
from torch import nn

from llmrec_peft.backbone.encoder import Reading
from llmrec_peft.backbone.onnx_file import onnx_vectors, require_onnx, write_onnx
from llmrec_peft.errors import InputError

for needed in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(needed)


class Counting(nn.Module):
    """A model whose code takes the number of texts for a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(40, 8)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> object:
        from types import SimpleNamespace

        texts = int(input_ids.shape[0])
        return SimpleNamespace(last_hidden_state=self.table(input_ids).view(texts, -1, 8))


@pytest.mark.trains
def test_graph_gives_the_models_vectors_for_any_batch(tmp_path: Path) -> None:
    from transformers import AutoModel

    model = AutoModel.from_pretrained(make_base(tmp_path / "base"), add_pooling_layer=False, dtype=torch.float32).eval()
    torch.manual_seed(0)
    dense = nn.Sequential(nn.Linear(16, 24), nn.Tanh())
    reading = Reading("weighted-mean", True, dense, skipped=3)
    write_onnx(tmp_path / "model.onnx", model, reading, 32, "it")
    rng = np.random.default_rng(0)
    for texts, tokens in ((1, 1), (1, 2), (2, 3), (5, 32)):
        ids = rng.integers(5, 40, (texts, tokens))
        mask = (np.arange(tokens)[None] < rng.integers(1, tokens + 1, (texts, 1))).astype(np.int64)
        given = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
        with torch.no_grad():
            expected = reading.vectors(model(**given).last_hidden_state, given["attention_mask"])
        found = onnx_vectors(tmp_path / "model.onnx", ids, mask)
        assert found.shape == (texts, 24)
        assert np.abs(found - expected.numpy()).max() < 1e-5


@pytest.mark.trains
def test_code_that_fixes_the_number_of_texts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^it cannot be traced for ONNX"):
        write_onnx(tmp_path / "model.onnx", Counting(), Reading("mean", True), 32, "it")


def test_more_weights_than_a_file_holds_are_refused(tmp_path: Path) -> None:
    with torch.device("meta"):
        large = nn.Linear(1 << 15, 1 << 14)
    with pytest.raises(InputError, match=r"it: 2\.0 GiB of weights are more than one ONNX file can hold"):
        write_onnx(tmp_path / "model.onnx", large, Reading("mean", True), 32, "it")
    assert not list(tmp_path.iterdir())


def test_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else found(name))
    with pytest.raises(InputError, match=r"needs onnxscript: pip install 'llmrec-peft\[onnx\]'"):
        require_onnx()

"""ONNX file: a text encoder with its pooling as one graph from token ids to vectors, written and run."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from llmrec_peft.backbone.encoder import Reading
from llmrec_peft.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FILE = "model.onnx"
OPSET = 18
"""Version of the operators: the one that torch's exporter is written in, so that nothing is converted."""
INPUTS, OUTPUT = ("input_ids", "attention_mask"), "vectors"
LARGEST_BYTES = (1 << 31) - (64 << 20)
"""Bytes of weights that one file can hold beside its graph: protobuf ends at 2 GiB."""
_NEEDED = ("onnx", "onnxscript", "onnxruntime")
_ROWS, _TOKENS = 3, 7
"""Shape of the traced batch; no number in it is 0 or 1, which the tracer would take for fixed."""


class _Encoder(nn.Module):
    """Token ids and mask to vectors."""

    def __init__(self, model: nn.Module, reading: Reading) -> None:
        super().__init__()
        self.model = model
        self.dense = reading.dense
        self._reading = reading

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        states = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return self._reading.vectors(states, attention_mask)


def require_onnx() -> None:
    """Refuse where a package is missing that export to ONNX and its check need.

    Raises:
        InputError: Naming it, and the extra that brings it.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"export to ONNX needs {missing[0]}: pip install 'llmrec-peft[onnx]'")


def write_onnx(path: Path, model: nn.Module, reading: Reading, longest: int, what: str) -> None:
    """Trace a model by `torch.export` and write it with weights, for batches of any size and texts of any length.

    Args:
        path: File to write.
        model: Transformer in fp32, on the CPU, with or without an adapter attached.
        reading: How its states become vectors.
        longest: Tokens that it can read at once.
        what: What is traced, for messages.

    Raises:
        InputError: If it cannot be traced, or is too large for one file.
    """
    size = sum(tensor.numel() * tensor.element_size() for tensor in model.parameters())
    if size > LARGEST_BYTES:
        raise InputError(f"{what}: {size / 2**30:.1f} GiB of weights are more than one ONNX file can hold (2 GiB)")
    ids = torch.ones(_ROWS, _TOKENS, dtype=torch.int64)
    mask = torch.ones_like(ids)
    mask[1, _TOKENS // 2 :] = 0
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length", max=longest)
    axes = {name: {0: batch, 1: length} for name in INPUTS}
    try:
        with torch.no_grad(), _quiet_exporter():
            program: Any = torch.onnx.export(
                _Encoder(model, reading).eval(),
                (ids, mask),
                dynamo=True,
                input_names=list(INPUTS),
                output_names=[OUTPUT],
                dynamic_shapes=axes,
                opset_version=OPSET,
                verbose=False,
            )
            axes_found = [list(given.shape) for given in program.model.graph.inputs]
            program.save(path, external_data=False)
    except Exception as error:  # the tracer raises nearly any type over code that it cannot follow
        said = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise InputError(f"{what} cannot be traced for ONNX ({said[:200]})") from error
    if any(isinstance(size, int) for shape in axes_found for size in shape):
        raise InputError(f"{what} cannot be traced for ONNX: its code fixes the number of texts, or of tokens")


def onnx_vectors(path: Path, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return vectors by onnxruntime on the CPU, float32 [n, width].

    Args:
        path: What `write_onnx` wrote.
        ids: Token ids, [n, length].
        mask: 1 for tokens, 0 for padding on the right, [n, length].
    """
    import onnxruntime  # type: ignore[import-untyped]

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    vectors: NDArray[np.float32] = session.run([OUTPUT], dict(zip(INPUTS, (ids, mask), strict=True)))[0]
    return vectors


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Hide what the exporter says of packages that are not installed and of its own names."""
    reports = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [report.level for report in reports]
    for report in reports:
        report.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for report, level in zip(reports, levels, strict=True):
            report.setLevel(level)

"""Tensor stream: large matrices written as safetensors a piece at a time, without a copy of the whole."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec_peft.backbone.vector_table import pieces

if TYPE_CHECKING:
    from torch import Tensor

_FLOAT32 = 4
_ALIGNED = 8
"""Bytes of which the header's length is a multiple, as safetensors pads it."""


def write_matrices(
    path: Path, matrices: Mapping[str, Sequence[Tensor]], metadata: Mapping[str, str] | None = None
) -> None:
    """Write matrices as safetensors; the bytes are those of `llmrec_peft.backbone.tensor_files.write_tensors`.

    Args:
        path: File to write.
        matrices: Matrices by name; each as blocks of rows that follow each other, float32 or bfloat16 [rows, width].
        metadata: Texts for the file's header.
    """
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": dict(sorted(metadata.items()))}
    begin = 0
    names = sorted(matrices, key=lambda name: (-matrices[name][0].element_size(), name))  # so that numbers are aligned
    for name in names:
        blocks = matrices[name]
        rows, width, size = sum(map(len, blocks)), int(blocks[0].shape[1]), blocks[0].element_size()
        end = begin + rows * width * size
        kind = "F32" if size == _FLOAT32 else "BF16"
        header[name] = {"dtype": kind, "shape": [rows, width], "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text = text.ljust(-(-len(text) // _ALIGNED) * _ALIGNED)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(_ALIGNED, "little"))
        file.write(text)
        for name in names:
            for block in matrices[name]:
                for some in pieces(len(block), block.shape[1]):
                    file.write(_bytes_of(block[some]))


def _bytes_of(rows: Tensor) -> memoryview:
    import torch

    kept = rows.detach().cpu().contiguous()
    if kept.dtype == torch.bfloat16:
        return kept.view(torch.int16).numpy().astype("<i2", copy=False).data.cast("B")
    return kept.numpy().astype("<f4", copy=False).data.cast("B")

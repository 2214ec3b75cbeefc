"""Tensor stream: large matrices of float32 written as safetensors a piece at a time, without a copy of the whole."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from llmrec_peft.backbone.vector_table import pieces

if TYPE_CHECKING:
    from torch import Tensor

_ALIGNED = 8
"""Bytes of which the header's length is a multiple, as safetensors pads it."""


def write_matrices(path: Path, matrices: Mapping[str, Sequence[Tensor]]) -> None:
    """Write matrices as safetensors; the bytes are those of `llmrec_peft.backbone.tensor_files.write_tensors`.

    Args:
        path: File to write.
        matrices: Matrices by name; each as blocks of rows that follow each other, float32 [rows, width].
    """
    header, begin = {}, 0
    for name in sorted(matrices):
        rows, width = sum(len(block) for block in matrices[name]), int(matrices[name][0].shape[1])
        end = begin + rows * width * 4
        header[name] = {"dtype": "F32", "shape": [rows, width], "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text = text.ljust(-(-len(text) // _ALIGNED) * _ALIGNED)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(_ALIGNED, "little"))
        file.write(text)
        for name in sorted(matrices):
            for block in matrices[name]:
                for some in pieces(len(block), block.shape[1]):
                    file.write(_bytes_of(block[some]))


def _bytes_of(rows: Tensor) -> memoryview:
    array = rows.detach().cpu().contiguous().numpy()
    return array.astype("<f4", copy=False).data.cast("B")

"""VectorTable: each text's vector once, looked up by key, mapped where there are many; nothing copies the whole."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import load_file

from llmrec_peft.backbone import vector_table
from llmrec_peft.backbone.encoded_texts import EncodedTexts
from llmrec_peft.backbone.encoder import TextEncoder
from llmrec_peft.backbone.tensor_files import write_tensors
from llmrec_peft.backbone.tensor_stream import write_matrices
from llmrec_peft.backbone.vector_table import VectorTable, room, rows_not_finite
from llmrec_peft.data.tokens import TokenTable


def _mapped_without_a_name(folder: Path) -> int:
    maps = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    return sum(str(folder) in line and line.endswith("(deleted)") for line in maps)


def test_keys_with_one_text_share_its_vector_and_consecutive_ones_share_memory() -> None:
    stored = torch.arange(12.0).reshape(4, 3)
    table = VectorTable(stored, np.array([0, 1, 2, 0, 3, 3]))
    assert table.shape == (6, 3)
    assert torch.equal(table[torch.tensor([[3, 5], [0, 1]])], stored[torch.tensor([[0, 3], [0, 1]])])
    assert table.part(0, 3).data_ptr() == stored.data_ptr()
    assert torch.equal(table[3:6], stored[[0, 3, 3]])
    assert len(table[2:2]) == 0
    with pytest.raises(IndexError, match="consecutive"):
        table[::2]


@pytest.mark.skipif(not Path("/proc/self/maps").is_file(), reason="needs /proc")
def test_many_vectors_lie_in_a_file_without_a_name_that_goes_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = room(10, 4, tmp_path)
    assert _mapped_without_a_name(tmp_path) == 0
    monkeypatch.setattr(vector_table, "MAPPED_BYTES", 1 << 12)
    many = room(1000, 4, tmp_path)
    assert _mapped_without_a_name(tmp_path) == 1
    assert not list(tmp_path.iterdir())
    assert not many.any()
    many[7] = 1.0
    part = VectorTable(many, np.arange(1000))[5:8]
    del many
    assert part[2].tolist() == [1.0] * 4
    del part
    assert _mapped_without_a_name(tmp_path) == 0
    assert few.shape == (10, 4)


def test_vectors_lie_in_memory_where_the_disk_has_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(vector_table, "MAPPED_BYTES", 1)
    monkeypatch.setattr(os, "posix_fallocate", full)
    assert room(3, 2, tmp_path).shape == (3, 2)


def test_rows_that_are_not_finite_are_found_by_piece_and_by_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_table, "PIECE_BYTES", 2 * 3 * 4)
    vectors = torch.zeros(5, 3)
    vectors[1, 2], vectors[4, 0] = torch.nan, torch.inf
    assert rows_not_finite(vectors).tolist() == [1, 4]
    assert VectorTable(vectors, np.array([4, 0, 1, 1])).not_finite().tolist() == [0, 2, 3]


def test_streamed_matrices_have_the_bytes_that_safetensors_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_table, "PIECE_BYTES", 64)
    first, rest, user = torch.zeros(1, 5), torch.randn(9, 5), torch.randn(4, 7)
    for name, matrices in {
        "both": {"user": [user], "text": [first, rest]},
        "one": {"text": [first, rest]},
        "none": {},
        "strided": {"text": [torch.randn(7, 9).T[1:]]},
    }.items():
        streamed, written = tmp_path / f"{name}.streamed", tmp_path / f"{name}.written"
        write_matrices(streamed, matrices)
        write_tensors(written, {name: torch.cat(blocks) for name, blocks in matrices.items()})
        assert streamed.read_bytes() == written.read_bytes(), name
    assert torch.equal(load_file(tmp_path / "both.streamed")["text"][1:], rest)


def test_writing_takes_no_second_copy(tmp_path: Path) -> None:
    vectors = torch.zeros(40_000, 256)  # 39 MiB
    tracemalloc.start()
    write_matrices(tmp_path / "vectors", {"text": [torch.zeros(1, 256), vectors]})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20
    assert (tmp_path / "vectors").stat().st_size > vectors.numel() * 4


class _Lookup(torch.nn.Module):
    """Stands for a transformer whose states are wide and cost nothing."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.words = torch.nn.Embedding(512, width)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(last_hidden_state=self.words(input_ids))


@pytest.mark.parametrize("mapped", [False, True])
def test_encoding_looking_up_and_writing_hold_each_vector_once(
    mapped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count, width = 12_000, 2048  # 94 MiB
    if mapped:
        monkeypatch.setattr(vector_table, "MAPPED_BYTES", 1 << 20)
    model = _Lookup(width)
    rows = np.arange(2 * count).reshape(count, 2) % 512
    tokens = TokenTable(rows.reshape(-1), np.arange(count + 1) * 2, np.arange(count), 0, np.zeros(count, np.int64))
    encoded = EncodedTexts(TextEncoder(model, [model], "mean", True).eval(), tokens, folder=tmp_path)
    process = psutil.Process()
    seen = [process.memory_info().rss]
    model.register_forward_hook(lambda *_: seen.append(process.memory_info().rss))
    with encoded.fixed() as table:
        assert not len(table.not_finite())
        items = table.part(0, count)
    del table
    seen.append(process.memory_info().rss)
    write_matrices(tmp_path / "vectors", {"text": [torch.zeros(1, width), items]})
    seen.append(process.memory_info().rss)
    per_vector = (max(seen) - seen[0]) / count
    assert per_vector < 1.25 * 4 * width, f"{per_vector:.0f} bytes a vector of {4 * width}"

"""HostCopies: adapters come back into slots from host memory with the same bits, and without their files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from llmrec_peft.artifact.sealed import SealedFolder
from llmrec_peft.backbone.batched import Slot
from llmrec_peft.backbone.low_rank import LowRank, low_rank_tensors
from llmrec_peft.errors import InputError
from llmrec_peft.recipe import Recipe
from llmrec_peft.run.language_model import LanguageModel, TenantAdapter
from llmrec_peft.serving.copying_encoder import CopyingEncoder
from llmrec_peft.serving.host_copies import ALIGNED, HostCopies, HostCopy
from llmrec_peft.serving.mixing import mixed_encoder
from llmrec_peft.serving.mixing.mixed_encoder import AskedText
from llmrec_peft.serving.mixing.slots import Slots
from llmrec_peft.serving.shared_passes import SharedPasses

CPU = torch.device("cpu")
FORM = LowRank(lambda saved, backbone: {})
TEXTS = ([101, 2054, 2003, 102], [101, 1996, 2143, 1997, 1996, 2095, 102])


def adapter(value: float, rank: int = 3) -> dict[str, Slot]:
    """Return what an adapter of two sites fills a slot with, of odd sizes and two number formats."""
    down, up = torch.full((rank, 5), value), torch.full((7, rank), -value)
    gates = {"gate": torch.arange(3, dtype=torch.bfloat16) + value}
    return {"a": Slot(low_rank_tensors(down, up)), "b": Slot(gates, reads="a")}


def test_a_copy_holds_the_same_bits_in_one_block() -> None:
    slots = adapter(0.1)
    copy = HostCopy.of(FORM, slots, CPU)
    found = copy.slots(CPU)
    assert {site: slot.reads for site, slot in found.items()} == {"a": None, "b": "a"}
    for site, slot in slots.items():
        for name, tensor in slot.tensors.items():
            assert found[site].tensors[name].dtype == tensor.dtype
            assert torch.equal(found[site].tensors[name], tensor)
            assert found[site].tensors[name].data_ptr() % tensor.element_size() == 0
    assert copy.nbytes == copy.block.nbytes == 3 * ALIGNED + 6, "down takes one, up two, and gate 6 bytes"


def test_copies_stay_within_their_bytes_and_those_used_longest_ago_leave() -> None:
    size = HostCopy.of(FORM, adapter(0.0), CPU).nbytes
    copies = HostCopies(2 * size, CPU)

    def keep(number: int) -> None:
        copy = copies.copy(FORM, adapter(float(number)))
        assert copy is not None
        copies.keep(str(number), copy)

    keep(1)
    keep(2)
    assert copies.find("1") is not None
    keep(3)
    assert [copies.find(one) is not None for one in "123"] == [True, False, True]
    assert (len(copies), copies.used) == (2, 2 * size)
    assert copies.copy(FORM, adapter(4.0, rank=300)) is None, "larger than all memory: nothing leaves for it"
    assert HostCopies(0, CPU).copy(FORM, adapter(1.0)) is None


@pytest.mark.trains
@pytest.mark.parametrize("method", ["lora", "vera", "bottleneck", "prompt"])
def test_an_adapter_that_comes_back_reads_no_file_and_gives_the_same_bits(
    method: str, quick_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = quick_run("movies", {"adapter.method": method, "training.adapter.learning_rate": 0.02})
    sealed = SealedFolder.open(run)
    recipe = Recipe.from_plain(sealed.recipe(), where="recipe.yaml")
    language = LanguageModel(recipe.backbone, sealed.manifest.base, CPU)
    mixed = CopyingEncoder(language, Slots(16 << 20, CPU), HostCopies(16 << 20, CPU))

    def admitted() -> Any:
        return mixed.admit(TenantAdapter(run, sealed.manifest, recipe))

    first = admitted()
    before = mixed.encode([AskedText(first, text) for text in TEXTS])
    mixed.dismiss(first)
    mixed.slots.slabs._bytes.fill_(255)  # what it left there is gone; page 0 is not to be read by it
    mixed.slots.slabs._bytes[: mixed.slots.slabs._extent] = 0
    monkeypatch.setattr(mixed_encoder, "adapter_files", None)
    again = admitted()
    assert again.tenant.checked, "the bytes were loaded by its method before"
    assert again.before == first.before
    after = mixed.encode([AskedText(again, text) for text in TEXTS])
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_bytes_below_zero_are_refused() -> None:
    with pytest.raises(InputError, match="adapter_host_bytes is 0 or a number above it, not -1"):
        SharedPasses(adapter_host_bytes=-1)

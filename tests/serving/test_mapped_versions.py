"""A version is used where it lies in the store: its columns, histories and tensors are mapped, and never written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from numpy.typing import NDArray

from llmrec_peft.identity import file_digest
from llmrec_peft.run.recommender import Recommender
from llmrec_peft.run.tenant import Tenant
from llmrec_peft.serving.loading import Loading
from llmrec_peft.serving.sealed_store import SealedRun, SealedStore

pytestmark = pytest.mark.skipif(not Path("/proc/self/maps").is_file(), reason="says nothing of mapped memory")


@pytest.fixture
def sealed(tiny_run: Path, tmp_path: Path) -> SealedRun:
    """The trained run in a store."""
    return SealedStore(tmp_path / "store").add(tiny_run)


def mapped(store: Path) -> list[range]:
    """Addresses at which files of a store are mapped."""
    found = []
    for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
        span, _, path = line.partition(" ")
        if path.endswith(".safetensors") and str(store) in path:
            begin, end = (int(address, 16) for address in span.split("-"))
            found.append(range(begin, end))
    return found


def places(tenant: Tenant) -> Iterator[tuple[str, int]]:
    """Address of each array that a tenant's answers read."""
    vocabulary, seen, catalogue = tenant.vocabulary, tenant.seen, tenant.catalogue
    columns: dict[str, Any] = {"users": vocabulary.users, "items": vocabulary.items, "titles": catalogue.titles}
    arrays: dict[str, NDArray[Any]] = {"popularity": catalogue.popularity, "seen": seen.item, "labels": seen.label}
    for name, column in columns.items():
        arrays |= {f"{name} {part}": array for part in ("offsets", "content") for array in [getattr(column, part)]}
    arrays |= {"bounds": seen.begin, "order": columns["items"].order}
    yield from ((name, array.ctypes.data) for name, array in arrays.items())
    assert catalogue.vectors is not None
    assert catalogue.side is not None
    yield "vectors", catalogue.vectors.data_ptr()
    yield "side", catalogue.side.offset.data_ptr()
    state = tenant.model.signal_parts.state_dict()
    yield from ((name, tensor.data_ptr()) for name, tensor in state.items() if tensor.numel())


def test_everything_that_answers_lies_in_the_store(sealed: SealedRun, tmp_path: Path) -> None:
    tenant = Loading(torch.device("cpu"), try_adapters=False).load(sealed).tenant
    spans = mapped(tmp_path / "store")
    copied = [name for name, address in places(tenant) if not any(address in span for span in spans)]
    assert copied == []


def test_run_of_a_recommender_is_not_mapped(tiny_run: Path) -> None:
    recommender = Recommender.from_pretrained(tiny_run)
    assert recommender.recommend(["1"], 3)
    assert mapped(tiny_run) == []


def test_mapped_run_answers_as_one_in_memory_and_writes_into_it_stay_in_the_process(
    sealed: SealedRun, tiny_run: Path
) -> None:
    tenant = Loading(torch.device("cpu"), try_adapters=False).load(sealed).tenant
    users = [*tenant.vocabulary.users[:9], "nobody"]
    assert tenant.recommend(users, 7, False) == Recommender.from_pretrained(tiny_run).recommend(users, 7)
    before = {path.name: file_digest(path) for path in sealed.folder.iterdir()}
    assert tenant.catalogue.vectors is not None
    tenant.catalogue.vectors.zero_()
    tenant.seen.item[:] = 0
    assert {path.name: file_digest(path) for path in sealed.folder.iterdir()} == before


def test_mapping_ends_with_the_version(sealed: SealedRun, tmp_path: Path) -> None:
    loading = Loading(torch.device("cpu"), try_adapters=False)
    for _ in range(3):
        version = loading.load(sealed)
        count = len(mapped(tmp_path / "store"))
        del version
    import gc

    gc.collect()
    assert count > 0
    assert mapped(tmp_path / "store") == []

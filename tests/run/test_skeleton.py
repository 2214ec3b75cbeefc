"""A run that is made again from its skeleton is the one that was read, to the last bit."""

from __future__ import annotations

import copy
import gc
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from llmrec_peft.artifact import mapped_files
from llmrec_peft.artifact.manifest import Manifest
from llmrec_peft.artifact.untouched import Untouched
from llmrec_peft.recipe import Recipe
from llmrec_peft.run import skeleton as skeletons
from llmrec_peft.run.language_model import LanguageModel
from llmrec_peft.run.read_tenant import read_tenant
from llmrec_peft.run.skeleton import NO_HOOKS, Skeleton
from llmrec_peft.run.tenant import LoadedTenant
from llmrec_peft.serving.tiers.version_bytes import bytes_of

CPU = torch.device("cpu")


def base_of(manifest: Manifest, recipe: Recipe) -> LanguageModel:
    return LanguageModel(recipe.backbone, manifest.base, CPU)


def read(run: Path) -> tuple[LoadedTenant, Skeleton]:
    """Read a run with its files mapped, and make its skeleton."""
    files = Untouched.now(run)
    assert files is not None
    tenant = read_tenant(run, CPU, base_of, mapped=True)
    found = Skeleton.of(tenant, files)
    assert found is not None
    return tenant, found


def again(found: Skeleton) -> LoadedTenant:
    tenant = found.tenant()
    assert tenant is not None
    return tenant


def state(tenant: LoadedTenant) -> dict[str, bytes]:
    """Every number that a run answers by."""
    arrays: dict[str, Any] = {name: tensor.numpy() for name, tensor in tenant.model.state_dict().items()}
    catalogue, seen = tenant.catalogue, tenant.seen
    arrays |= {"rows": catalogue.table_index, "popularity": catalogue.popularity}
    arrays |= {"seen": seen.item, "labels": seen.label, "begin": seen.begin, "end": seen.end}
    if seen.time is not None:
        arrays["time"] = seen.time
    for name, tensor in {"vectors": catalogue.vectors, "of users": tenant.user_vectors}.items():
        if tensor is not None:
            arrays[name] = tensor.float().numpy()
    return {name: array.tobytes() for name, array in arrays.items()}


@pytest.mark.parametrize("name", ["rating", "click", "ranking", "joint", "prompt"])
def test_run_that_is_made_again_has_the_same_numbers_and_answers(
    name: str, tiny_run: Path, task_runs: Callable[[str], Path]
) -> None:
    tenant, found = read(tiny_run if name == "rating" else task_runs(name))
    other = again(found)
    assert state(other) == state(tenant)
    assert other.manifest == tenant.manifest
    assert other.recipe is tenant.recipe
    assert other.base is tenant.base
    assert other.adapter is not tenant.adapter
    assert other.vocabulary == tenant.vocabulary
    assert list(other.catalogue.titles) == list(tenant.catalogue.titles)
    assert list(other.items.texts) == list(tenant.items.texts)
    assert other.notes == tenant.notes
    users = [*tenant.vocabulary.users[:3], "nobody"]
    assert other.recommend(users, 5, False) == tenant.recommend(users, 5, False)
    items = list(tenant.catalogue.ids[:4])
    assert other.pairs(users, items, None, 8).tobytes() == tenant.pairs(users, items, None, 8).tobytes()


def test_numbers_lie_in_files_and_parts_are_shared_as_they_were(tiny_run: Path) -> None:
    tenant, found = read(tiny_run)
    other = again(found)
    mapped = {name: mapped_files.place_of(tensor.data_ptr()) for name, tensor in tenant.model.state_dict().items()}
    assert mapped == {name: mapped_files.place_of(t.data_ptr()) for name, t in other.model.state_dict().items()}
    assert all(place is not None for place in mapped.values())
    assert {path.name for path, _ in mapped.values() if path} == {"signals.safetensors", "head.safetensors"}  # type: ignore[misc]
    assert other.model.signal_parts["collaborative"] is other.model.signals["collaborative"].parts
    assert other.catalogue.ids is other.vocabulary.items
    assert found.nbytes < 20_000
    tensors = [tensor for one in (tenant, again(found)) for tensor in one.model.state_dict().values()]
    tensors[0].zero_()
    assert again(found).model.state_dict().keys() == tenant.model.state_dict().keys()
    assert state(again(found)) == state(other), "what is written into one of them stays there"


@pytest.mark.parametrize("change", ["written", "replaced", "removed", "added", "not mapped"])
def test_run_of_which_a_file_was_touched_is_not_made_again(change: str, tiny_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    _, found = read(run)
    again(found)
    path = run / "signals.safetensors"
    if change == "written":
        with path.open("r+b") as file:
            file.write(path.read_bytes()[:1])
    elif change == "replaced":
        shutil.copy(path, tmp_path / "other")
        (tmp_path / "other").replace(path)
    elif change == "removed":
        (run / "seen.safetensors").unlink()
    elif change == "added":
        (run / "strange").write_text("")
    else:
        (run / "adapter_model.safetensors").touch()
    assert found.tenant() is None


def test_tensors_that_lie_in_no_file_are_kept_and_each_run_has_its_own(tiny_run: Path) -> None:
    files = Untouched.now(tiny_run)
    assert files is not None
    tenant = read_tenant(tiny_run, CPU, base_of, mapped=False)
    found = Skeleton.of(tenant, files)
    assert found is None or state(again(found)) == state(tenant)
    tenant = read_tenant(tiny_run, CPU, base_of, mapped=True)
    part: Any = tenant.model.signal_parts["collaborative"]
    part.register_buffer("made", torch.arange(5.0)[1:])
    part.register_buffer("empty", torch.empty(0, 3))
    found = Skeleton.of(tenant, files)
    assert found is not None
    parts: list[Any] = [again(found).model.signal_parts["collaborative"] for _ in range(2)]
    one, other = parts
    assert one.made.tolist() == [1.0, 2.0, 3.0, 4.0]
    assert one.empty.shape == (0, 3)
    one.made.zero_()
    assert other.made.tolist() == [1.0, 2.0, 3.0, 4.0]


def test_run_that_python_cannot_pack_has_no_skeleton(tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = Untouched.now(tiny_run)
    assert files is not None
    tenant = read_tenant(tiny_run, CPU, base_of, mapped=True)
    monkeypatch.setattr(tenant.model.signals["collaborative"], "strange", lambda: None, raising=False)
    assert Skeleton.of(tenant, files) is None
    monkeypatch.undo()
    assert Skeleton.of(tenant, files) is not None
    monkeypatch.setattr(skeletons, "MOST_BYTES", 1000)
    assert Skeleton.of(tenant, files) is None


def test_run_with_numbers_of_another_one_has_no_skeleton(tiny_run: Path, tmp_path: Path) -> None:
    tenant, found = read(tiny_run)
    other, _ = read(Path(shutil.copytree(tiny_run, tmp_path / "run")))
    part: Any = tenant.model.signal_parts["collaborative"]
    part.register_buffer("strange", next(iter(other.model.signal_parts.state_dict().values())))
    assert Skeleton.of(tenant, found.files) is None


def test_modules_that_are_made_again_share_that_they_have_no_hooks_and_take_none(tiny_run: Path) -> None:
    tenant, found = read(tiny_run)
    other = again(found)
    assert bytes_of([other]).private < 0.8 * bytes_of([tenant]).private
    part = other.model.signal_parts["collaborative"]
    with pytest.raises(TypeError, match="takes no hooks"):
        part.register_forward_hook(lambda *_: None)
    assert not NO_HOOKS
    assert copy.deepcopy(part)._forward_hooks is NO_HOOKS
    tenant.model.fusion.register_forward_hook(_nothing)
    kept = Skeleton.of(tenant, found.files)
    assert kept is not None
    assert list(again(kept).model.fusion._forward_hooks.values()) == [_nothing]
    again(kept).model.fusion.register_forward_hook(_nothing)


def _nothing(*_: object) -> None:
    """A hook."""


def test_rows_are_counted_again_and_not_kept(tiny_run: Path) -> None:
    tenant, found = read(tiny_run)
    other = again(found)
    assert np.array_equal(other.catalogue.table_index, tenant.catalogue.table_index)
    assert other.catalogue.table_index.dtype == np.int64


def test_files_are_mapped_as_long_as_the_run_is_there(tiny_run: Path) -> None:
    _, found = read(tiny_run)
    gc.collect()
    mapped_files.is_mapped(0)
    before = len(mapped_files._places)
    other = again(found)
    assert len(mapped_files._places) == before + len(found.names)
    del other
    mapped_files.is_mapped(0)
    assert len(mapped_files._places) == before, "without a collection of cycles"

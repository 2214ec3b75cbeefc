"""Swap: many runs on one base in memory; each answers as it does alone, and what is detached is gone."""

from __future__ import annotations

import gc
import itertools
import json
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from llmrec_peft.artifact.manifest import make_manifest
from llmrec_peft.errors import InputError
from llmrec_peft.identity import values_digest
from llmrec_peft.recipe import load_recipe
from llmrec_peft.run.recommender import Recommender
from llmrec_peft.workflows.train import train

TEXTS = ["a quiet drama", "two robbers and a train", "Café Number 3"]


@pytest.fixture(scope="module")
def runs(tiny_run: Path, tiny_data: Path, tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three runs on one base: LoRA in the top two layers, LoRA of another rank and seed, and no adapter."""
    folder = tmp_path_factory.mktemp("runs")
    fixed = {
        "data.path": str(tiny_data),
        "backbone.name": str(tiny_backbone),
        "training.epochs": 1,
        "training.refit": False,
        "evaluation.bootstrap": 0,
        "training.adapter.learning_rate": 0.01,
    }
    changes: list[dict[str, object]] = [{"adapter": {"method": "lora", "rank": 3, "layers": "all"}, "seed": 2}]
    changes.append({"adapter": {"method": "none"}, "seed": 3})
    made = [tiny_run]
    for at, change in enumerate(changes):
        train(load_recipe("movies", changes={**fixed, **change}), folder / str(at), show=False)
        made.append(folder / str(at))
    return made


def base_digest(recommender: Recommender) -> str:
    """Digest of the base's own weights, whatever is inside it."""
    backbone = recommender.language_model._loaded()
    own = {id(tensor): tensor for kept in backbone._bare._seen for tensor, _ in kept._bytes}
    return values_digest([parameter.float().sum().item() for parameter in own.values()])


def live() -> tuple[int, int]:
    """Number of tensors and of modules that are alive."""
    gc.collect()
    kinds = [type(thing) for thing in gc.get_objects()]
    return (
        sum(issubclass(kind, torch.Tensor) for kind in kinds),
        sum(issubclass(kind, torch.nn.Module) for kind in kinds),
    )


def resident_mb() -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def test_each_run_answers_as_alone_through_200_swaps_and_nothing_grows(runs: list[Path]) -> None:
    alone = {}
    for run in runs:
        single = Recommender.from_pretrained(run)
        alone[single.current] = (single.encode(TEXTS), single.score(["1", "2"], ["1", "2"]))
    vectors = [vectors for vectors, _ in alone.values()]
    assert all((a - b).abs().max() > 1e-4 for a, b in itertools.pairwise(vectors))  # not one and the same
    shared = Recommender.from_pretrained(runs[0])
    names = [shared.current, *(shared.attach(run) for run in runs[1:])]
    assert names == list(alone) == list(shared.adapters)
    assert not shared.language_model.loaded

    def swap(name: str) -> None:
        shared.switch(name)
        torch.testing.assert_close(shared.encode(TEXTS), alone[name][0], rtol=0, atol=0)
        np.testing.assert_array_equal(shared.score(["1", "2"], ["1", "2"]), alone[name][1])

    for name in names:
        swap(name)
    backbone = shared.language_model._loaded()
    before, counted, held = base_digest(shared), live(), resident_mb()
    for at in range(200):
        swap(names[at * 2 % 3])
    assert live() == counted
    assert resident_mb() - held < 32
    assert base_digest(shared) == before
    assert shared.language_model._loaded() is backbone


def test_detached_run_gives_its_memory_back(runs: list[Path]) -> None:
    shared = Recommender.from_pretrained(runs[0])
    first = shared.current
    shared.encode(TEXTS)
    before = live()
    name = shared.attach(runs[1], "guest")
    assert name == "guest"
    shared.switch(name)
    shared.encode(TEXTS)
    tenant = shared._attached.tenants[name]
    assert tenant.adapter is not None
    watched = [weakref.ref(tenant.model), weakref.ref(tenant.adapter.encoder.model)]
    watched += [weakref.ref(m) for m in tenant.adapter.encoder.model.modules() if "lora" in type(m).__module__]
    assert len(watched) > 2
    del tenant
    with pytest.raises(InputError, match="run 'guest' answers at the moment"):
        shared.detach("guest")
    shared.switch(first)
    shared.detach("guest")
    assert [reference() for reference in watched] == [None] * len(watched)
    assert shared.adapters == (first,)
    assert live() == before


def test_added_items_stay_with_their_run(runs: list[Path]) -> None:
    shared = Recommender.from_pretrained(runs[0])
    first, other = shared.current, shared.attach(runs[1])
    shared.add_items([{"item_id": "new", "title": "A", "year": 1990, "genres": []}])
    shared.switch(other)
    with pytest.raises(InputError, match="unknown item 'new'"):
        shared.score(["1"], ["new"])
    shared.switch(first)
    assert shared.score(["1"], ["new"]).shape == (1,)


def test_recommenders_share_a_base(runs: list[Path]) -> None:
    one = Recommender.from_pretrained(runs[0])
    two = Recommender.from_pretrained(runs[1], base=one)
    alone = [Recommender.from_pretrained(run).encode(TEXTS) for run in runs[:2]]
    for _ in range(3):
        torch.testing.assert_close(one.encode(TEXTS), alone[0], rtol=0, atol=0)
        torch.testing.assert_close(two.encode(TEXTS), alone[1], rtol=0, atol=0)
    assert one.language_model is two.language_model


def spoiled(run: Path, into: Path, change: Callable[[Path], object], **base: str | None) -> Path:
    """A copy of a run that somebody changed and gave a manifest of its own."""
    copy = Path(shutil.copytree(run, into))
    change(copy)
    recorded = json.loads((copy / "manifest.json").read_text(encoding="utf-8"))["base"]
    manifest = make_manifest(copy, {**recorded, **base}, "0")
    (copy / "manifest.json").write_text(manifest.model_dump_json(), encoding="utf-8")
    return copy


def tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    """Change an adapter's tensors and keep what the file says of its base."""
    from safetensors import safe_open

    def apply(run: Path) -> None:
        path = run / "adapter_model.safetensors"
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
        found = load_file(path)
        change(found)
        save_file(found, path, metadata=metadata)

    return apply


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (tensors(lambda t: t.pop(sorted(t)[0])), "adapter tensor .* is missing"),
        (tensors(lambda t: t.update(extra=torch.zeros(1))), "adapter tensor extra is unknown"),
        (tensors(lambda t: t.update({sorted(t)[0]: torch.zeros(1, 1)})), "has shape"),
        (tensors(lambda t: t[sorted(t)[0]].fill_(float("nan"))), "holds NaN"),
        (lambda run: (run / "adapter_model.safetensors").write_bytes(b"\x80\x04}q\x00."), "no safetensors file"),
    ],
)
def test_failed_attach_leaves_everything_as_it_was(
    runs: list[Path], tmp_path: Path, change: Callable[[Path], object], message: str
) -> None:
    shared = Recommender.from_pretrained(runs[0])
    vectors, before = shared.encode(TEXTS), base_digest(shared)
    bad = spoiled(runs[1], tmp_path / "bad", change)
    with pytest.raises(InputError, match=message):
        shared.attach(bad, "bad")
    assert shared.adapters == (shared.current,)
    assert base_digest(shared) == before
    torch.testing.assert_close(shared.encode(TEXTS), vectors, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("field", "value"), [("weights_sha256", "1" * 64), ("quantization", "nf4"), ("compute", "other")]
)
def test_run_of_another_base_is_refused_before_anything_is_loaded(
    runs: list[Path], tmp_path: Path, field: str, value: str
) -> None:
    shared = Recommender.from_pretrained(runs[0])
    other = spoiled(runs[1], tmp_path / "other", lambda run: None, **{field: value})
    with pytest.raises(InputError, match=f"the base model found here is not the one that .*: {field} is "):
        shared.attach(other)
    with pytest.raises(InputError, match=f": {field} is "):
        Recommender.from_pretrained(other, base=shared)
    assert not shared.language_model.loaded


def test_adapter_that_changed_after_it_was_attached_is_refused(runs: list[Path], tmp_path: Path) -> None:
    shared = Recommender.from_pretrained(runs[0])
    alone = shared.encode(TEXTS)
    lazy = Recommender.from_pretrained(Path(shutil.copytree(runs[1], tmp_path / "run")), base=shared)
    tensors(lambda t: t[sorted(t)[0]].add_(1.0))(tmp_path / "run")
    with pytest.raises(InputError, match=r"adapter_model\.safetensors is not what the run wrote"):
        lazy.encode(TEXTS)
    torch.testing.assert_close(shared.encode(TEXTS), alone, rtol=0, atol=0)


def test_names_are_told_apart(runs: list[Path]) -> None:
    shared = Recommender.from_pretrained(runs[0])
    shared.attach(runs[1], "film club")
    assert shared.attach(runs[1], "film club") == "film club"
    with pytest.raises(InputError, match="the name 'film club' is taken by another run"):
        shared.attach(runs[2], "film club")
    with pytest.raises(InputError, match="no run 'film clubs' is attached: did you mean 'film club'"):
        shared.switch("film clubs")

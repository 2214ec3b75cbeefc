"""Many tenants in one process: each run is the one it would be alone, and one tenant's failure is its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from movielens_files import write_movielens
from safetensors.torch import load_file

from llmrec_peft.artifact.workspace import Workspace
from llmrec_peft.errors import InputError
from llmrec_peft.experiment.starting import AskedStart
from llmrec_peft.recipe import Recipe, load_recipe
from llmrec_peft.run.recommender import Recommender
from llmrec_peft.workflows import train_tenants as room
from llmrec_peft.workflows.tenants import Tenant, chosen, tenants_of_column, tenants_of_folders
from llmrec_peft.workflows.train import train
from llmrec_peft.workflows.train_tenants import SUMMARY, TenantResult, train_tenants

pytestmark = pytest.mark.trains
SHOPS = {"large": (30, 40, 0), "middle": (24, 30, 1), "small": (20, 24, 2)}
"""Users, films and seed of each tenant."""


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three tenants' folders, of different sizes, which share some texts."""
    folder = tmp_path_factory.mktemp("shops")
    for name, (users, items, seed) in SHOPS.items():
        write_movielens(folder / name, users, items, seed)
    return folder


def recipe_of(backbone: Path, **changes: Any) -> Recipe:
    """Few epochs of LoRA with dropout in fp32, which stop early at each tenant's own epoch."""
    quick = {
        "backbone.name": str(backbone),
        "backbone.precision": "fp32",
        "training.epochs": 4,
        "training.patience": 1,
        "training.adapter_epochs": None,
        "training.items_per_batch": 16,
        "training.head.learning_rate": 0.05,
        "adapter.dropout": 0.1,
        "evaluation.bootstrap": 0,
        "evaluation.ablations": (),
    }
    return load_recipe("movies", changes={**quick, **changes})


@pytest.fixture(scope="module")
def trained(shops: Path, tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """All three together, in passes that they share, and each alone."""
    together, alone = tmp_path_factory.mktemp("together"), tmp_path_factory.mktemp("alone")
    tenants = tenants_of_folders(recipe_of(tiny_backbone), [f"{shops}/*/"])
    results = train_tenants(tenants, together, mixing="always")
    assert [one.status for one in results] == ["trained"] * 3
    for tenant in tenants:
        train(tenant.recipe, alone / tenant.name, show=False)
    return together, alone


def told(run: Path) -> dict[str, Any]:
    """What a run's report says of the tenant, besides time, memory and the machine."""
    parts = ("test", "valid", "training", "weights", "parameters", "data", "recommended")
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    metrics["training"].pop("seconds")
    return {name: metrics[name] for name in parts}


def near(left: Any, right: Any, tolerance: float = 1e-6) -> bool:
    """Whether two plain values are the same but for rounding."""
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(near(left[name], right[name], tolerance) for name in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(near, left, right, [tolerance] * len(left)))
    if isinstance(left, float):
        return bool(abs(left - right) <= tolerance * max(1.0, abs(left)))
    return bool(left == right)


def test_each_run_has_the_figures_and_weights_that_it_has_alone(trained: tuple[Path, Path]) -> None:
    together, alone = trained
    for name in SHOPS:
        assert near(told(together / name), told(alone / name))
        for file in ("adapter_model", "head", "signals", "item_vectors"):
            ours, theirs = (load_file(folder / name / f"{file}.safetensors") for folder in trained)
            assert ours.keys() == theirs.keys()
            for tensor, value in ours.items():
                assert torch.isfinite(value.float()).all()
                torch.testing.assert_close(value, theirs[tensor], rtol=1e-5, atol=1e-6)


def test_tenants_stop_at_epochs_of_their_own(trained: tuple[Path, Path]) -> None:
    epochs = {name: told(trained[0] / name)["training"]["epochs"] for name in SHOPS}
    assert len(set(epochs.values())) > 1, epochs


def test_tenants_differ_from_each_other(trained: tuple[Path, Path]) -> None:
    """So that a tenant with another's adapter would be noticed."""
    adapters = [load_file(trained[0] / name / "adapter_model.safetensors") for name in SHOPS]
    for left, right in ((0, 1), (0, 2), (1, 2)):
        assert any(not torch.allclose(adapters[left][name], adapters[right][name], atol=1e-4) for name in adapters[0])


def test_each_run_answers_as_usual(trained: tuple[Path, Path]) -> None:
    for name in SHOPS:
        recommender, other = (Recommender.from_pretrained(folder / name) for folder in trained)
        user = recommender.vocabulary.users[0]
        ours, theirs = (one.recommend([user], 3)[0] for one in (recommender, other))
        assert len(ours.items) == 3 and [one.item_id for one in ours.items] == [one.item_id for one in theirs.items]


def test_the_base_is_loaded_once_and_a_text_read_once(
    shops: Path, tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llmrec_peft.backbone import shared

    loads: list[str] = []
    actual = shared.load_backbone

    def counted(section: Any, device: torch.device) -> Any:
        loads.append(section.name)
        return actual(section, device)

    monkeypatch.setattr(shared, "load_backbone", counted)
    bases: list[shared.SharedBase] = []
    monkeypatch.setattr(room, "SharedBase", lambda: bases.append(shared.SharedBase()) or bases[0])
    recipe = recipe_of(tiny_backbone, **{"training.epochs": 1, "training.refit": False})
    train_tenants(tenants_of_folders(recipe, [f"{shops}/*/"]), tmp_path / "runs")
    assert len(loads) == 1
    assert len(bases[0].vectors) == 40 + 1  # the films of the largest shop, and the empty text; others have these too


def short(backbone: Path, data: Path, only: Sequence[str] = (), **changes: Any) -> list[Tenant]:
    """Tenants of one epoch."""
    recipe = recipe_of(backbone, **{"training.epochs": 1, "training.refit": False, **changes})
    return chosen(tenants_of_folders(recipe, [f"{data}/*/"]), only)


def test_one_tenant_s_bad_data_ends_it_alone_with_a_reason(shops: Path, tiny_backbone: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(shops, data)
    (data / "middle" / "u.item").write_text("1|broken\n", encoding="latin-1")
    heard: list[TenantResult] = []
    results = train_tenants(short(tiny_backbone, data), tmp_path / "runs", told=heard.append)
    assert [one.status for one in results] == ["trained", "failed", "trained"]
    assert "u.item" in results[1].reason and "\n" not in results[1].reason
    assert sorted(heard, key=lambda one: one.name) == results
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["large", "small", SUMMARY]
    summary = json.loads((tmp_path / "runs" / SUMMARY).read_text(encoding="utf-8"))["tenants"]
    assert [(one["name"], one["status"]) for one in summary] == [(one.name, one.status) for one in results]


def test_a_divergence_ends_its_tenant_alone(shops: Path, tiny_backbone: Path, tmp_path: Path) -> None:
    tenants = short(tiny_backbone, shops)
    wild = {f"training.{group}.learning_rate": 10.0 for group in ("adapter", "embeddings", "head")}
    one = tenants[1]
    tenants[1] = Tenant(one.name, one.recipe.changed({**wild, "training.epochs": 30, "head.loss": "mse"}))
    actual = [result.status for result in train_tenants(tenants, tmp_path / "runs")]
    assert actual[0] == actual[2] == "trained"


@pytest.mark.parametrize("together", [1, 3])
def test_resume_goes_on_where_a_kill_left_every_tenant(
    together: int, shops: Path, tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llmrec_peft.training import loop

    out, tenants = tmp_path / "runs", short(tiny_backbone, shops, **{"training.checkpoint_seconds": 0.0})
    finish = loop._Run._finish
    fits: list[int] = []

    def interrupted(fit: Any) -> None:
        fits.append(1)
        if len(fits) == 3:  # one after the other, a tenant has two: before and after tuning
            raise KeyboardInterrupt
        finish(fit)

    with monkeypatch.context() as inside:
        inside.setattr(loop._Run, "_finish", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_tenants(tenants, out, together=together)
    finished = [tenant.name for tenant in tenants if (out / tenant.name / "manifest.json").is_file()]
    assert finished == (["large"] if together == 1 else [])
    assert Workspace(out / "middle", "training").resumable
    with pytest.raises(InputError, match="--resume"):
        train_tenants(tenants, out)
    results = train_tenants(tenants, out, resume=True, together=together)
    assert [one.status for one in results] == ["finished" if one.name in finished else "trained" for one in tenants]
    tenant = tenants[1]
    train(tenant.recipe, tmp_path / "alone", show=False)
    assert near(told(out / tenant.name), told(tmp_path / "alone"))


def test_a_column_s_values_are_tenants(shops: Path, tiny_backbone: Path, tmp_path: Path) -> None:
    recipe = recipe_of(tiny_backbone, **{"training.epochs": 1, "training.refit": False})
    recipe = recipe.changed({"data.path": str(shops / "large")})
    tenants, notes = tenants_of_column(recipe, "gender")
    assert [(one.name, one.value) for one in tenants] == [("F", "F"), ("M", "M")]
    assert notes == []
    results = train_tenants(chosen(tenants, ["M"]), tmp_path / "runs")
    assert [(one.name, one.status) for one in results] == [("M", "trained")]
    recommender = Recommender.from_pretrained(tmp_path / "runs" / "M")
    assert len(recommender.vocabulary.users) == 15
    with pytest.raises(InputError, match="'X': no such tenant"):
        chosen(tenants, ["X"])


def test_an_adapter_begins_with_another_run_s(trained: tuple[Path, Path], tiny_backbone: Path, tmp_path: Path) -> None:
    recipe = recipe_of(tiny_backbone, **{"training.epochs": 1, "training.adapter.learning_rate": 1e-12})
    recipe = recipe.changed({"training.adapter.weight_decay": 0.0})
    given = trained[0] / "large"
    data = json.loads((given / "metrics.json").read_text(encoding="utf-8"))["data"]["digest"]
    path = Path(str(Recommender.from_pretrained(trained[0] / "small").recipe.data.path))
    one = Tenant("begun", recipe.changed({"data.path": str(path)}), start_from=AskedStart((given,)))
    results = train_tenants([one], tmp_path / "runs")
    assert results[0].status == "trained", results[0].reason
    ours, theirs = (load_file(folder / "adapter_model.safetensors") for folder in (tmp_path / "runs" / "begun", given))
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor)
    assert told(tmp_path / "runs" / "begun")["data"]["digest"] != data


def test_what_cannot_be_a_folder_of_runs_is_refused(
    trained: tuple[Path, Path], shops: Path, tiny_backbone: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="is a run"):
        train_tenants(short(tiny_backbone, shops), trained[0] / "large")
    with pytest.raises(InputError, match="exists already"):
        train_tenants(short(tiny_backbone, shops), trained[0])
    with pytest.raises(InputError, match="no folder is there"):
        tenants_of_folders(recipe_of(tiny_backbone), [f"{tmp_path}/none/*/"])
    (tmp_path / "data" / "b\u00f6se").mkdir(parents=True)
    with pytest.raises(InputError, match="no plain name"):
        tenants_of_folders(recipe_of(tiny_backbone), [f"{tmp_path}/data/*/"])

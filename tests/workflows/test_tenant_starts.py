"""Tenants that begin with other tenants' adapters: which runs are taken, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmrec_peft.errors import InputError
from llmrec_peft.experiment.starting import AskedStart
from llmrec_peft.recipe import load_recipe
from llmrec_peft.workflows.tenant_starts import starting
from llmrec_peft.workflows.tenants import Tenant
from llmrec_peft.workflows.train_tenants import train_tenants

pytestmark = pytest.mark.trains
QUICK = ("training.epochs=1", "training.refit=false", "evaluation.bootstrap=0", "evaluation.ablations=[]")


@pytest.fixture(scope="module")
def shops(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tenant]:
    """Runs of two tenants, and a tenant whose recipe is theirs."""
    changes = [f"backbone.name={tiny_backbone}", "training.choice=validation", "adapter.method=lora", *QUICK]
    recipe = load_recipe("movies", changes, {"data.path": "demo"})
    out = tmp_path_factory.mktemp("starts") / "runs"
    for name, seed in (("a", 1), ("b", 2)):
        (result,) = train_tenants([Tenant(name, recipe.changed({"seed": seed}))], out)
        assert result.status == "trained", result.reason
    return out, Tenant("new", recipe)


def test_mean_takes_all_other_tenants_runs_and_nearest_chooses_one_of_them(shops: tuple[Path, Tenant]) -> None:
    out, new = shops
    (mean,) = starting([new], ["mean"], out)
    assert mean.start_from == AskedStart((out / "a", out / "b"))
    nearest, own = starting([new, Tenant("a", new.recipe)], ["nearest"], out)
    assert nearest.start_from == AskedStart((out / "a", out / "b"), 1)
    assert own.start_from == AskedStart((out / "b",), 1), "no tenant begins with its own run"
    (named,) = starting([new], ["x", "y"], out)
    assert named.start_from == AskedStart((Path("x"), Path("y")))
    assert starting([new], [], out) == [new]


def test_runs_that_began_with_others_are_left_out_later(shops: tuple[Path, Tenant], tmp_path: Path) -> None:
    out, new = shops
    results = train_tenants(starting([new], ["nearest"], out), out)
    assert results[0].status == "trained", results[0].reason
    (again,) = starting([Tenant("newer", new.recipe)], ["mean"], out)
    assert again.start_from == AskedStart((out / "a", out / "b"))


def test_words_that_find_no_run_or_stand_beside_others_are_refused(shops: tuple[Path, Tenant], tmp_path: Path) -> None:
    out, new = shops
    with pytest.raises(InputError, match=r"--start-from mean: .* has no other tenant's finished run"):
        starting([new], ["mean"], tmp_path / "none")
    with pytest.raises(InputError, match="stands alone"):
        starting([new], ["nearest", "runs/a"], out)

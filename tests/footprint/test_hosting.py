"""Memory of an engine with many tenants: the arithmetic, and sizes against those of a run that was trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmrec_peft.errors import InputError
from llmrec_peft.footprint.hosting import PROCESS, hosting
from llmrec_peft.footprint.tenant_bytes import objects, of_run, paged
from llmrec_peft.recipe import Recipe, load_recipe

Trained = Callable[..., Path]
GIB = 1 << 30


def recipe_of(backbone: Path, **changes: Any) -> Recipe:
    return load_recipe("movies", changes={"backbone.name": str(backbone), "backbone.precision": "fp32", **changes})


def asked(backbone: Path, tenants: int, ram: int | None = None, cuda: bool = False, **changes: Any) -> dict[str, Any]:
    recipe = recipe_of(backbone, **{"adapter": {"method": "lora", "rank": 8}, **changes})
    return hosting([recipe], [], tenants, cuda, GIB if cuda else None, ram, users=50, items=200)


def test_tiers_add_up_and_grow_by_what_a_tenant_takes(tiny_backbone: Path) -> None:
    one, many = asked(tiny_backbone, 1), asked(tiny_backbone, 101)
    each = one["per_tenant"]
    for tier, parts in one["tiers"].items():
        grown = {"host": each["private"] + each["adapter"], "disk": each["disk"]}[tier]
        assert many["tiers"][tier]["total"] - parts["total"] == 100 * grown, tier
        assert parts["total"] == sum(size for name, size in parts.items() if name != "total")
    assert many["mapped"] == 101 * each["mapped"]


def test_as_many_tenants_fit_as_the_budget_has_room_for(tiny_backbone: Path) -> None:
    one = asked(tiny_backbone, 1)
    shared = one["tiers"]["host"]["total"] - one["per_tenant"]["private"] - one["per_tenant"]["adapter"]
    room = shared + 10 * (one["per_tenant"]["private"] + one["per_tenant"]["adapter"])
    assert asked(tiny_backbone, 10, room)["fits"]
    assert asked(tiny_backbone, 11, room)["most"] == {"host": 10}
    assert not asked(tiny_backbone, 11, room)["fits"]
    assert asked(tiny_backbone, 1, PROCESS // 2)["most"] == {"host": 0}


def test_on_a_card_adapters_and_base_take_none_of_the_host(tiny_backbone: Path) -> None:
    found = asked(tiny_backbone, 64, GIB, cuda=True)
    assert found["tiers"]["host"] == {
        "total": PROCESS + 64 * objects(50, 200),
        "process": PROCESS,
        "versions": 64 * objects(50, 200),
    }
    assert found["tiers"]["accelerator"]["adapters"] == 64 * found["per_tenant"]["adapter"]
    assert set(found["most"]) == {"host", "accelerator"}


def test_ranks_take_whole_pages_of_the_slab(tiny_backbone: Path) -> None:
    sizes = {
        rank: paged(recipe_of(tiny_backbone, adapter={"method": "lora", "rank": rank}), 10 * rank, 4)
        for rank in (4, 6, 8)
    }
    assert sizes == {4: 160, 6: 320, 8: 320}


@pytest.mark.trains
def test_a_run_takes_the_bytes_of_its_files_and_a_recipe_nearly_as_many(
    quick_run: Trained, tiny_backbone: Path
) -> None:
    run = quick_run("movies", {"adapter": {"method": "lora", "rank": 8}})
    recipe, found = of_run(run, lambda recipe: 4)
    sizes = {path.name: path.stat().st_size for path in run.iterdir()}
    assert found.disk == sum(size for name, size in sizes.items() if name != "README.md")
    assert found.mapped >= sizes["signals.safetensors"] + sizes["item_vectors.safetensors"]
    paper = hosting([recipe], [], 1, False, None, None)["per_tenant"]
    assert paper["adapter"] == found.adapter
    assert paper["private"] == found.private
    assert paper["mapped"] == pytest.approx(found.mapped, rel=0.1)


def test_runs_of_several_backbones_are_refused(monkeypatch: pytest.MonkeyPatch, tiny_backbone: Path) -> None:
    from llmrec_peft.footprint import hosting as room

    found = {
        "a": recipe_of(tiny_backbone),
        "b": recipe_of(tiny_backbone, **{"backbone.name": "minilm"}),
    }
    monkeypatch.setattr(room, "of_run", lambda run, itemsize: (found[run.name], None))
    with pytest.raises(InputError, match="several backbones"):
        hosting([], [Path("a"), Path("b")], 2, False, None, None)

"""Hosting: memory of an engine with many tenants, tier by tier, and how many tenants a budget has room for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmrec_peft import registry
from llmrec_peft.backbone.preflight import require_possible
from llmrec_peft.backbone.remote_code import decided
from llmrec_peft.errors import InputError
from llmrec_peft.footprint.check import backbone_folder, model_of, number_format
from llmrec_peft.footprint.estimate import CUDA_CONTEXT
from llmrec_peft.footprint.tenant_bytes import TenantBytes, of_run, on_paper
from llmrec_peft.footprint.workload_data import data_of
from llmrec_peft.model.learning_parts import divided
from llmrec_peft.recipe import Recipe

ROWS = 64
"""Texts of a pass at most."""
PROCESS = 290 << 20
"""Private bytes of a process whose engine has encoded a text, without base, slab and versions: measured on a CPU."""


SKELETONS = "with host_bytes, a version that left memory leaves 17 kB behind, all together 64 MiB at most"
"""What is not counted: it is small beside the versions that `host_bytes` has room for."""


@dataclass(frozen=True)
class Shared:
    """What all tenants share.

    Attributes:
        base: Bytes of the base.
        pass_: Bytes that a pass of `ROWS` of the longest texts adds.
        itemsize: Bytes of a number of the base.
        width: Width of texts' vectors.
        trained: Numbers of the recipe's adapter.
    """

    base: int
    pass_: int
    itemsize: int
    width: int
    trained: int


def hosting(
    recipes: Sequence[Recipe],
    runs: Sequence[Path],
    tenants: int,
    cuda: bool,
    gpu: int | None,
    ram: int | None,
    users: int | None = None,
    items: int | None = None,
) -> dict[str, Any]:
    """Return what `llmrec memory --tenants` says, as plain values.

    Args:
        recipes: A recipe of which all tenants are, or none where there are runs.
        runs: Runs of which the tenants are, in equal shares.
        tenants: Number of tenants.
        cuda: Whether the base, passes and adapters are on a card.
        gpu: Bytes of the card; None for any.
        ram: Bytes of the host's memory; None for any.
        users: Users of a tenant, where the recipe names no data.
        items: Items of a tenant, where the recipe names no data.

    Raises:
        InputError: If the recipe is impossible, a run cannot be read, or runs are of several bases.
    """
    if runs:
        recipe, shared, each, assumed = _of_runs(runs, cuda)
    else:
        recipe, shared, each, assumed = _of_recipe(recipes[0], cuda, users, items)
    mean = {name: round(sum(one.plain()[name] for one in each) / len(each)) for name in each[0].plain()}
    accelerator = {"base": shared.base, "pass": shared.pass_, **({"CUDA context": CUDA_CONTEXT} if cuda else {})}
    host = {"process": PROCESS, **({} if cuda else accelerator)}
    per_tenant = mean["private"] + (0 if cuda else mean["adapter"])
    most = {"host": _most(ram, sum(host.values()), per_tenant)}
    if cuda:
        most["accelerator"] = _most(gpu, sum(accelerator.values()), mean["adapter"])
    tiers: dict[str, dict[str, int]] = {}
    if cuda:
        tiers["accelerator"] = {**accelerator, "adapters": tenants * mean["adapter"]}
    tiers["host"] = {**host, "versions": tenants * mean["private"]}
    if not cuda:
        tiers["host"]["adapters"] = tenants * mean["adapter"]
    tiers["disk"] = {"sealed runs": tenants * mean["disk"]}
    return {
        "recipe": recipe.name,
        "runs": [str(run) for run in runs],
        "backbone": recipe.backbone.name,
        "device": "cuda" if cuda else "cpu",
        "tenants": tenants,
        "per_tenant": mean,
        "tiers": {name: {"total": sum(parts.values()), **parts} for name, parts in tiers.items()},
        "mapped": tenants * mean["mapped"],
        "budgets": {"gpu": gpu, "ram": ram},
        "most": most,
        "fits": all(count is None or count >= tenants for count in most.values()),
        "assumptions": [*assumed, "on CUDA the formula is not measured" if cuda else SKELETONS],
    }


def _most(budget: int | None, shared: int, each: int) -> int | None:
    """Return for how many tenants there is room; None without a budget, or where a tenant takes nothing."""
    return None if budget is None or not each else max(0, (budget - shared) // each)


def _of_recipe(
    recipe: Recipe, cuda: bool, users: int | None, items: int | None
) -> tuple[Recipe, Shared, list[TenantBytes], tuple[str, ...]]:
    require_possible(recipe)
    recipe, data = data_of(recipe, backbone_folder(recipe), users, items)
    shared = _shared(recipe, cuda, max(data.lengths))
    model = model_of(recipe, data, _bare(recipe, cuda))
    groups = model.parameter_groups()
    tables = sum(p.numel() for name in ("embeddings", "head") for _, p in groups[name])
    model.fold()
    parts = divided(model.signal_parts.state_dict(), {name: one.learning_parts for name, one in model.signals.items()})
    folded, learning = (sum(tensor.numel() for tensor in tensors.values()) for tensors in parts)
    each = on_paper(recipe, data, shared.trained, tables, folded, learning, shared.width, shared.itemsize)
    return recipe, shared, [each], data.assumptions


def _of_runs(runs: Sequence[Path], cuda: bool) -> tuple[Recipe, Shared, list[TenantBytes], tuple[str, ...]]:
    recipes, each = [], []
    for run in runs:
        recipe, found = of_run(run, lambda recipe: number_format(recipe.backbone.precision, cuda).itemsize)
        recipes.append(recipe)
        each.append(found)
    names = {recipe.backbone.name for recipe in recipes}
    if len(names) > 1:
        raise InputError(f"--run: runs are of several backbones, {' and '.join(sorted(names)[:2])}")
    recipe = recipes[0]
    return recipe, _shared(recipe, cuda, recipe.views.item.max_length), each, ()


def _bare(recipe: Recipe, cuda: bool) -> Any:
    from llmrec_peft.footprint.rehearsal import bare_on_meta

    section = recipe.backbone
    return bare_on_meta(backbone_folder(recipe), number_format(section.precision, cuda), decided(section))


def _shared(recipe: Recipe, cuda: bool, longest: int) -> Shared:
    """Count the base and a pass by a rehearsal."""
    from llmrec_peft.backbone.embedding_model import read_embedding_model
    from llmrec_peft.backbone.text_reader import pooling_of
    from llmrec_peft.footprint.rehearsal import rehearse

    section, backbone = recipe.backbone, _bare(recipe, cuda)
    method = registry.get("adapters", recipe.adapter.method)(recipe.adapter.config)
    files = read_embedding_model(backbone_folder(recipe))
    length = min(longest, backbone.window)
    found = rehearse(backbone, method, section.quantization, False, ROWS, length, pooling_of(section, files))
    width = files.dense[-1].outputs if files is not None and files.dense else found.width
    dtype = number_format(section.precision, cuda)
    return Shared(found.base, found.encode, dtype.itemsize, width, found.trained // 4)

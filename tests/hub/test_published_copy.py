"""A published copy answers new users as its run does, and has nothing of what is private."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from people_run import ITEMS, PLACES, USERS

from llmrec_peft.artifact.lineage import parse_lineage
from llmrec_peft.artifact.manifest import PRIVATE, read_manifest
from llmrec_peft.backbone.tensor_files import read_tensors
from llmrec_peft.errors import InputError
from llmrec_peft.hub.published_copy import Shared, is_public, write_copy
from llmrec_peft.hub.same_answers import require_same
from llmrec_peft.hub.without_paths import local_paths, plain, published_recipe
from llmrec_peft.recipe import load_recipe
from llmrec_peft.run.read_tenant import read_tenant
from llmrec_peft.run.recommender import Recommender
from llmrec_peft.run.tenant import LoadedTenant


def tenant_of(run: Path) -> LoadedTenant:
    return Recommender.from_pretrained(run).loaded


def copied(tenant: LoadedTenant, folder: Path, users: bool, items: bool) -> LoadedTenant:
    folder.mkdir()
    write_copy(tenant, folder, Shared(users, items))
    return read_tenant(folder, tenant.model.device, lambda manifest, recipe: tenant.base)


def contents(folder: Path) -> str:
    """Everything that the files of a folder say, tables unpacked."""
    texts = [path.read_bytes().decode("latin-1") for path in folder.iterdir() if path.suffix != ".parquet"]
    return "\n".join([*texts, *(str(pq.read_table(path).to_pydict()) for path in folder.glob("*.parquet"))])


def test_copy_has_no_user_no_interaction_and_no_path(people_run: Path, tmp_path: Path) -> None:
    tenant = tenant_of(people_run)
    copy = copied(tenant, tmp_path / "copy", users=False, items=True)
    said = contents(tmp_path / "copy")
    assert not [user for user in USERS if user in said]
    assert not [place for place in PLACES if place in said]
    assert str(people_run.parent.parent) not in said
    assert not {path.name for path in (tmp_path / "copy").iterdir()} & set(PRIVATE)
    assert copy.vocabulary.users == ()
    raw = b"".join(path.read_bytes() for path in (tmp_path / "copy").iterdir())
    tables = read_tensors(people_run / "signals.safetensors")
    for name in ("collaborative.folded.user", "features.folded.vector"):
        assert len(tables[name]) == len(USERS) + 1
        assert not [row for row in tables[name][1:] if row.numpy().tobytes() in raw], name
    assert require_same(tenant, copy).users == 0


def test_run_whose_base_is_merged_is_not_published_without_it(people_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(people_run, tmp_path / "merged")
    (run / "base").mkdir()
    with pytest.raises(InputError, match=r"lies in base/.* push the run that was merged"):
        write_copy(tenant_of(run), tmp_path / "copy", Shared(False, True))
    assert not (tmp_path / "copy").exists()


def test_copy_without_items_has_ids_and_vectors_and_no_text(people_run: Path, tmp_path: Path) -> None:
    tenant = tenant_of(people_run)
    copy = copied(tenant, tmp_path / "copy", users=False, items=False)
    said = contents(tmp_path / "copy")
    assert "Secret lamp" not in said
    assert all(item in said for item in ITEMS)
    require_same(tenant, copy)
    best = Recommender.of(copy).recommend(["nobody"], 3)[0]
    assert [item.title for item in best.items] == [item.item_id for item in best.items]
    asked = Recommender.of(tenant).recommend(["nobody"], 3)[0]
    assert [(item.item_id, item.score) for item in best.items] == [(item.item_id, item.score) for item in asked.items]


def test_copy_with_users_answers_each_as_the_run_without_interactions(people_run: Path, tmp_path: Path) -> None:
    tenant = tenant_of(people_run)
    copy = copied(tenant, tmp_path / "copy", users=True, items=True)
    assert require_same(tenant, copy).users == len(USERS)
    assert copy.notes, "that histories are missing is said"
    assert copy.canary is not None
    copy.canary.require(copy)


def test_new_user_who_tells_a_history_gets_personal_scores_from_a_copy(people_run: Path, tmp_path: Path) -> None:
    tenant = tenant_of(people_run)
    copy = Recommender.of(copied(tenant, tmp_path / "copy", users=False, items=False))
    history = [[(ITEMS[3], 5.0), (ITEMS[9], 1.0)]] * 4
    told = copy.score(["somebody"] * 4, ITEMS[:4], histories=history)
    np.testing.assert_array_equal(told, Recommender.of(tenant).score(["nobody"] * 4, ITEMS[:4], histories=history))
    assert not np.array_equal(told, copy.score(["somebody"] * 4, ITEMS[:4]))


def test_copy_says_what_it_was_made_of(people_run: Path, tmp_path: Path) -> None:
    tenant = tenant_of(people_run)
    copy = copied(tenant, tmp_path / "copy", users=False, items=False)
    manifest = read_manifest(tmp_path / "copy")
    assert manifest.digest == copy.manifest.digest != tenant.manifest.digest
    lineage = parse_lineage((tmp_path / "copy" / "lineage.json").read_bytes(), tmp_path)
    assert lineage.steps[-2].digest == tenant.manifest.digest
    told = lineage.steps[-1].published
    assert told is not None
    assert (told.users, told.items, told.plugins) == (False, False, {})
    assert manifest.base["weights_sha256"] == tenant.manifest.base["weights_sha256"]
    assert json.loads((tmp_path / "copy" / "adapter_config.json").read_text())["base_model_name_or_path"] == (
        Path(str(tenant.manifest.base["name"])).name
    )


@pytest.mark.parametrize("task", ["click", "ranking", "joint"])
def test_copies_of_other_tasks_answer_a_new_user_as_their_runs(
    task: str, task_runs: Callable[[str], Path], tmp_path: Path
) -> None:
    tenant = tenant_of(task_runs(task))
    require_same(tenant, copied(tenant, tmp_path / "copy", users=False, items=False))


def test_run_whose_prompts_tell_of_items_is_published_with_items_alone(
    task_runs: Callable[[str], Path], tmp_path: Path
) -> None:
    tenant = tenant_of(task_runs("prompt"))
    with pytest.raises(InputError, match=r"read from texts about items.*--include-items"):
        copied(tenant, tmp_path / "copy", users=False, items=False)
    require_same(tenant, copied(tenant, tmp_path / "whole", users=False, items=True))


def test_copy_that_answers_otherwise_is_told(people_run: Path, tiny_run: Path, tmp_path: Path) -> None:
    tenant = tenant_of(people_run)
    copy = copied(tenant, tmp_path / "copy", users=False, items=True)
    vectors = copy.catalogue.vectors
    assert vectors is not None
    changed = vectors.clone()
    changed[7, 0] += 1e-3
    with pytest.raises(InputError, match=rf"text vector of item '{ITEMS[7]}' is not that of the run"):
        require_same(tenant, copy.with_vectors(changed))
    with pytest.raises(InputError, match=r"other items"):
        require_same(tenant_of(tiny_run), copy)


def test_copy_of_a_run_that_reads_who_trusts_whom_has_nobody_in_it(
    quick_run: Callable[..., Path], tmp_path: Path
) -> None:
    tenant = tenant_of(quick_run("social", {"training.epochs": 3}))
    copy = copied(tenant, tmp_path / "copy", users=False, items=True)
    require_same(tenant, copy)
    tables = read_tensors(tmp_path / "copy" / "signals.safetensors")
    assert len(tables["trust.folded.user"]) == len(tables["collaborative.folded.user_offset"]) == 1


def test_run_whose_items_are_people_is_published_with_users_alone(
    quick_run: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"its items are people.*--include-users"):
        copied(tenant_of(quick_run("social-people", {})), tmp_path / "copy", users=False, items=True)


def test_catalogue_is_public_where_everybody_can_have_the_data() -> None:
    assert is_public(load_recipe("movies", (), {"data.path": "/home/ann/ml-100k"}))
    assert is_public(load_recipe("ecommerce", (), {"data.path": "demo"}))
    assert not is_public(load_recipe("movies", (), {"data.reader": "frames"}))
    assert not is_public(load_recipe("movies", (), {"data.reader": "files", "data.path": "films"}))


def test_recipe_and_figures_lose_every_path_and_keep_the_rest(people_run: Path) -> None:
    tenant = tenant_of(people_run)
    recipe = tenant.recipe.changed({"data.path": "/home/ann/shop", "data.graph": "~/graph"})
    told = published_recipe(recipe, tenant.manifest)
    assert (told.data.path, told.data.graph) == (None, None)
    assert told.backbone.name == Path(recipe.backbone.name).name
    assert told.views == recipe.views
    assert told.adapter == recipe.adapter
    figures = {"notes": ["read /home/ann/shop/a.csv", "../b"], "deep": {"base": recipe.backbone.name, "n": 1.5}}
    kept = plain(figures, local_paths(recipe, tenant.manifest))
    assert kept == {"notes": ["read shop/a.csv", "b"], "deep": {"base": Path(recipe.backbone.name).name, "n": 1.5}}
    hub_base = tenant.manifest.model_copy(update={"base": {**tenant.manifest.base, "revision": "0" * 40}})
    assert published_recipe(recipe, hub_base).backbone.name == recipe.backbone.name

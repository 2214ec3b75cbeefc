"""Recommending by candidates: users and items computed once, and the same answers as pair by pair."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from resealed import resealed

from llmrec_peft.backbone.tensor_files import read_tensors, write_tensors
from llmrec_peft.errors import InputError
from llmrec_peft.model import RecModel
from llmrec_peft.run import candidates, tenant
from llmrec_peft.run.best_items import BestItems, best
from llmrec_peft.run.recommender import Recommender

CASES = {
    "ratings": ("movies", {}),
    "gated": ("movies", {"fusion.kind": "gated"}),
    "late": ("movies", {"fusion.kind": "late"}),
    "networks": ("movies", {"fusion.kind": "mlp"}),
    "features": ("movies", {"signals.features": {"items": ["year"]}}),
    "clicks by taste": ("collm-ml-1m", {}),
    "rankings with histories": ("amazon-scientific", {"signals.history.closest": True, "fusion.dim": 32}),
    "a ranking beside ratings": ("movies", {"heads": ["rating", {"name": "ranking", "negatives": "catalogue"}]}),
}


@pytest.mark.parametrize("case", CASES)
def test_every_item_has_the_score_that_its_pair_has(case: str, quick_run: Callable[..., Path]) -> None:
    recommender = Recommender.from_pretrained(quick_run(*CASES[case]))
    names, items = recommender.vocabulary.users, recommender.catalogue.ids
    chosen = [*names[:3], "nobody"]
    scores = recommender.tenant.catalogue_scores(recommender.vocabulary.user_indices(chosen))
    paired = recommender.score([user for user in chosen for _ in items], list(items) * len(chosen))
    np.testing.assert_allclose(scores, paired.reshape(len(chosen), len(items)), rtol=1e-4, atol=1e-4)


def test_answers_do_not_depend_on_how_many_users_and_items_go_at_once(
    quick_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = quick_run(*CASES["rankings with histories"])
    users = list(Recommender.from_pretrained(run).vocabulary.users[:7])
    whole = Recommender.from_pretrained(run).recommend(users, 5)
    monkeypatch.setattr(candidates, "CHUNK", 17)
    monkeypatch.setattr(candidates, "CELLS", 400)
    parted = Recommender.from_pretrained(run).recommend(users, 5)
    for one, other in zip(whole, parted, strict=True):
        assert [item.item_id for item in one.items] == [item.item_id for item in other.items]


def test_items_side_comes_from_the_folder_and_is_computed_anew_when_items_are_added(
    tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recommender = Recommender.from_pretrained(tiny_run)
    asked: list[int] = []
    inner = RecModel.item_side
    monkeypatch.setattr(
        RecModel, "item_side", lambda model, items, *further: asked.append(len(items)) or inner(model, items, *further)
    )
    users = list(recommender.vocabulary.users[:3])
    count = len(recommender.catalogue.ids)
    recommender.recommend(users, 3)
    recommender.recommend(users, 3)
    assert sum(asked) == 0
    added = {"item_id": "new", "title": "A new film", "year": 1999, "genres": ["Drama"]}
    recommender.add_items([added])
    asked.clear()
    (answer,) = recommender.recommend([users[0]], k=count + 1, seen=True)
    assert sum(asked) == count + 1
    assert "new" in {item.item_id for item in answer.items}
    score = {item.item_id: item.score for item in answer.items}["new"]
    assert score == pytest.approx(float(recommender.score([users[0]], ["new"])[0]), abs=1e-4)


@pytest.mark.parametrize("seed", [0, 1])
def test_best_are_those_of_a_stable_sort(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(50):
        keys = rng.integers(0, 5, 40).astype(np.float32)  # many are equal
        keys[rng.random(40) < 0.1] = np.nan
        allowed = rng.random(40) < 0.7
        k = int(rng.integers(1, 45))
        rows = np.flatnonzero(allowed)
        expected = rows[np.argsort(-keys[rows], kind="stable")[:k]]
        assert best(keys, allowed, k).tolist() == expected.tolist()


@pytest.mark.parametrize("item", [-1, 41, 9_999])
def test_run_whose_users_have_seen_items_that_it_does_not_have_is_refused(
    item: int, tiny_run: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    seen = read_tensors(run / "seen.safetensors")
    seen["item"][0] = item
    write_tensors(run / "seen.safetensors", seen)
    resealed(run)
    with pytest.raises(InputError, match=rf"seen.safetensors: item {item} is none of the run's items 1 to 40"):
        Recommender.from_pretrained(run)


# ---- the best of a large catalogue ----


@pytest.mark.parametrize("step", [1, 7, 40])
@pytest.mark.parametrize("k", [1, 5, 60])
@pytest.mark.parametrize("seed", range(2))
def test_best_so_far_are_the_best_of_all(seed: int, k: int, step: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 6, (9, 40)).astype(np.float32)  # many are equal
    left_out = [rng.permutation(40)[: rng.integers(0, 41)] for _ in range(9)]
    found = BestItems(9, k)
    for at in range(0, 40, step):
        found.add(at, scores[:, at : at + step], left_out)
    for row, ranked in enumerate(found.ranked()):
        allowed = np.ones(40, bool)
        allowed[left_out[row]] = False
        assert ranked.rows.tolist() == best(scores[row], allowed, k).tolist()
        assert ranked.scores.tolist() == scores[row, ranked.rows].tolist()


@pytest.mark.parametrize("seen", [False, True])
def test_chunks_give_the_answers_that_all_scores_give(
    seen: bool, tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recommender = Recommender.from_pretrained(tiny_run)
    users = [*recommender.vocabulary.users[:9], "nobody", recommender.vocabulary.users[0]]
    monkeypatch.setattr(tenant, "WHOLE", 10**9)
    whole = recommender.recommend(users, 4, seen)
    monkeypatch.setattr(tenant, "WHOLE", 1)
    monkeypatch.setattr(candidates, "CHUNK", 6)
    assert recommender.recommend(users, 4, seen) == whole
    assert whole[-2].basis == "popularity"
    assert whole[-1] == whole[0]


def test_no_more_scores_than_a_chunk_has_are_in_memory(tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recommender = Recommender.from_pretrained(tiny_run)
    sizes: list[int] = []
    add = BestItems.add

    def watched(found: BestItems, at: int, scores: np.ndarray, left_out: list[np.ndarray]) -> None:
        sizes.append(scores.size)
        add(found, at, scores, left_out)

    monkeypatch.setattr(BestItems, "add", watched)
    monkeypatch.setattr(candidates, "CHUNK", 8)
    monkeypatch.setattr(candidates, "CELLS", 24)
    recommender.recommend(recommender.vocabulary.users[:7], 2)
    assert max(sizes) == 24
    assert sum(sizes) == 7 * len(recommender.catalogue.ids), "each score once"

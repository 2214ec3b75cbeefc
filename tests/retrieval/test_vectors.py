"""Vectors of a run: their products are its scores, whatever the head; heads whose scores are no product are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from llmrec_peft.errors import InputError
from llmrec_peft.heads.contract import Joined
from llmrec_peft.retrieval import Index
from llmrec_peft.run.recommender import Recommender

Trained = Callable[..., Path]
PROMPT = 'views.prompt={template: "{{ item.title }}"}'


def pairs(recommender: Recommender, count: int = 60) -> tuple[list[str], list[str]]:
    rng = np.random.default_rng(1)
    users = [*rng.choice(recommender.vocabulary.users, count - 1), "nobody"]
    return users, list(rng.choice(recommender.catalogue.ids, count))


def products(recommender: Recommender, users: list[str], items: list[str]) -> np.ndarray:
    told, found = recommender.user_vectors(users), recommender.item_vectors()
    rows = [found.ids.index(item) for item in items]
    return (told.vectors * found.vectors[rows]).sum(1) + told.constant


@pytest.mark.trains
@pytest.mark.parametrize("run", ["ranking_run", "retrieval_run"])
def test_product_is_the_score_of_heads_that_rank(run: str, request: pytest.FixtureRequest) -> None:
    recommender = Recommender.from_pretrained(request.getfixturevalue(run))
    users, items = pairs(recommender)
    expected = recommender.score(users, items)
    np.testing.assert_allclose(products(recommender, users, items), expected, rtol=1e-4, atol=1e-4)


def test_towers_of_the_retrieval_head_have_length_one(retrieval_run: Path, ranking_run: Path) -> None:
    towers, plain = (Recommender.from_pretrained(run) for run in (retrieval_run, ranking_run))
    assert towers.item_vectors().normalized
    assert towers.user_vectors(towers.vocabulary.users).normalized
    assert not plain.item_vectors().normalized


def test_product_is_the_rating_before_it_is_clamped(tiny_run: Path) -> None:
    recommender = Recommender.from_pretrained(tiny_run)
    users, items = pairs(recommender)
    found = products(recommender, users, items)
    np.testing.assert_allclose(found.clip(1.0, 5.0), recommender.score(users, items), rtol=1e-4, atol=1e-4)
    assert recommender.item_vectors().unit == "stars"


@pytest.mark.parametrize("kind", ["late", "mlp", "gated"])
def test_every_fusion_ends_in_a_product(kind: str, trained: Trained) -> None:
    settings = (f"fusion.kind={kind}", "training.choice=validation")
    recommender = Recommender.from_pretrained(trained("amazon-scientific", *settings))
    users, items = pairs(recommender)
    expected = recommender.score(users, items)
    np.testing.assert_allclose(products(recommender, users, items), expected, rtol=1e-4, atol=1e-4)


def test_product_is_the_log_odds_of_clicks_by_pairs(trained: Trained) -> None:
    recommender = Recommender.from_pretrained(trained("tallrec-movie", "head.calibration=none"))
    users, items = pairs(recommender)
    found = 1.0 / (1.0 + np.exp(-products(recommender, users, items)))
    np.testing.assert_allclose(found, recommender.score(users, items), rtol=1e-4, atol=1e-4)
    assert recommender.user_vectors([]).vectors.shape == (0, recommender.item_vectors().vectors.shape[1])


def test_search_gives_what_recommend_gives(ranking_run: Path) -> None:
    recommender = Recommender.from_pretrained(ranking_run)
    users = list(recommender.vocabulary.users[:5])
    items = recommender.item_vectors()
    _, rows = Index.build(items.vectors).search(recommender.user_vectors(users).vectors, k=10)
    for user, found, expected in zip(users, rows, recommender.recommend(users, k=10, seen=True), strict=True):
        assert [items.ids[row] for row in found] == [item.item_id for item in expected.items], user


def test_added_cold_item_is_among_the_vectors_and_is_found(retrieval_run: Path) -> None:
    recommender = Recommender.from_pretrained(retrieval_run)
    title = recommender.catalogue.titles[3]
    recommender.add_items([{"item_id": "new", "title": title}])
    items = recommender.item_vectors()
    assert (items.ids[-1], items.titles[-1]) == ("new", title)
    users = list(recommender.vocabulary.users[:20])
    told = recommender.user_vectors(users)
    expected = recommender.score(users, ["new"] * len(users))
    np.testing.assert_allclose(told.vectors @ items.vectors[-1] + told.constant, expected, rtol=1e-4, atol=1e-4)
    _, rows = Index.build(items.vectors).search(told.vectors, k=len(items.ids))
    assert (rows == len(items.ids) - 1).any(axis=1).all()
    asked = np.append(items.vectors[-1, :-1], 0.0).astype(np.float32)[None, :]
    assert Index.build(items.vectors).search(asked, k=2)[1].tolist()[0].count(len(items.ids) - 1) == 1


def test_signal_that_adds_to_pairs_is_refused(trained: Trained) -> None:
    recommender = Recommender.from_pretrained(trained("amazon-scientific", "signals.history={repeats: place}"))
    with pytest.raises(InputError, match="signal history adds to a user and an item together"):
        recommender.item_vectors()
    with pytest.raises(InputError, match="signal history adds to a user and an item together"):
        recommender.user_vectors(["1"])


def test_signal_whose_offset_is_of_a_pair_is_refused(trained: Trained) -> None:
    recommender = Recommender.from_pretrained(trained("tallrec-movie", "signals.taste={}"))
    with pytest.raises(InputError, match="signal taste adds to a user and an item together"):
        recommender.item_vectors()


def test_head_that_reads_prompts_is_refused(trained: Trained) -> None:
    recommender = Recommender.from_pretrained(trained("tallrec-movie", "head.feed=prompt", PROMPT))
    with pytest.raises(InputError, match="head click reads user and item as one prompt"):
        recommender.item_vectors()


def test_head_whose_score_is_another_than_its_product_is_refused(
    ranking_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recommender = Recommender.from_pretrained(ranking_run)
    head = recommender.model.head

    def halves(user: Joined, item: Joined) -> tuple[Joined, Joined]:
        return user, Joined(None if item.vector is None else item.vector * 0.5, item.offset)

    monkeypatch.setattr(type(head), "raw", lambda self, batch, user, item: (user.vector - item.vector).sum(-1))
    with pytest.raises(InputError, match=r"head ranking: its score does not follow the product of its two sides"):
        recommender.item_vectors()
    monkeypatch.undo()
    monkeypatch.setattr(head, "sides", halves)
    with pytest.raises(InputError, match="does not follow the product"):
        recommender.item_vectors()

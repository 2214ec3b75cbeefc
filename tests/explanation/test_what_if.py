"""WhatIf: histories put back give the folded scores, and what is left out is left out of a score computed anew."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from llmrec_peft.artifact.seen import read_learned
from llmrec_peft.backbone.tensor_files import read_tensors
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.explanation.explainer import Explainer
from llmrec_peft.explanation.pieces import Pair, Piece, Variant
from llmrec_peft.explanation.what_if import WhatIf
from llmrec_peft.run.recommender import Recommender
from llmrec_peft.signals.parts.rating_history import RatingHistory


def pairs_of(explainer: Explainer, count: int = 40) -> list[Pair]:
    rng = np.random.default_rng(2)
    tenant = explainer.what_if.recommender.tenant
    users, rows = rng.integers(1, tenant.vocabulary.num_users, count), rng.integers(0, len(tenant.catalogue.ids), count)
    return [Pair(user, row) for user, row in zip(users.tolist(), rows.tolist(), strict=True)]


def items_of(what_if: WhatIf, user: int) -> list[int]:
    return list(dict.fromkeys(what_if.learned.of(user)[0].tolist()))


@pytest.mark.trains
@pytest.mark.parametrize("name", ["films", "purchases", "prompts"])
def test_histories_put_back_give_the_scores_of_folded_tables(name: str, request: pytest.FixtureRequest) -> None:
    explainer: Explainer = request.getfixturevalue(name)
    what_if = explainer.what_if
    assert what_if.remembers
    folded = WhatIf(what_if.recommender, None)
    assert not folded.remembers
    variants = [Variant(pair) for pair in pairs_of(explainer, 12)]
    np.testing.assert_allclose(what_if.scores(variants), folded.scores(variants), rtol=0, atol=2e-4)


def test_raw_scores_are_the_recommenders_before_they_are_clamped(films: Explainer) -> None:
    what_if = films.what_if
    recommender, pairs = what_if.recommender, pairs_of(films)
    users = [recommender.vocabulary.users[pair.user - 1] for pair in pairs]
    items = [recommender.catalogue.ids[pair.row] for pair in pairs]
    low, high = recommender.model.head.parts["scale"]["range"].tolist()
    raw = np.clip(what_if.scores([Variant(pair) for pair in pairs]), low, high)
    np.testing.assert_allclose(raw, recommender.score(users, items), rtol=0, atol=2e-4)


def test_histories_that_are_not_what_was_learnt_are_not_put_back(film_run: Path) -> None:
    recommender = Recommender.from_pretrained(film_run)
    learned = read_learned(film_run / "seen.safetensors")
    assert learned is not None
    assert WhatIf(recommender, learned).remembers
    half = learned.take(np.arange(0, len(learned), 2))
    what_if = WhatIf(recommender, half)
    assert not what_if.remembers
    assert what_if.model is recommender.model


def test_left_out_ratings_are_as_never_given(films: Explainer) -> None:
    """Against a model whose history was built without them, by the means of everything that was learnt."""
    what_if = films.what_if
    learned = read_from(what_if)
    pair = next(pair for pair in pairs_of(films) if len(items_of(what_if, pair.user)) > 4)
    gone = items_of(what_if, pair.user)[1:4]
    kept = ~((learned.user == pair.user) & np.isin(learned.item, gone))
    model = what_if.model.sharing(signals=copy.deepcopy(what_if.model.signals))
    signal = model.signals["collaborative"]
    users, items = what_if.recommender.vocabulary.num_users, what_if.recommender.vocabulary.num_items
    signal.parts["history"] = RatingHistory(learned.take(np.flatnonzero(kept)), users, items, learned)
    batch = what_if.recommender.tenant.batch(np.array([pair.user]), np.array([pair.row]))
    with torch.no_grad():
        expected = float(model.raw(model.with_texts(batch))[0])
    without = tuple(Piece("history", item) for item in gone)
    whole, found = what_if.scores([Variant(pair), Variant(pair, without)])
    assert found == pytest.approx(expected, abs=2e-5)
    assert abs(whole - found) > 1e-3


def test_own_rating_of_the_item_is_left_out_of_both_histories(films: Explainer) -> None:
    what_if = films.what_if
    learned = read_from(what_if)
    user, item = int(learned.user[7]), int(learned.item[7])
    pair = Pair(user, item - 1)
    kept = ~((learned.user == user) & (learned.item == item))
    model = what_if.model.sharing(signals=copy.deepcopy(what_if.model.signals))
    users, items = what_if.recommender.vocabulary.num_users, what_if.recommender.vocabulary.num_items
    known = learned.take(np.flatnonzero(kept))
    model.signals["collaborative"].parts["history"] = RatingHistory(known, users, items, learned)
    batch = what_if.recommender.tenant.batch(np.array([user]), np.array([item - 1]))
    with torch.no_grad():
        expected = float(model.raw(model.with_texts(batch))[0])
    (found,) = what_if.scores([Variant(pair, (Piece("history", item),))])
    assert found == pytest.approx(expected, abs=2e-5)


def read_from(what_if: WhatIf) -> Interactions:
    """The interactions that a scorer remembers."""
    told = what_if.learned
    user = np.repeat(np.arange(len(told)), told.lengths)
    return Interactions(user, told.item, told.label, np.zeros(len(user), np.int64))


def test_left_out_purchase_is_a_score_with_the_shorter_history(purchase_run: Path, purchases: Explainer) -> None:
    recommender = Recommender.from_pretrained(purchase_run)
    what_if = WhatIf(recommender, None)  # folded tables: only the history that the model reads can change
    pair = next(pair for pair in pairs_of(purchases) if len(recommender.tenant.seen.of(pair.user)[0]) > 3)
    items, labels = recommender.tenant.seen.of(pair.user)
    gone = int(items[-2])
    names = recommender.vocabulary.items
    shorter = [(names[i - 1], float(x)) for i, x in zip(items, labels, strict=True) if i != gone]
    user, item = recommender.vocabulary.users[pair.user - 1], recommender.catalogue.ids[pair.row]
    expected = float(recommender.score([user], [item], histories=[shorter])[0])
    whole, found = what_if.scores([Variant(pair), Variant(pair, (Piece("history", gone),))])
    assert found == pytest.approx(expected, abs=1e-5)
    assert whole == pytest.approx(float(recommender.score([user], [item])[0]), abs=1e-5)
    assert abs(whole - found) > 1e-5


def test_left_out_entry_is_out_of_the_prompt(prompt_run: Path, prompts: Explainer) -> None:
    recommender = Recommender.from_pretrained(prompt_run)
    what_if = WhatIf(recommender, None)
    pair = next(pair for pair in pairs_of(prompts) if (recommender.tenant.seen.of(pair.user)[1] > 0.5).sum() > 1)
    items, labels = recommender.tenant.seen.of(pair.user)
    gone = int(items[labels > 0.5][0])
    names = recommender.vocabulary.items
    shorter = [(names[i - 1], float(x)) for i, x in zip(items, labels, strict=True) if i != gone]
    user, item = recommender.vocabulary.users[pair.user - 1], recommender.catalogue.ids[pair.row]
    whole, found = what_if.scores([Variant(pair), Variant(pair, (Piece("history", gone),))])
    expected = recommender.score([user], [item], histories=[shorter])[0]
    assert 1 / (1 + np.exp(-found)) == pytest.approx(_uncalibrated(recommender, float(expected)), abs=1e-3)
    assert whole != found


def _uncalibrated(recommender: Recommender, probability: float) -> float:
    """The probability that Platt's calibrator was given."""
    scale = recommender.model.head.parts["calibration"]
    logit = (np.log(probability / (1 - probability)) - float(scale["intercept"].detach())) / float(
        scale["slope"].detach()
    )
    return float(1 / (1 + np.exp(-logit)))


def test_left_out_word_is_a_text_without_it(films: Explainer) -> None:
    what_if = films.what_if
    recommender, pair = what_if.recommender, Pair(3, 5)
    text = recommender.items.texts[5]
    words = what_if.worded(5).words
    place = next(at for at, word in enumerate(words) if text.count(word) == 1 and f" {word} " in text)
    shorter = text.replace(f" {words[place]} ", " ")
    vectors = recommender.encode([text, shorter])
    with torch.no_grad():
        expected = what_if.raw_of_texts(pair, vectors).numpy()
    found = what_if.scores([Variant(pair), Variant(pair, (Piece("word", place),))])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert abs(found[0] - found[1]) > 1e-5


def test_left_out_neighbours_take_the_graph_with_them(films: Explainer) -> None:
    what_if = films.what_if
    pair = next(pair for pair in pairs_of(films) if films._pieces(pair, "path"))
    pieces = tuple(films._pieces(pair, "path"))
    without_all, without_graph = what_if.scores([Variant(pair, pieces), Variant(pair, (Piece("signal", "graph"),))])
    assert without_all == pytest.approx(without_graph, abs=1e-5)
    assert without_all != what_if.scores([Variant(pair)])[0]


def test_variants_are_scored_together_as_apart(films: Explainer, monkeypatch: pytest.MonkeyPatch) -> None:
    from llmrec_peft.explanation import what_if as module

    pairs = pairs_of(films, 6)
    variants = [
        Variant(pair, (piece,)) for pair in pairs for kind in films.kinds for piece in films._pieces(pair, kind)[:3]
    ]
    together = films.what_if.scores(variants)
    monkeypatch.setattr(module, "CHUNK", 7)
    np.testing.assert_allclose(films.what_if.scores(variants), together, rtol=0, atol=1e-5)


def test_what_was_learnt_is_marked_among_what_was_seen(prompt_run: Path) -> None:
    seen = read_tensors(prompt_run / "seen.safetensors")
    learned = read_learned(prompt_run / "seen.safetensors")
    assert learned is not None
    assert sorted(seen) == ["bounds", "item", "label", "learned"]
    assert len(learned) == int(seen["learned"].sum()) < len(seen["item"])
    assert read_learned(prompt_run / "none.safetensors") is None


def test_explainer_reads_nothing_twice(
    films: Explainer, explainer_of: Callable[..., Explainer], film_run: Path
) -> None:
    """Without words no language model is loaded."""
    explainer = explainer_of(film_run, words="none")
    user, item = explainer.what_if.recommender.vocabulary.users[0], explainer.what_if.recommender.catalogue.ids[0]
    explainer.explain(user, item)
    assert not explainer.what_if.recommender.language_model.loaded
    assert "word" not in explainer.kinds

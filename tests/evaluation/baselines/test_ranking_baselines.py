"""Trivial lines of ranking against loops that spell them out, and on real sequences whose figures are known."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from llmrec_peft.data.histories import Histories, earlier
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.evaluation import outcomes
from llmrec_peft.evaluation.baselines import ranking as module
from llmrec_peft.evaluation.baselines import ranking_data
from llmrec_peft.evaluation.baselines.baseline import Baseline
from llmrec_peft.evaluation.baselines.ranking import (
    LENGTHS,
    SHARES,
    neighbour_counts,
    ranking_baselines,
    weighted_histories,
)
from llmrec_peft.evaluation.baselines.ranking_data import RankingData
from llmrec_peft.evaluation.measures import RankingMeasure
from llmrec_peft.evaluation.ranking_metrics import ndcg_at_k
from llmrec_peft.experiment.prepare import prepare
from llmrec_peft.recipe import load_recipe

USERS, ITEMS, WIDTH = 60, 30, 6
TITLES = [f"kind {item // 5} no{item}" for item in range(1, ITEMS)]
"""Five items of a kind share its number; the word that all have says nothing."""


def texts(seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed + 5).normal(size=(ITEMS, WIDTH))).float()


def world(seed: int, told: bool = True, own_items: bool = True, length: int = 9) -> RankingData:
    """Sequences in which an item is often followed by one that stands beside it, or by one whose text is like its own.

    The last item of a sequence is the test, the one before it validation; times are the places.
    """
    rng, vectors = np.random.default_rng(seed), texts(seed).numpy()[1:]
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    alike = np.argsort(-(unit @ unit.T), axis=1)[:, 1:4] + 1
    user, item = [], []
    for one in range(1, USERS):
        now = int(rng.integers(1, ITEMS))
        for _ in range(length):
            user.append(one)
            item.append(now)
            draw = rng.random()
            if draw < 0.45:
                now = now % (ITEMS - 1) + 1
            elif draw < 0.8:
                now = int(rng.choice(alike[now - 1]))
            else:
                now = int(rng.integers(1, ITEMS))
    users, items = np.array(user), np.array(item)
    time = np.tile(np.arange(length), USERS - 1)
    rows = np.arange(len(users))
    history = earlier(users, items, np.ones(len(users), np.float32), time, rows, rows)
    whole = Interactions(users, items, np.ones(len(users), np.float32), time, history)
    train, valid, test = (
        whole.take(np.flatnonzero(chosen)) for chosen in (time < length - 2, time == length - 2, time == length - 1)
    )
    fit = whole.take(np.flatnonzero(time < length - 1))
    return RankingData(
        train, valid, fit, test, ITEMS, texts(seed) if told else None, own_items, "ndcg@10", titles=TITLES
    )


def found(data: RankingData) -> dict[str, Baseline]:
    return {baseline.name: baseline for baseline in ranking_baselines(data)}


# ---- the same, spelled out ----


def beside(learn: Interactions) -> np.ndarray:
    """How often each item came right before or right after each other one in someone's sequence."""
    counts = np.zeros((ITEMS, ITEMS))
    for user in set(learn.user.tolist()):
        own = [row for row in range(len(learn)) if learn.user[row] == user]
        own.sort(key=lambda row: (learn.timestamp[row], row))
        for one, other in pairwise(own):
            counts[learn.item[one], learn.item[other]] += 1
            counts[learn.item[other], learn.item[one]] += 1
    return counts


def newest(part: Interactions, row: int, length: int) -> list[tuple[int, float]]:
    """Items of a history's last entries; the p-th newest weighs 1/p."""
    assert part.history is not None
    told = part.history.of(row)[0].tolist()[-length:]
    return [(item, 1.0 / place) for place, item in zip(range(len(told), 0, -1), told, strict=True) if item > 0]


def scores(data: RankingData, name: str, settings: dict[str, float], learn: Interactions, ask: Interactions) -> Any:
    """Scores of all items for each example, by loops."""
    table = np.zeros((len(ask), ITEMS - 1))
    if name == "popularity":
        return table + np.bincount(learn.item, minlength=ITEMS)[1:]
    if name == "transitions_and_words":
        return what_follows(settings, learn, ask)
    counts, length = beside(learn), int(settings["length"])
    unit = np.zeros((ITEMS, WIDTH))
    if data.texts is not None:
        unit = data.texts.numpy().astype(float)
        unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    for row in range(len(ask)):
        for item in range(1, ITEMS):
            told = newest(ask, row, length)
            count = sum(weight * counts[entry, item] for entry, weight in told)
            cosine = sum(weight * unit[entry] @ unit[item] for entry, weight in told)
            count = np.log1p(count) if settings.get("logarithm") else count
            table[row, item - 1] = {
                "neighbour_counts": count,
                "text_cosine": cosine,
                "counts_and_text": cosine + settings.get("counts", 0.0) * count,
            }[name]
    return table


def what_follows(settings: dict[str, float], learn: Interactions, ask: Interactions) -> Any:
    """Scores of transitions within five steps, of shared words, and own items weighed down, by loops."""
    follows = np.zeros((ITEMS, ITEMS))
    for user in set(learn.user.tolist()):
        rows = np.flatnonzero(learn.user == user)
        own = learn.item[rows[np.argsort(learn.timestamp[rows], kind="stable")]]
        for at, first in enumerate(own):
            for apart, second in enumerate(own[at + 1 : at + 6], start=1):
                follows[first, second] += 1 / apart
                follows[second, first] += 0.3 / apart
    often = np.maximum(np.bincount(learn.item, minlength=ITEMS), 1)
    follows /= np.sqrt(np.outer(often, often))
    words = [set(title.split()) for title in TITLES]
    rarity = {word: np.log(len(words) / sum(word in one for one in words)) for word in set().union(*words)}
    rare = np.array([[rarity[word] * (word in one) for word in sorted(rarity)] for one in words])
    unit = np.zeros((ITEMS, len(rarity)))
    unit[1:] = rare / np.linalg.norm(rare, axis=1, keepdims=True)
    table = np.zeros((len(ask), ITEMS))
    for row in range(len(ask)):
        assert ask.history is not None
        entries = ask.history.of(row)[0].tolist()[-10:]
        for place, entry in enumerate(reversed(entries)):
            table[row] += settings["decay"] ** place * (follows[entry] + settings["words"] * unit[entry] @ unit.T)
        table[row, list(set(entries))] *= settings["own"]
    return table[:, 1:]


def ranks(table: np.ndarray, ask: Interactions, own_items: bool) -> np.ndarray:
    places = []
    for row in range(len(ask)):
        line = table[row].round(5).copy()
        own = line[ask.item[row] - 1]
        if not own_items:
            assert ask.history is not None
            line[ask.history.of(row)[0] - 1] = -np.inf
            own = line[ask.item[row] - 1]
        places.append(1 + (line > own).sum() + 0.5 * ((line == own).sum() - 1))
    return np.array(places)


@pytest.mark.parametrize("own_items", [True, False])
@pytest.mark.parametrize("seed", range(2))
def test_each_line_ranks_as_spelled_out_on_both_parts(seed: int, own_items: bool) -> None:
    data = world(seed, own_items=own_items)
    lines = found(data)
    assert list(lines) == ["popularity", "neighbour_counts", "text_cosine", "counts_and_text", "transitions_and_words"]
    for name, line in lines.items():
        assert line.trivial
        assert line.scores is not None
        for told, learn, ask, again in (
            (line.valid, data.train, data.valid, line.scores[0]),
            (line.test, data.fit, data.test, line.scores[1]),
        ):
            table = scores(data, name, line.settings, learn, ask)
            np.testing.assert_allclose(again(np.arange(len(ask))).numpy(), table, rtol=1e-4, atol=1e-4)
            expected = ranks(table, ask, own_items)
            assert np.mean(np.abs(told.rank - expected) <= 0.5) > 0.97, name  # rounding parts or joins a few equals
            rows = np.array([3, 1, 3])
            np.testing.assert_allclose(again(rows).numpy(), table[rows], rtol=1e-4, atol=1e-4)


def test_settings_are_those_best_on_validation() -> None:
    data = world(1)
    lines = found(data)
    grids: dict[str, list[dict[str, float]]] = {
        "neighbour_counts": [{"length": n, "logarithm": g} for n in LENGTHS for g in (0, 1)],
        "text_cosine": [{"length": n} for n in LENGTHS],
        "counts_and_text": [
            {"length": n, "logarithm": g, "counts": w} for n in LENGTHS for g in (0, 1) for w in SHARES
        ],
    }
    for name, grid in grids.items():
        tables = [scores(data, name, settings, data.train, data.valid) for settings in grid]
        figures = [ndcg_at_k(ranks(table, data.valid, True), 10) for table in tables]
        chosen = figures[grid.index(lines[name].settings)]
        assert chosen >= max(figures) - 2e-3, name
        assert min(figures) < chosen - 2e-3, "the choice matters"


def test_items_of_test_choose_nothing_and_are_counted_nowhere() -> None:
    data = world(4)
    other = np.random.default_rng(0).integers(1, ITEMS, len(data.test))
    turned = replace(data, test=replace(data.test, item=other))
    for seen, blind in zip(found(data).values(), found(turned).values(), strict=True):
        assert seen.settings == blind.settings
        np.testing.assert_array_equal(seen.valid.rank, blind.valid.rank)
        assert seen.scores is not None
        assert blind.scores is not None
        rows = np.arange(len(data.test))
        torch.testing.assert_close(seen.scores[1](rows), blind.scores[1](rows), rtol=0, atol=0)


def test_lines_find_what_follows_and_what_is_alike_far_more_often_than_popularity_does() -> None:
    for seed in range(3):
        data = world(seed)
        measure = RankingMeasure(data.fit.counts_by_item(ITEMS))
        figures = {name: measure.report(line.test, data.test)["ndcg@10"] for name, line in found(data).items()}
        assert figures["neighbour_counts"] > 1.5 * figures["popularity"]
        assert figures["text_cosine"] > 1.3 * figures["popularity"]
        assert figures["counts_and_text"] > figures["text_cosine"]


def test_without_texts_there_are_the_lines_that_count() -> None:
    data = replace(world(0, told=False), titles=None)
    assert list(found(data)) == ["popularity", "neighbour_counts", "transitions"]


def test_settings_are_chosen_on_a_sample_where_validation_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    data, sizes = world(0), list[int]()
    real = module.rank_targets

    def watched(part: Interactions, *arguments: Any, **named: Any) -> Any:
        sizes.append(len(part))
        return real(part, *arguments, **named)

    monkeypatch.setattr(module, "rank_targets", watched)
    monkeypatch.setattr(ranking_data, "SAMPLE", 20)
    monkeypatch.setattr(outcomes, "CHUNK", 8)
    lines = found(data)
    assert len(lines["neighbour_counts"].valid) == len(data.valid), "reports are on all of it"
    assert max(size for size in sizes if size not in (len(data.valid), len(data.test))) == 8
    assert sizes.count(4) == 4 + 2 + 20, "the last of the chunks of each setting"


def test_what_baselines_read_is_computed_once_for_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    for name in ("neighbour_counts", "unit_vectors"):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *given, real=real, name=name: called.append(name) or real(*given))
    found(world(0))
    assert sorted(called) == ["neighbour_counts", "neighbour_counts", "unit_vectors"], (
        "training, fit; one copy of texts"
    )


def test_fewer_examples_choose_settings_in_a_large_catalogue_but_a_third(monkeypatch: pytest.MonkeyPatch) -> None:
    data, asked = world(0), list[int]()
    report = RankingMeasure.report

    def watched(measure: RankingMeasure, outcome: Any, part: Interactions) -> dict[str, float]:
        asked.append(len(part))
        return report(measure, outcome, part)

    monkeypatch.setattr(RankingMeasure, "report", watched)
    monkeypatch.setattr(ranking_data, "SAMPLE", 45)
    for scores, expected in ((ITEMS * 30, 30), (ITEMS, 15), (ITEMS * 10_000, 45)):
        monkeypatch.setattr(ranking_data, "SAMPLED_SCORES", scores)
        asked.clear()
        found(data)
        assert set(asked) == {expected}


# ---- counting ----


@pytest.mark.parametrize("seed", range(2))
def test_neighbour_counts_are_those_of_a_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    learn = Interactions(
        rng.integers(1, 8, 90), rng.integers(1, ITEMS, 90), np.ones(90, np.float32), rng.integers(0, 12, 90)
    )
    np.testing.assert_array_equal(neighbour_counts(learn, ITEMS).toarray(), beside(learn))


@pytest.mark.parametrize("length", [1, 3, 10])
def test_histories_weigh_one_over_the_place_from_the_newest(length: int) -> None:
    rows = [[4, 5, 6], [], [7], [8, 8, 9, 0, 8]]
    lengths = np.array([len(row) for row in rows])
    end = np.cumsum(lengths)
    flat = np.array([item for row in rows for item in row])
    history = Histories(flat, np.ones(len(flat), np.float32), end - lengths, end)
    part = Interactions(np.arange(1, 5), np.ones(4, np.int64), np.ones(4, np.float32), np.arange(4), history)
    expected = np.zeros((4, ITEMS))
    for row in range(4):
        for item, weight in newest(part, row, length):
            expected[row, item] += weight
    np.testing.assert_allclose(weighted_histories(part, ITEMS, length).toarray(), expected, rtol=1e-6)


# ---- real data ----


def test_counts_of_real_sequences_have_their_known_figures(shared_data: Path) -> None:
    folder = shared_data / "iisan-scientific"
    if not (folder / "Industrial_and_Scientific_items.tsv").is_file():
        pytest.skip(f"real data is absent: {folder}")
    prepared = prepare(load_recipe("amazon-scientific", changes={"data.path": str(folder)}))
    fit, num_items = prepared.learned(True), prepared.vocabulary.num_items
    data = RankingData(prepared.train, prepared.valid, fit, prepared.test, num_items, None, True, "ndcg@10")
    line = next(line for line in ranking_baselines(data) if line.name == "neighbour_counts")
    figures = RankingMeasure(fit.counts_by_item(num_items)).report(line.test, prepared.test)
    assert figures["hr@10"] == pytest.approx(0.1072, abs=0.0005)
    assert figures["ndcg@10"] == pytest.approx(0.0806, abs=0.0005)

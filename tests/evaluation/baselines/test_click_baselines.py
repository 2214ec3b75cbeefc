"""Trivial lines of clicks against loops that spell them out, and on real data whose figures are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import logit
from sklearn.metrics import roc_auc_score

from llmrec_peft.data.histories import Histories, earlier
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.evaluation.baselines import click as module
from llmrec_peft.evaluation.baselines.baseline import Baseline
from llmrec_peft.evaluation.baselines.click import (
    EXTRA_WEIGHTS,
    ITEM_SHRINK,
    ITEM_WEIGHTS,
    USER_SHRINK,
    ClickData,
    click_baselines,
)
from llmrec_peft.evaluation.baselines.entries import entries_of, histories_of
from llmrec_peft.evaluation.baselines.rates import Counts
from llmrec_peft.evaluation.click_metrics import auc, log_loss
from llmrec_peft.experiment.prepare import Prepared, prepare
from llmrec_peft.recipe import load_recipe

USERS, ITEMS, WIDTH = 20, 25, 5
Entries = list[tuple[int, float]]


def both(one: Interactions, other: Interactions) -> Interactions:
    columns = ("user", "item", "label", "timestamp")
    history = None if one.history is None or other.history is None else one.history.joined(other.history)
    return Interactions(*(np.concatenate([getattr(one, n), getattr(other, n)]) for n in columns), history)


def texts(seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed + 9).normal(size=(ITEMS, WIDTH))).float()


def people(seed: int, in_time: bool = False) -> ClickData:
    """Users who come back, in order of time with many ties; they, items, texts and company all tell of likes."""
    rng = np.random.default_rng(seed)
    rows, text = 900, texts(seed).numpy()
    kind, quality, leaning = np.sign(text[:, 0]), rng.normal(size=ITEMS), rng.normal(size=USERS)
    taste = rng.choice([-1.0, 1.0], USERS)
    user, item = rng.integers(1, USERS, rows), rng.integers(1, ITEMS, rows)
    odds = leaning[user] + quality[item] + 1.5 * taste[user] * kind[item]
    label = (rng.random(rows) < 1 / (1 + np.exp(-odds))).astype(np.float32)
    time = np.sort(rng.integers(0, 120, rows))
    known = np.arange(rows)
    history = earlier(user, item, label, time, known, known)
    whole = Interactions(user, item, label, time, history)
    train, valid, test = (whole.take(np.arange(*span)) for span in ((0, 500), (500, 700), (700, rows)))
    return ClickData(train, valid, both(train, valid), test, ITEMS, texts(seed), in_time)


def records(seed: int) -> ClickData:
    """Records, each a user of its own, whose histories tell likes and dislikes."""
    rng = np.random.default_rng(seed)
    rows, text = 400, texts(seed).numpy()
    kind, quality = np.sign(text[:, 0]), rng.normal(size=ITEMS)
    items, labels, targets, likes = [], [], [], []
    for _ in range(rows):
        leaning, taste = rng.normal(), rng.choice([-1.0, 1.0])
        drawn = rng.permutation(np.arange(1, ITEMS))[: rng.integers(3, 9)]
        odds = leaning + quality[drawn] + 1.5 * taste * kind[drawn]
        liked = (rng.random(len(drawn)) < 1 / (1 + np.exp(-odds))).astype(np.float32)
        items.append(drawn[1:])
        labels.append(liked[1:])
        targets.append(drawn[0])
        likes.append(liked[0])
    lengths = np.array([len(row) for row in items])
    end = np.cumsum(lengths)
    history = Histories(np.concatenate(items), np.concatenate(labels), end - lengths, end)
    whole = Interactions(np.arange(1, rows + 1), np.array(targets), np.array(likes), np.arange(rows), history)
    train, valid, test = (whole.take(np.arange(*span)) for span in ((0, 200), (200, 300), (300, rows)))
    return ClickData(train, valid, both(train, valid), test, ITEMS, texts(seed), False)


WORLDS: dict[str, Callable[[int], ClickData]] = {
    "people": people,
    "people in time": lambda seed: people(seed, True),
    "records": records,
}


@pytest.fixture(params=WORLDS)
def world(request: pytest.FixtureRequest) -> Callable[[int], ClickData]:
    return WORLDS[request.param]


def found(data: ClickData) -> dict[str, Baseline]:
    return {baseline.name: baseline for baseline in click_baselines(data)}


# ---- the same, spelled out ----


def history_of(part: Interactions, row: int) -> Entries:
    assert part.history is not None
    item, label = part.history.of(row)
    return [(int(i), float(v)) for i, v in zip(item, label, strict=True) if i > 0]


def before(ask: Interactions, row: int, in_time: bool) -> list[int]:
    """Rows that ask earlier, whose outcomes are known by then."""
    return [at for at in range(len(ask)) if in_time and ask.timestamp[at] < ask.timestamp[row]]


def is_records(learn: Interactions) -> bool:
    return len(set(learn.user.tolist())) == len(learn)


def evidence(learn: Interactions) -> Entries:
    """(item, label) of everything that tells an item's rate."""
    told = [(int(i), float(v)) for i, v in zip(learn.item, learn.label, strict=True)]
    if is_records(learn):
        told += [entry for row in range(len(learn)) for entry in history_of(learn, row)]
    return told


def item_rate(data: ClickData, learn: Interactions, ask: Interactions, shrink: float) -> np.ndarray:
    mean, known, rates = float(learn.label.mean()), evidence(learn), []
    for row in range(len(ask)):
        own = [label for item, label in known if item == ask.item[row]]
        own += [float(ask.label[at]) for at in before(ask, row, data.in_time) if ask.item[at] == ask.item[row]]
        rates.append((sum(own) + shrink * mean) / (len(own) + shrink))
    return np.array(rates)


def user_rate(
    data: ClickData, learn: Interactions, ask: Interactions, shrink: float, item_shrink: float | None = None
) -> np.ndarray:
    """By how much a user's labels lie above what their items let expect, beside the mean."""
    mean, known = float(learn.label.mean()), evidence(learn)

    def expected(item: int) -> float:
        if item_shrink is None:
            return mean
        own = [label for other, label in known if other == item]
        return (sum(own) + item_shrink * mean) / (len(own) + item_shrink)

    told = {item: expected(item) for item in range(ITEMS)}
    rates = []
    for row in range(len(ask)):
        own = [
            (int(i), float(v))
            for u, i, v in zip(learn.user, learn.item, learn.label, strict=True)
            if u == ask.user[row]
        ]
        earlier_rows = [at for at in before(ask, row, data.in_time) if ask.user[at] == ask.user[row]]
        own += [(int(ask.item[at]), float(ask.label[at])) for at in earlier_rows]
        if is_records(learn):
            own += history_of(ask, row)
        rates.append(mean + sum(label - told[item] for item, label in own) / (len(own) + shrink))
    return np.array(rates)


def popularity(data: ClickData, learn: Interactions, ask: Interactions) -> np.ndarray:
    known = [item for item, _ in evidence(learn)]
    counts = []
    for row in range(len(ask)):
        later = [at for at in before(ask, row, data.in_time) if ask.item[at] == ask.item[row]]
        counts.append(known.count(int(ask.item[row])) + len(later))
    return np.log1p(np.array(counts, float))


def signs(ask: Interactions, row: int) -> Entries:
    """Entries of a history, the p-th newest weighing 1/√p, liked above zero, so that their sizes sum to 1."""
    told = history_of(ask, row)
    weighed = [
        (item, (1.0 if label > 0.5 else -1.0) / np.sqrt(place))
        for place, (item, label) in zip(range(len(told), 0, -1), told, strict=True)
    ]
    by_item: dict[int, float] = {}
    for item, weight in weighed:
        by_item[item] = by_item.get(item, 0.0) + weight
    size = sum(abs(weight) for weight in by_item.values())
    return [(item, weight / size) for item, weight in by_item.items()] if size else []


def neighbours(data: ClickData, learn: Interactions, ask: Interactions) -> np.ndarray:
    """People who liked the entries and the item, over the square root of 1 + who liked the item."""
    liked: dict[int, set[int]] = {}
    for row in range(len(learn)):
        own = history_of(learn, row) if is_records(learn) else []
        for item, label in [(int(learn.item[row]), float(learn.label[row])), *own]:
            if label > 0.5:
                liked.setdefault(item, set()).add(int(learn.user[row]))
    scores = []
    for row in range(len(ask)):
        fans = liked.get(int(ask.item[row]), set())
        together = [
            weight * len(fans & liked.get(item, set())) for item, weight in signs(ask, row) if item != ask.item[row]
        ]
        scores.append(sum(together) / np.sqrt(len(fans) + 1.0))
    return np.array(scores)


def text_cosine(data: ClickData, learn: Interactions, ask: Interactions) -> np.ndarray:
    assert data.texts is not None
    vectors = data.texts.numpy().astype(float)
    vectors = vectors - vectors.mean(0)
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.array(
        [sum(w * vectors[i] @ vectors[ask.item[row]] for i, w in signs(ask, row)) for row in range(len(ask))]
    )


def sides(data: ClickData, by: Callable[..., np.ndarray], *options: Any) -> tuple[np.ndarray, np.ndarray]:
    """On validation from what trains, on test from what the final line counts."""
    return by(data, data.train, data.valid, *options), by(data, data.fit, data.test, *options)


def odds(rates: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    first, second = (logit(np.clip(rate, 1e-3, 1 - 1e-3)) for rate in rates)
    return first, second


def is_line(baseline: Baseline, expected: tuple[np.ndarray, np.ndarray]) -> None:
    """Its log-odds are one rising straight line of the expected ones, found on validation, on both parts."""
    told = [logit(np.asarray(part, float)) for part in (baseline.valid, baseline.test)]
    slope, intercept = np.polyfit(expected[0], told[0], 1)
    assert slope > 0
    for given, own in zip(expected, told, strict=True):
        np.testing.assert_allclose(own, slope * given + intercept, atol=2e-4)


@pytest.mark.parametrize("seed", range(2))
def test_rates_are_those_counted_by_hand_and_the_best_on_validation(
    world: Callable[[int], ClickData], seed: int
) -> None:
    data = world(seed)
    lines = found(data)
    users = {shrink: odds(sides(data, user_rate, shrink)) for shrink in USER_SHRINK}
    items = {shrink: odds(sides(data, item_rate, shrink)) for shrink in ITEM_SHRINK}
    for name, tried in (("user_rate", users), ("item_rate", items)):
        figures = {shrink: roc_auc_score(data.valid.label, valid) for shrink, (valid, _) in tried.items()}
        chosen = lines[name].settings["shrink"]
        assert figures[chosen] == pytest.approx(max(figures.values()), abs=1e-12)
        is_line(lines[name], tried[chosen])


@pytest.mark.parametrize("name", WORLDS)
def test_rates_together_are_those_summed_by_hand_and_the_best_of_all_settings(name: str) -> None:
    data = WORLDS[name](0)
    line = found(data)["user_and_item_rates"]
    plain = {shrink: odds(sides(data, user_rate, shrink)) for shrink in USER_SHRINK}
    residual = {pair: odds(sides(data, user_rate, *pair)) for pair in product(USER_SHRINK, ITEM_SHRINK)}
    items = {shrink: odds(sides(data, item_rate, shrink)) for shrink in ITEM_SHRINK}
    figures = {}
    for u, i, w, by_residual in product(USER_SHRINK, ITEM_SHRINK, ITEM_WEIGHTS, (False, True)):
        user = residual[u, i] if by_residual else plain[u]
        figures[u, i, w, by_residual] = tuple(one + w * other for one, other in zip(user, items[i], strict=True))
    best = {key: roc_auc_score(data.valid.label, both_sides[0]) for key, both_sides in figures.items()}
    settings = line.settings
    key = (
        settings["user_shrink"],
        settings["item_shrink"],
        settings["item_weight"],
        settings["user_residual"] == 1.0,
    )
    assert best[key] == pytest.approx(max(best.values()), abs=1e-9)
    is_line(line, figures[key])  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    ("name", "by"), [("popularity", popularity), ("neighbour_counts", neighbours), ("text_cosine", text_cosine)]
)
def test_counts_and_cosines_are_those_spelled_out(
    world: Callable[[int], ClickData], name: str, by: Callable[..., np.ndarray], seed: int
) -> None:
    data = world(seed)
    line, expected = found(data)[name], sides(data, by)
    if roc_auc_score(data.valid.label, expected[0]) < 0.53:  # calibration never turns an order round
        for told, given in zip((line.valid, line.test), expected, strict=True):
            assert np.corrcoef(np.argsort(np.argsort(given)), np.argsort(np.argsort(told)))[0, 1] > 0.99
        return
    is_line(line, expected)


def test_blend_is_the_best_of_rates_with_weighed_neighbours_and_texts(world: Callable[[int], ClickData]) -> None:
    data = world(1)
    lines = found(data)
    blend = lines["rates_neighbours_and_text"]
    assert {blend.settings["neighbours"], blend.settings["text"]} <= set(EXTRA_WEIGHTS)
    rates = lines["user_and_item_rates"].settings
    assert {name: blend.settings[name] for name in rates} == rates
    assert auc(blend.valid, data.valid.label) >= auc(lines["user_and_item_rates"].valid, data.valid.label) - 1e-12
    assert blend.settings["text"] > 0.0, "the texts tell"
    assert auc(blend.test, data.test.label) > auc(lines["user_and_item_rates"].test, data.test.label) + 0.01
    bare = found(replace(data, texts=None))
    assert "text_cosine" not in bare
    assert set(bare["rates_and_neighbours"].settings) == {*rates, "neighbours"}


def test_every_line_tells_more_than_chance_where_it_should_and_names_are_those_reported() -> None:
    for name, world in WORLDS.items():
        data = world(0)
        lines = found(data)
        assert list(lines) == [
            "global_rate",
            "user_rate",
            "item_rate",
            "user_and_item_rates",
            "popularity",
            "neighbour_counts",
            "text_cosine",
            "rates_neighbours_and_text",
        ]
        figures = {line: auc(told.test, data.test.label) for line, told in lines.items()}
        assert figures["global_rate"] == 0.5, name
        for line in ("user_rate", "item_rate", "user_and_item_rates", "text_cosine"):
            assert figures[line] > 0.55, (name, line, figures)
        assert all(line.trivial for line in lines.values())


def test_probabilities_are_calibrated_on_validation(world: Callable[[int], ClickData]) -> None:
    data = world(0)
    lines = found(data)
    share = float(data.train.label.mean())
    assert lines["global_rate"].valid == pytest.approx(np.full(len(data.valid), share))
    for line in lines.values():
        for told in (line.valid, line.test):
            assert told.min() >= 0.0
            assert told.max() <= 1.0
        if line.name != "global_rate":
            assert log_loss(line.valid, data.valid.label) <= log_loss(lines["global_rate"].valid, data.valid.label)
            assert float(np.mean(line.valid)) == pytest.approx(float(data.valid.label.mean()), abs=0.02)


@pytest.mark.parametrize("name", WORLDS)
def test_labels_of_test_choose_nothing_and_tell_only_what_comes_later(name: str) -> None:
    data = WORLDS[name](2)
    turned = replace(data, test=replace(data.test, label=1.0 - data.test.label))
    first = data.test.timestamp == data.test.timestamp.min()
    moved = 0
    for seen, other in zip(found(data).values(), found(turned).values(), strict=True):
        assert seen.settings == other.settings
        np.testing.assert_array_equal(seen.valid, other.valid)
        if data.in_time:
            np.testing.assert_array_equal(seen.test[first], other.test[first])
            moved += not np.array_equal(seen.test, other.test)
        else:
            np.testing.assert_array_equal(seen.test, other.test)
    assert (moved >= 3) is data.in_time, "in time, later examples know the earlier ones' outcomes"


def test_validation_is_predicted_without_its_own_labels_but_for_the_choice() -> None:
    """With one setting at most to choose from, turned labels of validation change the calibration alone."""
    data = people(3)
    turned = replace(data, valid=replace(data.valid, label=1.0 - data.valid.label))
    seen, other = found(data), found(turned)
    for name in ("popularity", "neighbour_counts", "text_cosine"):
        order = [np.argsort(np.argsort(lines[name].valid)) for lines in (seen, other)]
        assert abs(np.corrcoef(*order)[0, 1]) > 0.999


# ---- counting ----


@pytest.mark.parametrize("in_time", [False, True])
@pytest.mark.parametrize("seed", range(2))
def test_counts_before_are_those_of_a_loop(seed: int, in_time: bool) -> None:
    rng = np.random.default_rng(seed)
    learn_key, learn_value = rng.integers(0, 9, 60), rng.normal(size=60)
    ask_key, ask_value, time = rng.integers(0, 12, 80), rng.normal(size=80), rng.integers(0, 10, 80)
    counts = Counts.by_key(learn_key, learn_value, 12).before(ask_key, ask_value, time, in_time)
    for row in range(80):
        own = learn_value[learn_key == ask_key[row]].tolist()
        own += ask_value[(ask_key == ask_key[row]) & (time < time[row])].tolist() if in_time else []
        assert counts.count[row] == len(own)
        assert counts.total[row] == pytest.approx(sum(own), abs=1e-12)
    rates = counts.rate(2.0, 0.25)
    assert rates == pytest.approx((counts.total + 0.5) / (counts.count + 2.0))


def test_nobody_asking_and_nothing_learnt_count_nothing() -> None:
    none, numbers = np.empty(0, np.int64), np.empty(0)
    assert len(Counts.by_key(np.array([1]), np.ones(1), 2).before(none, numbers, none, True).count) == 0
    asked = np.array([3, 3]), np.array([1.0, 0.0]), np.array([1, 2])
    alone = Counts.by_key(none, numbers, 4).before(*asked, True)
    assert alone.count.tolist() == [0.0, 1.0]
    assert alone.total.tolist() == [0.0, 1.0]


def test_entries_that_have_an_item_are_listed_with_the_place_of_their_row() -> None:
    history = Histories(
        np.array([5, 0, 6, 7]), np.array([1.0, 1.0, 0.0, 1.0], np.float32), np.array([0, 3, 3]), np.array([3, 3, 4])
    )
    part = Interactions(np.arange(3), np.ones(3, np.int64), np.ones(3, np.float32), np.arange(3), history)
    told = entries_of(histories_of(part), np.arange(3))
    assert (told.row.tolist(), told.item.tolist(), told.label.tolist()) == ([0, 0, 2], [5, 6, 7], [1.0, 0.0, 1.0])
    told = entries_of(histories_of(part, newest=1), np.array([2, 0]))
    assert (told.row.tolist(), told.item.tolist(), told.label.tolist()) == ([0, 1], [7, 6], [1.0, 0.0])
    assert len(entries_of(histories_of(replace(part, history=None)), np.arange(3)).item) == 0


def test_settings_are_chosen_on_a_sample_where_validation_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    data, sizes = people(0), list[int]()

    def watched(scores: np.ndarray, labels: np.ndarray) -> float:
        sizes.append(len(scores))
        return auc(scores, labels)

    monkeypatch.setattr(module, "auc", watched)
    monkeypatch.setattr(module, "SAMPLE", 50)
    sampled = found(data)
    assert set(sizes) == {50}
    assert all(len(line.valid) == len(data.valid) for line in sampled.values()), "reports are on all of it"
    alone = replace(data, valid=replace(data.valid, label=(np.arange(len(data.valid)) == 7).astype(np.float32)))
    assert len(found(alone)) == len(sampled), "a sample of one class chooses nothing: all of validation does"


# ---- real data ----


@pytest.fixture(scope="module")
def collm(shared_data: Path) -> Prepared:
    folder = shared_data / "collm-ml-1m"
    if not (folder / "train.jsonl").is_file():
        pytest.skip(f"real data is absent: {folder}")
    return prepare(load_recipe("collm-ml-1m", changes={"data.path": str(folder)}))


@pytest.mark.parametrize(
    ("protocol", "expected"), [("train", 0.7356), ("train+valid", 0.7468), ("prequential", 0.7815)]
)
def test_rates_of_real_collm_have_their_known_auc(collm: Prepared, protocol: str, expected: float) -> None:
    fit = collm.learned(collm.recipe.changed({"data.protocol": protocol}).refits)
    num_items, in_time = collm.vocabulary.num_items, protocol == "prequential"
    data = ClickData(collm.train, collm.valid, fit, collm.test, num_items, None, in_time)
    line = next(line for line in click_baselines(data) if line.name == "user_and_item_rates")
    assert auc(line.test, collm.test.label) == pytest.approx(expected, abs=0.0005)

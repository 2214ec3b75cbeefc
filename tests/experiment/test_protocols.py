"""Protocols: whose labels may be counted when test is predicted, of how many records, and what a recount changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from worlds import DAY, Like, fitted, lines_of_test, made_up_likes, said_of_test, turned, write_likes

from llmrec_peft.experiment.prepare import Prepared, prepare
from llmrec_peft.recipe import Recipe, load_recipe

SIGNALS: dict[str, Any] = {"taste": {"text": False}, "collaborative": {}, "popularity": {}}
"""Everything that counts outcomes: item effects and users' own ones, rating histories, popularity."""
RECORDS = made_up_likes()
PROTOCOLS = ["train", "train+valid", "prequential"]


def recipe_over(data: Path | str, **changes: Any) -> Recipe:
    """CoLLM's recipe without texts; one epoch and no calibration, so that validation chooses nothing."""
    base = {
        "data.path": str(data),
        "signals": SIGNALS,
        "head": {"name": "click", "calibration": "none"},
        "training.epochs": 1,
        "training.batch_size": 32,
    }
    return load_recipe("collm-ml-1m", changes={**base, **{key.replace("__", "."): v for key, v in changes.items()}})


class Said:
    """What the model and every line say of the test records of some world, under a protocol."""

    def __init__(self, records: list[Like], folder: Path, protocol: str) -> None:
        recipe = recipe_over(write_likes(folder / "data", records), data__protocol=protocol)
        recipe, prepared, model = fitted(recipe, folder / "fit")
        self.model = np.asarray(said_of_test(recipe, prepared, model))
        self.lines = lines_of_test(recipe, prepared)
        self.day = prepared.test.timestamp // DAY


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Said]:
    """What is said of the world as it is, by protocol."""
    return {name: Said(RECORDS, tmp_path_factory.mktemp("told"), name) for name in PROTOCOLS}


@pytest.mark.trains
@pytest.mark.parametrize("protocol", ["train", "train+valid"])
def test_labels_of_test_change_no_prediction_of_test(protocol: str, told: dict[str, Said], tmp_path: Path) -> None:
    other = Said(turned(RECORDS, [one for one in RECORDS if one.part == "test"]), tmp_path, protocol)
    assert np.array_equal(other.model, told[protocol].model)
    assert len(other.lines) > 4
    for name, line in other.lines.items():
        assert np.array_equal(line, told[protocol].lines[name]), name


@pytest.mark.trains
@pytest.mark.parametrize("protocol", ["train", "train+valid"])
def test_labels_of_validation_are_counted_only_where_the_protocol_says_so(
    protocol: str, told: dict[str, Said], tmp_path: Path
) -> None:
    other = Said(turned(RECORDS, [one for one in RECORDS if one.part == "valid"]), tmp_path, protocol)
    assert (np.abs(other.model - told[protocol].model).max() > 1e-3) == (protocol == "train+valid")
    assert np.array_equal(other.model, told[protocol].model) == (protocol == "train")


@pytest.mark.trains
@pytest.mark.parametrize("day", [80, 84, 91])
def test_outcome_in_test_is_counted_for_later_records_alone_under_the_prequential_protocol(
    day: int, told: dict[str, Said], tmp_path: Path
) -> None:
    """On day 84 everyone judges two films: neither outcome may speak of the other, nor of anyone's of that day."""
    one = next(like for like in RECORDS if like.part == "test" and like.day == day)
    other, known = Said(turned(RECORDS, [one]), tmp_path, "prequential"), told["prequential"]
    changed = {"the model": other.model != known.model}
    changed |= {name: line != known.lines[name] for name, line in other.lines.items()}
    for name, where in changed.items():
        assert not where[known.day <= day].any(), name
    last = day == known.day.max()
    for name in ("the model", "user_rate", "item_rate", "user_and_item_rates"):
        assert changed[name].any() != last, name


def test_protocols_say_different_things_of_the_same_world(told: dict[str, Said]) -> None:
    spread = [np.abs(told[one].model - told[other].model).max() for one in PROTOCOLS for other in PROTOCOLS]
    assert np.count_nonzero(np.asarray(spread) > 1e-3) == 6


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_histories_hold_what_the_protocol_lets_be_known_before_the_own_time(protocol: str, tmp_path: Path) -> None:
    data = write_likes(tmp_path / "data", RECORDS)
    prepared = prepare(recipe_over(data, data__protocol=protocol))
    known = {
        "train": {"train"},
        "valid": {"train", "valid"} if protocol == "prequential" else {"train"},
        "test": {"train": {"train"}, "train+valid": {"train", "valid"}}.get(protocol, {"train", "valid", "test"}),
    }
    lengths = set()
    for part, may in known.items():
        asked = getattr(prepared, part)
        users, items = prepared.ids(asked)
        assert asked.history is not None
        for at, (user, item) in enumerate(zip(users, items, strict=True)):
            (own,) = [one for one in RECORDS if (str(one.user), str(one.item)) == (user, item)]
            earlier = [one for one in RECORDS if one.user == own.user and one.day < own.day and one.part in may]
            entries, labels = asked.history.of(at)
            told_items = [prepared.vocabulary.items[index - 1] for index in entries]
            expected = sorted(((one.day, str(one.item), float(one.label)) for one in earlier), key=lambda row: row[0])
            assert sorted(zip(told_items, labels.tolist(), strict=True)) == sorted(row[1:] for row in expected)
            days = {str(one.item): one.day for one in earlier}
            assert [days[one] for one in told_items] == [row[0] for row in expected], "oldest first"
            lengths.add(len(entries))
    assert len(lengths) > 5


def names(prepared: Prepared, part: str) -> list[tuple[str, str]]:
    """Pairs of user and item of a part."""
    return list(zip(*prepared.ids(getattr(prepared, part)), strict=True))


def test_train_size_keeps_so_many_drawn_by_the_seed_and_leaves_the_rest_alone(tmp_path: Path) -> None:
    data = write_likes(tmp_path / "data", RECORDS)
    drawn = {
        (size, seed): prepare(recipe_over(data, data__train_size=size, seed=seed))
        for size in ("all", 40)
        for seed in (1, 2)
    }
    whole = drawn["all", 1]
    assert names(drawn["all", 2], "train") == names(whole, "train")
    for seed in (1, 2):
        some = drawn[40, seed]
        assert len(some.train) == 40 < len(whole.train)
        assert set(names(some, "train")) < set(names(whole, "train"))
        for part in ("valid", "test"):
            assert names(some, part) == names(whole, part)
        assert some.digest != whole.digest
    assert names(drawn[40, 1], "train") != names(drawn[40, 2], "train")
    again = prepare(recipe_over(data, data__train_size=40, seed=2))
    assert again.digest == drawn[40, 2].digest != drawn[40, 1].digest


def test_what_train_size_leaves_out_is_known_to_nobody(tmp_path: Path) -> None:
    data = write_likes(tmp_path / "data", RECORDS)
    prepared = prepare(recipe_over(data, data__train_size=40, data__protocol="prequential"))
    recipe = prepared.recipe
    used = set(names(prepared, "train")) | set(names(prepared, "valid")) | set(names(prepared, "test"))
    history = prepared.test.history
    assert history is not None
    users = prepared.ids(prepared.test)[0]
    told = {
        (user, prepared.vocabulary.items[index - 1]) for at, user in enumerate(users) for index in history.of(at)[0]
    }
    assert told <= used
    assert told & set(names(prepared, "train"))
    assert prepared.learned(recipe.refits).counts_by_item(prepared.vocabulary.num_items).sum() == 40 + 32


@pytest.mark.parametrize("split", ["random", "temporal", "cold-item"])
def test_runs_of_several_seeds_share_one_division_whatever_they_draw(split: str, tmp_path: Path) -> None:
    data = write_likes(tmp_path / "data", RECORDS)
    found = [prepare(recipe_over(data, data__split=split, data__train_size=30, seed=seed)) for seed in (1, 2)]
    assert names(found[0], "test") == names(found[1], "test")
    assert names(found[0], "valid") == names(found[1], "valid")
    assert names(found[0], "train") != names(found[1], "train")


def purchases(refit: Any) -> Recipe:
    return load_recipe(
        "amazon-scientific",
        changes={
            "data.path": "demo",
            "signals": {"popularity": {}, "history": {"entries": "ids", "projection": "linear", "repeats": "rates"}},
            "adapter": {"method": "none"},
            "fusion.dim": 8,
            "training.epochs": 2,
            "training.refit": refit,
        },
    )


@pytest.mark.trains
def test_recount_keeps_the_weights_and_counts_validation_too(tmp_path: Path) -> None:
    found = {refit: fitted(purchases(refit), tmp_path / str(refit)) for refit in (False, "recount", True)}
    states = {refit: model.model.trained_state() for refit, (_, _, model) in found.items()}
    prepared = found["recount"][1]
    counted = {name for name, tensor in states["recount"].items() if not tensor.equal(states[False][name])}
    count, rates = "signal_parts.popularity.known.count", "signal_parts.history.again.item"
    assert {count, rates} <= counted <= {count, rates, "signal_parts.history.again.mean"}
    sizes = prepared.vocabulary.num_items
    expected = prepared.interactions.take(prepared.split.fit).counts_by_item(sizes)
    assert np.array_equal(states["recount"][count].numpy(), expected)
    assert np.array_equal(states[False][count].numpy(), prepared.train.counts_by_item(sizes))
    weights = [name for name, tensor in states[True].items() if not tensor.equal(states[False][name])]
    assert len(weights) > len(counted) + 4, "a refit learns them anew"
    ranks = {refit: said_of_test(*all_of).rank for refit, all_of in found.items()}  # type: ignore[union-attr]
    assert not np.array_equal(ranks["recount"], ranks[False])
    assert not np.array_equal(ranks["recount"], ranks[True])


@pytest.mark.trains
@pytest.mark.parametrize("refit", [False, True, "recount"])
def test_protocol_train_never_learns_from_validation(refit: Any, tmp_path: Path) -> None:
    data = write_likes(tmp_path / "data", RECORDS)
    prepared = prepare(recipe_over(data, data__protocol="train", training__refit=refit))
    recipe = prepared.recipe
    assert not recipe.refits
    assert len(prepared.learned(recipe.refits)) == len(prepared.train)


@pytest.mark.trains
def test_expanded_histories_are_examples_that_do_not_know_themselves() -> None:
    changes = {"data.path": "demo", "signals": SIGNALS}
    whole = load_recipe("tallrec-movie", changes=changes)
    assert whole.data.expand_histories
    prepared = prepare(whole)
    recipe = prepared.recipe
    plain = prepare(whole.changed({"data.expand_histories": False}))
    plain_recipe = plain.recipe
    told = plain.train.history
    assert told is not None
    assert len(prepared.train) == len(plain.train) + int(told.lengths.sum())
    records = prepared.records(prepared.train)
    assert names(plain, "train") == list(zip(*prepared.ids(records), strict=True))
    for part in ("valid", "test"):
        assert names(prepared, part) == names(plain, part)
    train, history = prepared.train, prepared.train.history
    assert history is not None
    own = {int(user): at for at, user in enumerate(plain.train.user)}
    for at in range(len(plain.train), len(train)):
        record = own[int(train.user[at])]
        entries, labels = told.of(record)
        whole_record = {**dict(zip(entries.tolist(), labels.tolist(), strict=True))}
        label = whole_record.pop(int(train.item[at]))
        assert label == train.label[at]
        whole_record[int(plain.train.item[record])] = float(plain.train.label[record])
        others, other_labels = history.of(at)
        assert dict(zip(others.tolist(), other_labels.tolist(), strict=True)) == whole_record
        assert others[-1] == plain.train.item[record]
    lines, plain_lines = lines_of_test(recipe, prepared), lines_of_test(plain_recipe, plain)
    for name, line in lines.items():
        assert np.array_equal(line, plain_lines[name]), f"{name} counts each record once"


@pytest.mark.trains
def test_expanded_histories_teach_what_the_records_alone_do_not(tmp_path: Path) -> None:
    changes = {"data.path": "demo", "signals": {"history": {"entries": "ids"}}, "training.epochs": 1}
    whole = load_recipe("tallrec-movie", changes=changes)
    figures = {}
    for expand in (True, False):
        recipe, prepared, model = fitted(whole.changed({"data.expand_histories": expand}), tmp_path / str(expand))
        score, label = np.asarray(said_of_test(recipe, prepared, model)), prepared.test.label
        above = score[label == 1][:, None] - score[label == 0][None, :]
        figures[expand] = float((above > 0).mean() + 0.5 * (above == 0).mean())
    assert figures[True] > figures[False] + 0.1

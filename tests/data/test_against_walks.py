"""What sorting and Arrow compute at once is what a walk over rows and entries gives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from llmrec_peft.data.dataset import RecDataset, column, numbers, without_duplicates
from llmrec_peft.data.histories import Histories, earlier, earlier_by_part, given, listed
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.data.leakage import MIN_TITLE, find_leaks
from llmrec_peft.data.order import among, entries, in_time, stable_order
from llmrec_peft.data.splits import Split, split
from llmrec_peft.data.tables import interactions_table, table
from llmrec_peft.data.vocabulary import Vocabulary

SEEDS = range(6)


def told(seed: int, count: int = 240, users: int = 9, items: int = 14, moments: int = 12) -> Interactions:
    rng = np.random.default_rng(seed)
    return Interactions(
        rng.integers(1, users, count),
        rng.integers(1, items, count),
        rng.integers(1, 6, count).astype(np.float32),
        rng.integers(-moments, moments, count),
    )


def with_histories(seed: int, count: int = 60, items: int = 6) -> Interactions:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 8, count)
    end = np.cumsum(lengths) + 3  # nobody has the first entries of the storage
    stored = rng.integers(0, items, int(end[-1]) + 2)
    history = Histories(stored, rng.integers(0, 2, len(stored)).astype(np.float32), end - lengths, end, stored * 7)
    return replace(told(seed, count, items=items), history=history)


@pytest.mark.parametrize("seed", SEEDS)
def test_order_is_that_of_lexsort_also_where_most_are_tied(seed: int) -> None:
    rng = np.random.default_rng(seed)
    key = rng.integers(0, 5, 200) if seed % 2 else rng.permutation(200)
    assert stable_order(key).tolist() == np.argsort(key, kind="stable").tolist()
    user, time = rng.integers(0, 6, 200), rng.integers(-(1 << 61), 1 << 61, 200) if seed == 3 else key
    assert in_time(user, time).tolist() == np.lexsort((np.arange(200), time, user)).tolist()
    assert in_time(user[:0], time[:0]).tolist() == []


@pytest.mark.parametrize("seed", SEEDS)
def test_among_is_isin(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmrec_peft.data.order._PIECE", 7)
    rng = np.random.default_rng(seed)
    values, known = rng.integers(-9, 30, 50), rng.integers(-9, 30, 12)
    assert among(values, known).tolist() == np.isin(values, known).tolist()
    assert not among(values, known[:0]).any()
    assert len(among(values[:0], known)) == 0


def test_entries_are_rows_and_places_of_slices() -> None:
    begin, end = np.array([4, 2, 0, 9]), np.array([6, 2, 3, 10])
    row, place = entries(begin, end)
    walked = [(at, one) for at in range(4) for one in range(begin[at], end[at])]
    assert list(zip(row.tolist(), place.tolist(), strict=True)) == walked


@pytest.mark.parametrize("seed", SEEDS)
def test_earlier_interactions_are_those_of_a_walk_over_all_pairs(seed: int) -> None:
    data, rng = told(seed), np.random.default_rng(seed)
    parts = [np.sort(part) for part in np.split(rng.permutation(len(data)), [120, 170])]
    known = [parts[0], parts[0], np.sort(np.concatenate(parts[:2]))]
    numbers_ = data.user, data.item, data.label, data.timestamp
    whole = earlier_by_part(*numbers_, list(zip(parts, known, strict=True)))
    assert whole.time is not None
    for asking, may in zip(parts, known, strict=True):
        alone = earlier(*numbers_, asking, may)
        for at, row in enumerate(asking.tolist()):
            before = [
                one
                for one in may.tolist()
                if data.user[one] == data.user[row] and data.timestamp[one] < data.timestamp[row]
            ]
            before.sort(key=lambda one: (data.timestamp[one], one))
            for found, place in ((alone, at), (whole, row)):
                item, label = found.of(place)
                assert item.tolist() == data.item[before].tolist()
                assert label.tolist() == data.label[before].tolist()
            assert whole.time[whole.begin[row] : whole.end[row]].tolist() == data.timestamp[before].tolist()


@pytest.mark.parametrize("seed", SEEDS)
def test_own_items_are_found_and_taken_out_as_by_a_walk(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmrec_peft.data.histories._PIECE", 5)
    data, named = with_histories(seed), np.array([0, 1, 1, 3, 3, 5])
    history = data.history
    assert history is not None
    rows = np.sort(np.random.default_rng(seed).permutation(len(data))[:40])
    own = [bool((history.of(row)[0] == data.item[row]).any()) for row in rows.tolist()]
    alike = [bool((named[history.of(row)[0]] == named[data.item[row]]).any()) for row in rows.tolist()]
    assert history.holds(data.item, rows=rows).tolist() == own
    assert history.holds(data.item, named, rows).tolist() == alike
    assert 0 < sum(own) < len(own)
    cut, changed = history.without(data.item, rows)
    assert changed == sum(own)
    assert cut.time is not None
    for row in range(len(data)):
        item, label = history.of(row)
        kept = item != data.item[row] if row in rows else np.ones(len(item), bool)
        assert cut.of(row)[0].tolist() == item[kept].tolist()
        assert cut.of(row)[1].tolist() == label[kept].tolist()
        assert (cut.time[cut.begin[row] : cut.end[row]] == 7 * item[kept]).all()
    same, none = Histories.empty(3).without(np.ones(3, np.int64), np.arange(3))
    assert none == 0
    assert same.lengths.tolist() == [0, 0, 0]


@pytest.mark.parametrize("seed", SEEDS)
def test_fingerprints_are_equal_for_equal_entries_in_any_order(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmrec_peft.data.histories._PIECE", 5)
    history = with_histories(seed, 200, items=3).history
    assert history is not None
    history.label[history.label == 0] *= -np.float32(1)  # 0.0 and -0.0 are one label
    rows = np.arange(3, 190)
    found = history.fingerprints(7, rows).tolist()
    lists = [tuple(sorted(zip(*(part.tolist() for part in history.of(row)), strict=True))) for row in rows]
    assert len(set(found)) == len(set(lists)) == len(set(zip(found, lists, strict=True)))
    assert len(set(lists)) < len(lists)
    assert found != history.fingerprints(8, rows).tolist()


@pytest.mark.parametrize("seed", SEEDS)
def test_each_known_entry_becomes_an_example_as_in_a_walk(seed: int) -> None:
    data = with_histories(seed)
    history = data.history
    assert history is not None
    rows = np.sort(np.random.default_rng(seed).permutation(len(data))[:25])
    grown = data.expanded(rows)
    expected = []
    for row in rows.tolist():
        item, label = history.of(row)
        for at in np.flatnonzero(item > 0):
            rest = [*np.delete(item, at).tolist(), int(data.item[row])], [*np.delete(label, at), data.label[row]]
            expected.append((data.user[row], item[at], label[at], data.timestamp[row], *rest))
    assert grown.history is not None
    assert len(grown) == len(data) + len(expected)
    for at, example in enumerate(expected, start=len(data)):
        item, label = grown.history.of(at)
        own = grown.user[at], grown.item[at], grown.label[at], grown.timestamp[at]
        assert (*own, item.tolist(), label.tolist()) == example


@pytest.mark.parametrize("seed", SEEDS)
def test_newest_of_each_user_are_those_of_a_sorted_list(seed: int) -> None:
    data = told(seed)
    expected = []
    for user in set(data.user.tolist()):
        own = sorted(np.flatnonzero(data.user == user).tolist(), key=lambda row: (data.timestamp[row], row))
        expected += own[-5:]
    assert data.newest(5).tolist() == sorted(expected)


def test_columns_of_lists_give_the_histories_of_python_lists() -> None:
    items, labels = [["b", "a"], [], ["x", "b"]], [[1.0, 2.0], [], [0.5, 4.0]]
    vocabulary = Vocabulary.of(["u"], ["a", "b"])
    expected = given(items, labels, vocabulary.item_indices)
    columns = (pa.chunked_array([pa.array(values[:1]), pa.array(values[1:])]) for values in (items, labels))
    found = listed(*columns, vocabulary.items)
    for name in ("item", "label", "begin", "end"):
        assert getattr(found, name).tolist() == getattr(expected, name).tolist()
        assert getattr(found, name).dtype == getattr(expected, name).dtype


def made(seed: int, count: int = 300) -> RecDataset:
    rng = np.random.default_rng(seed)
    users, items = ([f"{kind}{at:x}" for at in range(size)] for kind, size in (("u", 15), ("Ü", 20)))
    columns = [rng.choice(ids, count).tolist() for ids in (users, items)]
    stars, time = rng.integers(1, 6, count).astype(float).tolist(), rng.integers(0, 9, count).tolist()
    parts = rng.choice(["", "train", "test"], count).tolist()
    told_ = interactions_table(*columns, stars, time, parts)
    return RecDataset("made up", told_, table({"item_id": items}), table({"user_id": users}), (1, 5))


@pytest.mark.parametrize("seed", SEEDS)
def test_duplicates_that_stay_are_the_last_in_time_of_a_dictionary(seed: int) -> None:
    data = made(seed)
    rows = list(zip(*(column(data.interactions, name) for name in data.interactions.column_names), strict=True))
    last: dict[tuple[str, ...], int] = {}
    for at, (user, item, _, time, part) in enumerate(rows):
        key = user, item, part
        if key not in last or time >= rows[last[key]][3]:
            last[key] = at
    kept = without_duplicates(data).interactions
    assert list(zip(*(column(kept, name) for name in kept.column_names), strict=True)) == [
        rows[at] for at in sorted(last.values())
    ]
    assert len(kept) < len(rows)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", ["leave-last-out", "cold-item", "cold-user"])
def test_splits_are_those_of_arrays_of_ids(kind: str, seed: int) -> None:
    data = made(seed)
    ids = {name: np.asarray(column(data.interactions, name)) for name in ("user_id", "item_id")}
    time, rng = np.asarray(numbers(data.interactions, "timestamp")), np.random.default_rng(seed)

    def divided(rows: np.ndarray, fraction: float) -> tuple[np.ndarray, np.ndarray]:
        if kind == "leave-last-out":
            order = np.lexsort((rows, time[rows], ids["user_id"][rows]))
            user = ids["user_id"][rows][order]
            held = np.append(user[1:] != user[:-1], True) & ~np.insert(user[1:] != user[:-1], 0, True)
            return rows[order[~held]], rows[order[held]]
        own = ids[kind.replace("cold-", "") + "_id"][rows]
        distinct = np.unique(own)
        held = np.isin(own, rng.permutation(distinct)[: round(len(distinct) * fraction)])
        return rows[~held], rows[held]

    rest, test = divided(np.arange(len(time)), 0.3)
    train, valid = divided(rest, 0.25)
    found = split(data, kind, 0.3, 0.25, seed)
    for part, expected in ((found.train, train), (found.valid, valid), (found.test, test)):
        assert part.tolist() == sorted(expected.tolist())


@pytest.mark.parametrize("seed", SEEDS)
def test_titles_in_users_texts_are_those_of_a_walk_over_examples(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmrec_peft.data.leakage._TOGETHER", 3)
    data, rng = told(seed), np.random.default_rng(seed)
    titles = ["", *(f"Long Title {at}" if at % 3 else "short" for at in range(1, 14))]
    texts = ["", *(" and ".join(rng.choice(titles, 3)).upper() if at % 4 else "" for at in range(1, 9))]
    parts = Split(np.arange(100), np.arange(100, 150), np.arange(150, 240))
    for part, rows in (("training", parts.train), ("validation", parts.valid), ("test", parts.test)):
        expected = [
            row
            for row in rows.tolist()
            if len(titles[data.item[row]]) >= MIN_TITLE
            and titles[data.item[row]].casefold() in texts[data.user[row]].casefold()
        ]
        leaks = find_leaks(data, parts, titles, titles, repeats=True, user_texts=texts)
        found = [(leak.count, leak.row) for leak in leaks if leak.part == part]
        assert found == [(len(expected), expected[0])]

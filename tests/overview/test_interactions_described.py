"""Interactions described: counts as one would count them by hand, skew by its definition, times in their unit."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest

from llmrec_peft import Dataset
from llmrec_peft.data.dataset import RecDataset, interactions_table, table
from llmrec_peft.overview.columns import describe_columns
from llmrec_peft.overview.interactions import describe_interactions, describe_times, gini, share_of_top

DAY = 86_400


def made_up(rows: list[tuple[str, str, float, int]]) -> RecDataset:
    user, item, label, time = zip(*rows, strict=True)
    return RecDataset(
        name="made up",
        interactions=interactions_table(user, item, label, time),
        items=table({"item_id": [*sorted(set(item)), "never"], "title": [*sorted(set(item)), ""]}),
        users=table({"user_id": sorted(set(user))}),
        rating_range=(1.0, 5.0),
    )


def test_counts_are_those_of_plain_python() -> None:
    draw = random.Random(0)
    rows = [
        (
            f"u{draw.randrange(9)}",
            f"i{int(draw.random() ** 3 * 20)}",
            float(draw.randrange(1, 6)),
            draw.randrange(10**9),
        )
        for _ in range(300)
    ]
    report = describe_interactions(made_up(rows))
    users, items = Counter(row[0] for row in rows), Counter(row[1] for row in rows)
    pairs = {(row[0], row[1]) for row in rows}
    assert report["sizes"] == {
        "interactions": 300,
        "users": len(users),
        "items": len(items) + 1,
        "users_with_interactions": len(users),
        "items_with_interactions": len(items),
        "distinct_pairs": len(pairs),
        "density": len(pairs) / (len(users) * len(items)),
    }
    assert report["duplicates"]["pairs_seen_before"] == 300 - len(pairs)
    assert report["per_item"]["max"] == max(items.values())
    assert report["per_item"]["median"] == np.median(list(items.values()))
    assert report["per_user"]["min"] == min(users.values())
    counted = {row["label"]: row["count"] for row in report["labels"]["counts"]}
    assert counted == dict(Counter(row[2] for row in rows))
    top = sorted(items.values(), reverse=True)[: max(1, round(len(items) / 10))]
    assert report["popularity"]["share_of_top_10_percent"] == pytest.approx(sum(top) / 300, abs=1e-4)
    assert report["interactions_by_rank"]["items"][0] == {"rank": 1, "interactions": max(items.values())}
    assert report["interactions_by_rank"]["items"][-1] == {"rank": len(items), "interactions": min(items.values())}


def test_gini_is_the_mean_difference_of_all_pairs() -> None:
    counts = np.random.default_rng(0).integers(0, 40, 60)
    differences = np.abs(counts[:, None] - counts[None, :]).mean()
    assert gini(counts) == pytest.approx(differences / (2 * counts.mean()))
    assert gini(np.zeros(3)) == 0.0
    assert gini(np.empty(0)) == 0.0
    assert share_of_top(np.array([3, 3, 3]), 0.01) == pytest.approx(1 / 3), "at least one"


@pytest.mark.parametrize(("factor", "unit"), [(1, "seconds"), (1000, "milliseconds")])
def test_times_are_shown_as_dates_in_their_unit(factor: int, unit: str) -> None:
    start = 1_000_000_000
    report = describe_times((start + np.arange(11) * DAY) * factor)
    assert (report["unit"], report["first"], report["days"]) == (unit, "2001-09-09 01:46", 10.0)
    assert report["median"] == "2001-09-14 01:46"
    assert sum(row["interactions"] for row in report["over_time"]) == 11


def test_times_that_are_an_order_are_no_dates() -> None:
    report = describe_times(np.arange(100))
    assert (report["unit"], report["first"], report["last"], report["days"]) == ("order", 0, 99, None)
    assert describe_times(np.zeros(5, np.int64)) == {"known": False, "equal": False}
    assert describe_times(np.full(5, 7, np.int64)) == {"known": False, "equal": True}
    negative = describe_times(np.array([-(10**12), 5]))
    assert (negative["unit"], negative["first"]) == ("order", -(10**12))


def test_an_order_that_was_drawn_is_no_time() -> None:
    frame = {"user_id": list("aabb") * 9, "item_id": [f"i{n}" for n in range(36)]}
    data = Dataset.from_frames(frame)
    assert describe_interactions(data.dataset)["time"] == {"known": False, "drawn": True}


def test_columns_count_values_and_not_empty_ones() -> None:
    described = describe_columns(
        table(
            {
                "item_id": ["a", "b", "c"],
                "title": ["x", "", "x"],
                "year": [None, 3, 4],
                "genres": [["p", "q"], [], ["p"]],
            }
        )
    )
    found = {row["name"]: (row["filled"], row["distinct"]) for row in described}
    assert found["title"] == (2, 1)
    assert found["genres"] == (2, 2)
    assert found["year"][0] == 2

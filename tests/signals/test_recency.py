"""Recency: age classes at the example's time, items that are new, and a run that answers without a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from llmrec_peft.data.batches import Batch
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.errors import InputError
from llmrec_peft.evaluation.baselines.groups import age_classes
from llmrec_peft.signals.contract import SignalContext
from llmrec_peft.signals.recency import Recency, RecencyOptions

HOUR = 3600


def learned() -> Interactions:
    user, item = np.array([1, 1, 2]), np.array([1, 2, 1])
    return Interactions(user, item, np.ones(3, np.float32), np.array([0, 5 * HOUR, 10 * HOUR]))


def signal(items: Mapping[str, list[Any]] | None = None, **options: Any) -> Recency:
    made = Recency(RecencyOptions(**options))
    made.parts = made.build(SignalContext(4, 5, 8, learned(), None, None, items=items))
    with torch.no_grad():
        made.parts["steps"].weight[:, 0] = torch.arange(made.config.steps)
    return made


def classes(made: Recency, item: list[int], time: list[int] | None) -> list[int]:
    batch = Batch(torch.ones(len(item), dtype=torch.int64), torch.tensor(item))
    batch.time = None if time is None else torch.tensor(time)
    offset = made.offset(batch)
    assert offset is not None
    return [int(value) for value in offset.tolist()]


def test_an_items_age_at_the_examples_time_has_a_weight_of_its_class() -> None:
    made = signal({"first_seen": [100, None, 7200, 0]}, column="first_seen")
    times = [99, 100, 101, 100 + HOUR, 100 + 3 * HOUR, 100 + 7 * HOUR - 1]
    assert classes(made, [1] * 6, times) == [0, 0, 1, 2, 3, 3]
    assert classes(made, [2, 3, 4, 0], [HOUR, HOUR, HOUR, 10**9]) == [0, 0, 2, 0], "unknown, later, and no item: new"
    ages = np.array(times) - 100
    assert age_classes(ages).tolist() == classes(made, [1] * 6, times), "the baseline's classes are these"


def test_the_last_class_has_no_upper_end() -> None:
    made = signal({"first_seen": [0, 0, 0, 0]}, column="first_seen", steps=3)
    assert classes(made, [1, 1, 1, 1], [0, 1, HOUR, 10**15]) == [0, 1, 2, 2]
    assert list(made.report()) == ["new", "under 1 h", "from 1 h"]


def test_without_a_column_an_item_appears_with_its_first_training_interaction() -> None:
    made = signal()
    assert classes(made, [1, 2, 2, 3], [10 * HOUR] * 4) == [4, 3, 3, 0]
    assert classes(made, [1], [0]) == [0], "its own first interaction finds it new"


def test_without_a_time_the_latest_known_one_counts_and_follows() -> None:
    made = signal()
    assert classes(made, [1], None) == classes(made, [1], [10 * HOUR]) == [4]
    later = Batch(torch.tensor([1]), torch.tensor([3]), time=torch.tensor([100 * HOUR]))
    made.follow(later)
    assert classes(made, [1, 3], None) == [7, 0]
    made.remember(learned())
    assert classes(made, [1, 3], None) == [4, 0]


def test_a_column_that_the_data_lacks_or_that_holds_no_times_is_refused() -> None:
    recency = Recency(RecencyOptions(column="first_seen"))
    assert recency.refusal((), ("title",), False) == (
        "signals.recency.column: the data has no column 'first_seen'; there are title"
    )
    assert recency.refusal((), ("title", "first_seen"), False) is None
    with pytest.raises(InputError, match=r"signals\.recency\.column: 'title' holds 'Heat' where whole numbers belong"):
        signal({"title": ["Heat", "Alien", "Up", "Solaris"]}, column="title")

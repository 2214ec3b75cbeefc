"""Order: what is sorted as one number, and what is not, is ordered as numpy's stable sorts order it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from llmrec_peft.data.order import distinct, distinct_count, in_time, stable_order

LARGE = np.iinfo(np.int64).max


def _drawn(kind: str) -> NDArray[np.int64]:
    """Whole numbers with many ties: small, too large to be joined with their rows, negative, 32-bit, one or none."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, 50, 4000)
    return {
        "small": drawn,
        "large": drawn + (LARGE - 100),
        "limit": drawn + (LARGE // 4000 - 50),
        "negative": drawn - 25,
        "int32": (drawn + 2**30).astype(np.int32),
        "one": drawn[:1],
        "none": drawn[:0],
    }[kind]


KINDS = ("small", "large", "limit", "negative", "int32", "one", "none")


@pytest.mark.parametrize("kind", KINDS)
def test_equal_keys_keep_the_order_of_their_rows(kind: str) -> None:
    key = _drawn(kind)
    np.testing.assert_array_equal(stable_order(key), np.argsort(key, kind="stable"))


@pytest.mark.parametrize("kind", KINDS)
def test_distinct_values_are_those_that_numpy_finds(kind: str) -> None:
    values = _drawn(kind)
    found = distinct(values)
    np.testing.assert_array_equal(found, np.unique(values))
    assert found.dtype == values.dtype
    assert distinct_count(values) == len(found)


@pytest.mark.parametrize("kind", ["small", "large", "negative"])
@pytest.mark.parametrize("span", [1, 30, 2**62])
def test_rows_are_ordered_by_user_then_time_then_row(kind: str, span: int) -> None:
    user, time = _drawn(kind), np.random.default_rng(1).integers(-span, span, 4000)
    np.testing.assert_array_equal(in_time(user, time), np.lexsort((time, user)))

"""Growing: catalogues share what they have in common, in time that grows with what is added alone."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from llmrec_peft.run import growing
from llmrec_peft.run.catalogue import Catalogue

WIDTH = 4


def _catalogue(count: int) -> Catalogue:
    ids = tuple(f"i{row}" for row in range(count))
    return Catalogue(ids, ids, np.arange(1, count + 1), np.ones(count, np.int64), torch.ones(count, WIDTH))


def _larger(catalogue: Catalogue, names: list[str]) -> Catalogue:
    vectors = torch.full((len(names), WIDTH), float(len(catalogue.ids)))
    return catalogue.with_items(names, [name.upper() for name in names], vectors, [{"item_id": n} for n in names])


def test_a_catalogue_never_changes_whatever_is_made_of_it() -> None:
    first = _catalogue(3)
    second = _larger(first, ["a", "b"])
    third = _larger(second, ["c"])
    other = _larger(second, ["c", "d"])  # the newest is `third`: this one begins with a copy
    assert [len(one.ids) for one in (first, second, third, other)] == [3, 5, 6, 7]
    assert tuple(third.ids) == ("i0", "i1", "i2", "a", "b", "c")
    assert other.ids[-3:] == ("b", "c", "d")
    assert third.ids == [*second.ids, "c"]
    assert "c" in third.row_of
    assert "c" not in second.row_of
    assert second.row_of.get("c") is None
    assert dict(second.row_of) == {name: row for row, name in enumerate(second.ids)}
    assert (third.row_of["c"], other.row_of["d"]) == (5, 6)
    with pytest.raises(KeyError):
        second.row_of["c"]
    assert third.vectors is not None
    assert other.vectors is not None
    assert second.vectors is not None
    assert third.vectors[5].tolist() == [5.0] * WIDTH
    assert other.vectors[5:].tolist() == [[5.0] * WIDTH] * 2
    assert second.vectors.shape == (5, WIDTH)
    assert second.titles[-1] == "B"
    assert third.added[2] == {"item_id": "c"}
    with pytest.raises(IndexError):
        second.added[2]


def test_vectors_are_copied_a_few_times_however_often_items_are_added(monkeypatch: pytest.MonkeyPatch) -> None:
    rooms: list[int] = []
    real = growing.room

    def counted(rows: int, *given: object, **named: object) -> torch.Tensor:
        rooms.append(rows)
        return real(rows, *given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(growing, "room", counted)
    catalogue = _catalogue(1000)
    for step in range(500):
        catalogue = _larger(catalogue, [f"n{step}-{at}" for at in range(10)])
    assert len(catalogue.ids) == 6000
    assert len(rooms) < 20
    assert sum(rooms) < 12 * 6000


def test_adding_item_after_item_takes_a_time_in_proportion() -> None:
    def seconds(steps: int) -> float:
        catalogue, started = _catalogue(10), time.process_time()
        for step in range(steps):
            catalogue = _larger(catalogue, [f"n{step}"])
        return time.process_time() - started

    seconds(200)
    few, many = (min(seconds(steps) for _ in range(3)) for steps in (1000, 4000))
    assert many < 8 * few  # in proportion it is 4, with a catalogue made anew for each item about 16

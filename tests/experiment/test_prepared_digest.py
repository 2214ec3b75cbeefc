"""The digest of prepared data: written in pieces, equal to that of the whole JSON."""

from __future__ import annotations

import datetime
import json
import math

import numpy as np
import pytest

from llmrec_peft.experiment.prepared_digest import prepared_digest
from llmrec_peft.identity import arrays_digest, values_digest

USERS = [{}, {"user_id": "ü1", "age": None}, {"user_id": 'a"\\', "age": math.nan, "since": datetime.date(2020, 1, 2)}]
ITEMS = [
    {},
    *({"title": f"T{at}\u2028 \U0001f3ac", "item_id": str(at), "genres": ["a", "b"][: at % 3]} for at in range(9)),
]


@pytest.mark.parametrize("piece", [1, 4, 100])
@pytest.mark.parametrize("wordings", [(), (("", "x"), ("", "\n"))])
def test_digest_in_pieces_is_that_of_the_whole_json(
    piece: int, wordings: tuple[tuple[str, ...], ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmrec_peft.experiment.prepared_digest._PIECE", piece)
    arrays = [np.arange(5), np.zeros((0, 3), np.float32), np.arange(6.0).reshape(2, 3).T]
    texts, names = ("", "Köln", '"quoted"', "half \ud800"), (("ü1", 'a"\\'), ("1", "2", "3"))
    described = json.dumps([USERS, ITEMS], sort_keys=True, default=str)
    whole = values_digest([arrays_digest(arrays), list(texts), wordings, described, names])
    assert prepared_digest(arrays, texts, wordings, (iter(USERS), ITEMS), names) == whole
    assert prepared_digest(arrays, texts[:3], wordings, (USERS, ITEMS), names) != whole


def test_digest_of_arrays_depends_on_values_type_and_shape_alone() -> None:
    array = np.arange(6, dtype=np.int64)
    assert arrays_digest([array]) == arrays_digest([np.repeat(array, 2)[::2]])
    others = [array.astype(np.int32), array.reshape(2, 3), array[::-1], array[:0]]
    assert len({arrays_digest([other]) for other in [array, *others]}) == len(others) + 1

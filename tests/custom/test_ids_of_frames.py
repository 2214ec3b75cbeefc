"""Ids, labels and times of frames that a careless hand made: read as what they are, or refused in one line."""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from llmrec_peft import Dataset
from llmrec_peft.custom.frames import as_arrow
from llmrec_peft.custom.scored_frames import pairs_of
from llmrec_peft.errors import InputError

ROWS = 120


def ratings(**changes: Any) -> pd.DataFrame:
    user, item = np.arange(ROWS) % 10, np.arange(ROWS) // 10
    frame = pd.DataFrame({"user": user, "item": item, "stars": 1 + (user * 7 + item) % 5})
    return frame.assign(time=1_600_000_000 + 3600 * np.arange(ROWS), **changes)


def users_of(frame: Any) -> list[str]:
    return sorted(Dataset.from_frames(frame).dataset.users["user_id"])


def test_one_id_written_as_7_and_7_0_and_text_is_one_user() -> None:
    several = [(float, int, str)[at % 3](at % 10) for at in range(ROWS)]
    assert users_of(ratings().assign(user=pd.Series(several, dtype=object))) == [str(user) for user in range(10)]


def test_missing_values_of_pandas_are_no_ids() -> None:
    several = [pd.NA if at == 3 else pd.NaT if at == 5 else (at % 10 if at % 2 else str(at % 10)) for at in range(ROWS)]
    assert users_of(ratings().assign(user=pd.Series(several, dtype=object))) == [str(user) for user in range(10)]


def test_uuids_are_told_apart_and_written_as_usual() -> None:
    found = users_of(ratings().assign(user=[uuid.UUID(int=at % 10) for at in range(ROWS)]))
    assert found == [str(uuid.UUID(int=user)) for user in range(10)]


@pytest.mark.skipif(not hasattr(pa, "json_"), reason="types of pyarrow 19")
def test_extension_types_of_arrow_are_read_by_what_they_are_stored_as() -> None:
    stored = pa.array([uuid.UUID(int=at % 10).bytes for at in range(ROWS)], pa.uuid())
    table = pa.Table.from_pandas(ratings(), preserve_index=False)
    chunks = pa.chunked_array([stored[:50], stored[50:]])
    said = [str(uuid.UUID(int=user)) for user in range(10)]
    assert users_of(table.set_column(0, "user", chunks)) == said
    coded = pa.DictionaryArray.from_arrays(pa.array(np.arange(ROWS) % 10), stored[:10])
    assert users_of(table.set_column(0, "user", coded)) == said
    named = pa.ExtensionArray.from_storage(
        pa.opaque(pa.string(), "name", "them"), pa.array([f"u{at % 10}" for at in range(ROWS)])
    )
    assert users_of(table.set_column(0, "user", named))[:2] == ["u0", "u1"]
    assert as_arrow({"user": chunks.slice(48, 4)}, "x")["user"].to_pylist() == [said[at % 10] for at in range(48, 52)]


def test_bytes_that_are_text_are_ids() -> None:
    assert users_of(ratings().assign(user=[b"u%d" % (at % 10) for at in range(ROWS)]))[0] == "u0"


def test_ids_that_lost_their_last_digits_are_refused() -> None:
    large = 10**17 + np.arange(ROWS) % 10  # as pandas reads a column of such ids with a cell missing
    with pytest.raises(InputError, match=r"lost digits as numbers with a point .*dtype=str or Int64"):
        Dataset.from_frames(ratings().assign(user=large.astype(float)))
    with pytest.raises(InputError, match="lost digits"):
        pairs_of(pd.DataFrame({"user_id": large.astype(float), "item_id": 1}))
    assert len(users_of(ratings().assign(user=large))) == 10
    for rounded in ("1e+17", "1,23E+17", "9.007E+15"):
        with pytest.raises(InputError, match=r"row 2, '.*' is a rounded number"):
            users_of(ratings().assign(user=["u1", rounded] * (ROWS // 2)))
    assert len(users_of(ratings().assign(user=["a+1", "1e+x", "1e17"] * (ROWS // 3)))) == 3


@pytest.mark.parametrize(
    "column",
    [
        pytest.param([[1, 2]] * ROWS, id="lists"),
        pytest.param([b"\xff%d" % (at % 10) for at in range(ROWS)], id="bytes"),
        pytest.param([at % 10 + 0.5 for at in range(ROWS)], id="fractions"),
        pytest.param([at % 2 == 0 for at in range(ROWS)], id="flags"),
    ],
)
def test_a_column_called_user_without_ids_is_asked_about(column: list[Any]) -> None:
    """The column of ratings would be taken for that of users, since only it is left."""
    with pytest.raises(InputError, match=r"'user' is called as users are.*say --user-column NAME"):
        Dataset.from_frames(ratings().assign(user=column))


def test_ratings_with_a_cell_that_is_no_number_are_not_ignored() -> None:
    stars = ratings()["stars"].astype(float)
    stars[2] = np.inf
    with pytest.raises(InputError, match=r"row 3, column 'stars': 'inf' is no number; .*--feedback implicit"):
        Dataset.from_frames(ratings().assign(stars=stars))
    assert Dataset.from_frames(ratings().assign(stars=stars), feedback="implicit").dataset.feedback == "implicit"


@pytest.mark.parametrize("make", [dict, pa.table], ids=["lists", "arrow"])
def test_a_missing_time_is_left_out_also_where_it_is_nan(make: Any) -> None:
    times = ratings()["time"].to_numpy(dtype=float, copy=True)
    times[2] = np.nan
    columns = {name: ratings()[name].to_numpy() for name in ("user", "item", "stars")}
    data = Dataset.from_frames(make({**columns, "time": times})).dataset
    assert len(data.interactions) == ROWS - 1
    assert data.notes == (f"1 of {ROWS} interactions have no time: they were left out",)


def test_a_column_called_time_that_cannot_be_read_is_marked_unsure() -> None:
    periods = pd.to_datetime(ratings()["time"], unit="s").dt.to_period("D")
    unsure = Dataset.from_frames(ratings().assign(time=periods)).unsure
    assert len(unsure) == 1
    assert "'time' is called so, but how it writes them cannot be told" in unsure[0]


def test_texts_of_bytes_are_read_in_any_arrow_table() -> None:
    assert as_arrow(pa.table({"a": pa.array([b"x", None], pa.binary())}), "it").column("a").to_pylist() == ["x", None]

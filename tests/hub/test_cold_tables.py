"""Cold tables: rows of known users go, all else stays, and what may be about users is not guessed at."""

from __future__ import annotations

import pytest
import torch

from llmrec_peft import registry
from llmrec_peft.errors import InputError
from llmrec_peft.hub.cold_tables import without_users

USERS, ITEMS = 7, 5


@pytest.mark.parametrize("name", sorted(registry.plugins("signals")))
def test_signals_of_this_package_say_which_tensors_are_about_users(name: str) -> None:
    assert registry.get("signals", name).user_tables is not None


def test_row_of_the_unknown_user_stays_alone_and_other_tensors_whole() -> None:
    tensors = {
        "a.folded.user": torch.arange(USERS * 2.0).reshape(USERS, 2),
        "a.folded.item": torch.ones(ITEMS, 2),
        "a.square": torch.ones(USERS, USERS),
        "b.user.weight": torch.ones(USERS, 3),
        "b.rows.user": torch.arange(USERS),
    }
    kept = without_users(tensors, {"a": ("folded.user",), "b": ("user.weight", "rows.user")}, USERS)
    assert kept.keys() == tensors.keys()
    assert kept["a.folded.user"].equal(torch.tensor([[0.0, 1.0]]))
    assert [len(kept[name]) for name in ("b.user.weight", "b.rows.user")] == [1, 1]
    assert all(kept[name] is tensors[name] for name in ("a.folded.item", "a.square"))


def test_signal_that_does_not_say_is_refused_where_a_tensor_could_be_about_users() -> None:
    assert without_users({"a.table": torch.ones(ITEMS, 2)}, {"a": None}, USERS)
    for shape in ((USERS,), (USERS, 2), (2, USERS)):
        with pytest.raises(InputError, match=r"signal 'a': table may have a row for each user.*--include-users"):
            without_users({"a.table": torch.ones(shape)}, {"a": None}, USERS)


def test_table_with_another_number_of_rows_is_refused() -> None:
    for table in (torch.ones(USERS - 1, 2), torch.tensor(1.0)):
        with pytest.raises(InputError, match=r"not one row for each of 7"):
            without_users({"a.user": table}, {"a": ("user",)}, USERS)

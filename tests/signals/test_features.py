"""Features: columns as categories and standardized numbers of the training side, kept without the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from llmrec_peft.data.batches import Batch
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.errors import InputError
from llmrec_peft.signals.contract import SignalContext
from llmrec_peft.signals.features import Features, FeaturesOptions

USERS: Mapping[str, Sequence[Any]] = {
    "user_id": [f"u{n}" for n in range(1, 9)],
    "age": [20, 30, None, 50, 20, 30, 40, 1000],  # user 8 trains nothing
    "gender": ["F", "M", "F", "M", "F", "M", "", None],
}
ITEMS: Mapping[str, Sequence[Any]] = {
    "item_id": [f"i{n}" for n in range(1, 8)],
    "genres": [["drama"], ["drama", "crime"], [], ["crime", "war"], ["drama", "drama"], None, ["new"]],
    "year": [1990.0, 1991.0, 1992.0, 1993.0, 1994.0, 1995.0, 1996.0],
    "colour": [True, False, True, True, True, True, True],
    "same": [1, 1, 1, 1, 1, 1, 1],
    "mixed": ["a", 1, 2, 3, 4, 5, 6],
    "numbers": [[0.5], [1.5], [], [], [], [], []],
}


def _signal(ratings: Interactions, **options: Any) -> Features:
    """A signal all of whose weights are drawn."""
    signal = Features(FeaturesOptions(**options))
    signal.parts = signal.build(SignalContext(9, 8, 4, ratings, None, None, users=USERS, items=ITEMS))
    torch.manual_seed(0)
    for parameter in signal.parts.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter)
    signal.parts.eval()
    return signal


def _every() -> Batch:
    user, item = np.meshgrid(np.arange(9), np.arange(8), indexing="ij")
    return Batch(torch.from_numpy(user.ravel()), torch.from_numpy(item.ravel()))


def test_list_is_the_mean_of_its_categories_and_what_training_never_met_is_absent(ratings: Interactions) -> None:
    signal = _signal(ratings, items=("genres",))
    names = signal.names()["item_categories"]
    assert names == ["genres=crime", "genres=drama", "genres=war"], "new stands on an item that nobody met"
    crime, drama, war = signal.parts["item_category"].weight[1:].detach()
    batch = Batch(torch.zeros(8, dtype=torch.int64), torch.arange(8))
    expected = torch.stack(
        [torch.zeros(4), drama, (drama + crime) / 2, torch.zeros(4), (crime + war) / 2, drama, *torch.zeros(2, 4)]
    )
    torch.testing.assert_close(signal.item(batch).detach(), expected)
    assert signal.user(batch) is None


def test_rare_categories_count_as_absent(ratings: Interactions) -> None:
    assert _signal(ratings, items=("genres",), min_count=2).names()["item_categories"] == [
        "genres=crime",
        "genres=drama",
    ]


def test_numbers_are_standardized_by_those_that_training_meets_and_gaps_have_a_weight(ratings: Interactions) -> None:
    signal = _signal(ratings, users=("age",))
    known = np.array([20.0, 30.0, 50.0, 20.0, 30.0, 40.0])
    spread = known.std()
    values = signal.parts["user"]["number"]
    expected = [0.0, *((np.array([20, 30, known.mean(), 50, 20, 30, 40, 1000]) - known.mean()) / spread)]
    np.testing.assert_allclose(values[:, 0].numpy(), expected, rtol=1e-5)
    assert values[:, 1].tolist() == [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    weight = signal.parts["user_number"].weight.detach()
    batch = Batch(torch.tensor([0, 3, 4]), torch.zeros(3, dtype=torch.int64))
    vectors = signal.user(batch).detach()
    torch.testing.assert_close(vectors, torch.stack([torch.zeros(4), weight[:, 1], values[4, 0] * weight[:, 0]]))


def test_a_gap_says_nothing_before_it_is_trained(ratings: Interactions) -> None:
    signal = Features(FeaturesOptions(users=("age",)))
    signal.parts = signal.build(SignalContext(9, 8, 4, ratings, None, None, users=USERS, items=ITEMS))
    batch = Batch(torch.tensor([3]), torch.tensor([1]))
    assert signal.user(batch).abs().max() == 0
    assert signal.offset(batch).abs().max() == 0
    signal.user(batch).sum().backward()
    assert signal.parts["user_number"].weight.grad[:, 1].abs().min() > 0


def test_offset_sums_both_sides_and_unknown_ones_get_zeros(ratings: Interactions) -> None:
    signal = _signal(ratings, users=("gender", "age"), items=("genres", "year", "colour"))
    batch = _every()
    whole = signal.offset(batch).detach().reshape(9, 8)
    torch.testing.assert_close(whole, whole[:, :1] + whole[:1] - whole[0, 0])
    assert whole[0, 0] == 0
    assert signal.user(batch)[0].abs().max() == 0
    assert signal.item(batch)[0].abs().max() == 0
    offsets = signal.parts["user_category_offset"].weight.detach()[:, 0]
    ages = signal.parts["user"]["number"] @ signal.parts["user_number_offset"].weight.detach()[0]
    torch.testing.assert_close(whole[1:3, 0], offsets[1:3] + ages[1:3])
    assert signal.names()["user_categories"] == ["gender=F", "gender=M"]
    assert signal.names()["item_categories"][-2:] == ["colour=False", "colour=True"]
    assert signal.names()["item_numbers"] == ["year"]


@pytest.mark.parametrize(
    "options",
    [
        {"users": ("gender",)},
        {"items": ("year",)},
        {"users": ("age", "gender"), "items": ("genres", "year", "same")},
        {"items": ("genres",), "min_count": 99},
    ],
    ids=str,
)
def test_saved_tensors_and_names_alone_rebuild_the_signal(options: dict[str, Any], ratings: Interactions) -> None:
    signal = _signal(ratings, **options)
    saved = signal.parts.state_dict()
    loaded = Features(signal.config)
    loaded.parts = loaded.build(SignalContext(9, 8, 4, None, None, None, saved, signal.names()))
    loaded.parts.load_state_dict(saved)
    loaded.parts.eval()
    for name in ("user", "item", "offset"):
        one, other = getattr(signal, name)(_every()), getattr(loaded, name)(_every())
        assert (one is None) == (other is None)
        assert one is None or torch.equal(one, other)
    assert loaded.names() == signal.names()


def test_column_of_one_value_is_harmless(ratings: Interactions) -> None:
    signal = _signal(ratings, items=("same",))
    assert bool(torch.isfinite(signal.item(_every())).all())
    assert signal.item(_every()).abs().max() == 0


def test_entries_are_dropped_in_training_only(ratings: Interactions) -> None:
    signal = _signal(ratings, items=("genres", "year"), dropout=0.5)
    batch = Batch(torch.tensor([1]), torch.tensor([2]))
    assert torch.equal(signal.item(batch), signal.item(batch))
    signal.parts.train()
    torch.manual_seed(0)
    assert len({tuple(signal.item(batch)[0].tolist()) for _ in range(10)}) > 1


def test_missing_column_is_refused_in_one_line_that_names_those_there_are(ratings: Interactions) -> None:
    asked = Features(FeaturesOptions(users=("agee",)))
    why = asked.refusal(list(USERS), list(ITEMS), False)
    assert why == "signals.features.users: the data has no column 'agee'; there are age, gender, user_id"
    with pytest.raises(InputError, match="no column 'agee'"):
        _signal(ratings, users=("agee",))
    assert "name columns" in Features(FeaturesOptions()).refusal(list(USERS), list(ITEMS), False)
    assert Features(FeaturesOptions(items=("year",))).refusal(list(USERS), list(ITEMS), False) is None


@pytest.mark.parametrize("column", ["mixed", "numbers"])
def test_column_that_is_neither_is_refused(column: str, ratings: Interactions) -> None:
    with pytest.raises(InputError, match=f"column '{column}' holds neither"):
        _signal(ratings, items=(column,))

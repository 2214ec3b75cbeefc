"""Served followers: the baseline's own scores, for pairs and lists, saved or not; false tables are refused."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from learning import DIM
from scipy import sparse

from llmrec_peft.data.batches import Batch
from llmrec_peft.data.histories import Histories
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.errors import InputError
from llmrec_peft.evaluation.baselines.followers import _Links, title_words, transitions
from llmrec_peft.heads.contract import HeadContext
from llmrec_peft.heads.ranking import RankingHead, RankingOptions
from llmrec_peft.model import RecModel
from llmrec_peft.model import served_followers as module
from llmrec_peft.model.fusion import Fusion
from llmrec_peft.model.served_baseline import NAME, ServedBaseline, empty_baseline, with_baseline
from llmrec_peft.model.served_followers import FOLLOWERS, WITH_WORDS, FollowerOptions, ServedFollowers
from llmrec_peft.model.served_neighbours import NEIGHBOURS, WITH_TEXTS, ServedNeighbours
from llmrec_peft.signals.contract import SignalContext
from llmrec_peft.signals.parts.matrix_factorization import Factors

USERS, ITEMS, WEIGHT = 5, 9, 1.5
TITLES = ["red pen", "blue pen", None, "red ink", "blue ink", "a stapler", "", "red stapler"]
HISTORIES = [[], [3], [4, 5, 4], [0, 8, 0, 2], [1, 2, 3, 4, 5, 6, 7, 8, 1, 1, 2, 6]]
"""None, one entry, one item twice, unknown items between, and more entries than are read."""
SETTINGS: list[dict[str, float]] = [
    {"decay": 0.8, "own": 1.0, "words": 0.0},
    {"decay": 0.5, "own": 0.3, "words": 0.0},
    {"decay": 0.3, "own": 0.3, "words": 0.8},
    {"decay": 0.5, "own": 1.0, "words": 1.6},
]


def interactions(item: list[int], user: list[int], history: Histories | None = None) -> Interactions:
    ones = np.ones(len(item), np.float32)
    return Interactions(np.array(user), np.array(item), ones, np.arange(len(item)), history)


def learned() -> Interactions:
    rng = np.random.default_rng(2)
    return interactions(rng.integers(1, ITEMS - 1, 60).tolist(), np.repeat(np.arange(1, USERS), 15).tolist())


def asked() -> Interactions:
    end = np.cumsum([len(entries) for entries in HISTORIES])
    items = np.array([item for entries in HISTORIES for item in entries])
    begin = end - [len(entries) for entries in HISTORIES]
    history = Histories(items, np.ones(len(items), np.float32), begin, end)
    return interactions([1] * len(HISTORIES), list(range(USERS)), history)


def of_baseline(settings: Mapping[str, float]) -> torch.Tensor:
    """The baseline's scores, [USERS, ITEMS - 1]."""
    return _Links(learned(), ITEMS, title_words(TITLES)).scores(asked(), dict(settings))


def served(settings: Mapping[str, float], weight: float = WEIGHT) -> ServedFollowers:
    options = FollowerOptions.model_validate(dict(settings))
    return ServedFollowers.of(transitions(learned(), ITEMS), title_words(TITLES), options, weight)


def batch(length: int = 12) -> Batch:
    return Batch.of(asked(), np.arange(USERS), torch.device("cpu"), length)


def context(saved: Mapping[str, torch.Tensor] | None = None) -> SignalContext:
    return SignalContext(USERS, ITEMS, DIM, None, None, None, saved=saved)


def tensors(signal: ServedFollowers) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in signal.parts.state_dict().items()}


@pytest.mark.parametrize("rows", [2, 512])
@pytest.mark.parametrize("settings", SETTINGS)
def test_lists_and_pairs_get_the_scores_of_the_baseline(
    settings: dict[str, float], rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ROWS", rows)
    signal, wanted = served(settings), WEIGHT * of_baseline(settings)
    items = torch.arange(1, ITEMS)
    assert wanted.std(dim=1)[1:].min() > 0.0
    torch.testing.assert_close(signal.cross(batch(), items[None, :]), wanted)
    for item in items.tolist():
        pairs = batch()
        pairs.item = torch.full((USERS,), item)
        torch.testing.assert_close(signal.offset(pairs), wanted[:, item - 1])
    pairs.item = torch.tensor([8, 4, 2, 4, 6])
    torch.testing.assert_close(signal.offset(pairs), wanted[torch.arange(USERS), pairs.item - 1])
    nobody = Batch.of(asked(), np.arange(0), torch.device("cpu"), 12)
    for candidates in (items[None, :], items[:0, None]):
        assert signal.cross(nobody, candidates).shape == (0, candidates.shape[1])
    one = Batch(user=torch.tensor([4]), item=torch.tensor([2]), history=batch().history[4:])
    torch.testing.assert_close(signal.offset(one), wanted[4:, 1])  # in the form of a list


def test_own_items_are_those_among_the_entries_that_are_read() -> None:
    settings = {"decay": 0.8, "own": 0.3, "words": 0.4}
    items = torch.arange(1, ITEMS)[None, :]
    plain, lowered = (served({**settings, "own": own}).cross(batch(), items) for own in (1.0, 0.3))
    lower = torch.ones(USERS, ITEMS)
    for user, entries in enumerate(HISTORIES):
        lower[user, entries[-10:]] = 0.3
    torch.testing.assert_close(lowered, lower[:, 1:] * plain)
    shorter = served({**settings, "length": 2}).cross(batch(), items)
    torch.testing.assert_close(shorter, served(settings).cross(batch(2), items))


def test_added_items_and_users_without_history_get_nothing() -> None:
    signal = served(SETTINGS[2])
    added = torch.tensor([[0, 4, 0]])
    found = signal.cross(batch(), added)
    assert found is not None
    assert not found[:, [0, 2]].any()
    assert not found[0].any()
    torch.testing.assert_close(found[:, 1], WEIGHT * of_baseline(SETTINGS[2])[:, 3])
    assert signal.cross(Batch(user=torch.tensor([1]), item=torch.tensor([1])), added) is None


@pytest.mark.parametrize("settings", SETTINGS)
def test_saved_tables_give_the_same_scores(settings: dict[str, float]) -> None:
    signal, items = served(settings), torch.arange(1, ITEMS)[None, :]
    name = WITH_WORDS if settings["words"] else FOLLOWERS
    again = empty_baseline(name, settings, context(tensors(signal)))
    again.parts.load_state_dict(signal.parts.state_dict())
    assert ("alike" in again.parts) == (settings["words"] > 0.0)
    torch.testing.assert_close(again.cross(batch(), items), signal.cross(batch(), items), rtol=0, atol=0)
    assert again.report() == signal.report()


def test_the_name_says_which_tables_are_read() -> None:
    saved = {"tables.pair": torch.tensor([[1, 2]], dtype=torch.int32), "tables.count": torch.tensor([3.0])}
    for name in (NEIGHBOURS, WITH_TEXTS):
        assert isinstance(empty_baseline(name, {}, context(saved)), ServedNeighbours)
    assert isinstance(empty_baseline("popularity", {}, context()), ServedBaseline)
    with pytest.raises(ValueError, match="counts"):
        empty_baseline(FOLLOWERS, {"counts": 1.0}, context(tensors(served(SETTINGS[0]))))


def test_the_strongest_links_of_each_item_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = served(SETTINGS[3])
    monkeypatch.setattr(module, "STRONGEST", 2)
    cut = served(SETTINGS[3])
    for table, links in (("follows", transitions(learned(), ITEMS)), ("alike", title_words(TITLES))):
        begin, value = cut.parts[table]["begin"].tolist(), cut.parts[table]["value"].numpy()
        assert len(value) < len(whole.parts[table]["value"])
        for item in range(ITEMS):
            heaviest = np.sort(links[[item]].data)[::-1][:2]
            np.testing.assert_array_equal(np.sort(value[begin[item] : begin[item + 1]])[::-1], heaviest)


def test_beside_a_model_it_adds_to_the_rest_of_its_score() -> None:
    head = RankingHead(RankingOptions(temperature=2.0))
    head.parts = head.build(HeadContext(DIM, 1.0, (0.0, 1.0)))
    rng = np.random.default_rng(0)
    sizes = ((USERS, 3), (ITEMS, 3), USERS, ITEMS)
    other = ServedBaseline.of(Factors(0.0, *(rng.normal(size=size) for size in sizes)), 1.0, 0.0)
    model = RecModel({"other": other}, {"ranking": head}, None, Fusion("sum", ["other"], 3)).eval()
    both = with_baseline(model, served(SETTINGS[2]), 0.4)
    assert (model.plan.history_length, both.plan.history_length, both.plan.history) == (None, 10, False)
    assert NAME in both.signals
    every = batch()
    every.candidates = torch.arange(1, ITEMS)
    with torch.no_grad():
        own, found = (one.score(every, *one.sides(every)) for one in (model, both))
    assert own.std() > 0.1
    torch.testing.assert_close(found, 0.6 * own + WEIGHT * of_baseline(SETTINGS[2]) / 2.0)


def test_words_with_a_weight_have_to_be_given() -> None:
    options = FollowerOptions(words=0.4)
    with pytest.raises(ValueError, match="no similarity of words"):
        ServedFollowers.of(sparse.csr_matrix((ITEMS, ITEMS)), None, options, 1.0)


@pytest.mark.parametrize("table", ["follows", "alike"])
@pytest.mark.parametrize(
    ("part", "value", "why"),
    [
        ("begin", None, "missing"),
        ("begin", torch.zeros(ITEMS, dtype=torch.int64), "one row more than items"),
        ("begin", torch.zeros(ITEMS + 1, dtype=torch.int32), "int64"),
        ("begin", torch.tensor([0, 0, 2, 1, *[2] * (ITEMS - 3)]), "does not divide 2 links"),
        ("begin", torch.tensor([0, 2**62, -(2**62), *[2] * (ITEMS - 2)]), "does not divide 2 links"),
        ("begin", torch.tensor([0, *[3] * ITEMS]), "does not divide 2 links"),
        ("item", torch.tensor([1, ITEMS], dtype=torch.int32), "items from 1"),
        ("item", torch.tensor([0, 1], dtype=torch.int32), "items from 1"),
        ("item", torch.tensor([1, 2]), "items from 1"),
        ("item", torch.tensor([[1], [2]], dtype=torch.int32), "items from 1"),
        ("value", torch.tensor([1.0, float("nan")]), "finite"),
        ("value", torch.tensor([1.0, float("inf")]), "finite"),
        ("value", torch.tensor([1.0]), "one finite float32 for each"),
        ("value", torch.tensor([1.0, 2.0]).double(), "float32"),
        ("value", None, "missing"),
    ],
)
def test_saved_tables_that_cannot_be_are_refused(table: str, part: str, value: torch.Tensor | None, why: str) -> None:
    links = {
        "begin": torch.tensor([0, 0, *[2] * (ITEMS - 1)]),
        "item": torch.tensor([2, 3], dtype=torch.int32),
        "value": torch.tensor([0.5, 1.0]),
    }
    saved = {f"{name}.{key}": tensor for name in ("follows", "alike") for key, tensor in links.items()}
    options = FollowerOptions(words=0.2)
    assert ServedFollowers.empty(context(saved), options).report() == {"follows": 2, "alike": 2}
    spoiled = {name: tensor for name, tensor in saved.items() if name != f"{table}.{part}"}
    if value is not None:
        spoiled[f"{table}.{part}"] = value
    with pytest.raises(InputError, match=rf"tensor {table}\.{part}.*{why}") as caught:
        ServedFollowers.empty(context(spoiled), options)
    assert "\n" not in str(caught.value)


def test_more_links_of_an_item_than_are_kept_are_refused() -> None:
    saved = tensors(served(SETTINGS[0]))
    for count in (module.STRONGEST, module.STRONGEST + 1):
        saved["follows.begin"] = torch.tensor([0, 0, *[count] * (ITEMS - 1)])
        saved["follows.item"], saved["follows.value"] = torch.ones(count, dtype=torch.int32), torch.ones(count)
        if count == module.STRONGEST:
            assert ServedFollowers.empty(context(saved), FollowerOptions()).report() == {"follows": 200}
    with pytest.raises(InputError, match=r"tensor follows\.begin gives an item 201 links; 200 are kept at most"):
        ServedFollowers.empty(context(saved), FollowerOptions())


@pytest.mark.parametrize("settings", [{"decay": 0.0}, {"own": 1.5}, {"words": -1.0}, {"length": 0}, {"share": 1.0}])
def test_settings_that_cannot_be_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        empty_baseline(WITH_WORDS, settings, context(tensors(served(SETTINGS[2]))))

"""Fusion: each kind joins what it says it joins, and what only it can join is lost without it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from learning import DIM, Task, crossed, divided, error, fit, fitted_error, interactions, model_of, signs

from llmrec_peft.data.batches import Batch
from llmrec_peft.heads.contract import Joined, pair_scores
from llmrec_peft.model import RecModel
from llmrec_peft.model.fusion import Fusion, Kind

ALONE = {"user_history": "none", "item_history": "none"}
NAMES = ("first", "second", "third")
ROWS = 400


def _said(seed: int = 0) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """User vectors, item vectors and offsets of three signals; the third says nothing of users."""
    torch.manual_seed(seed)
    users, items = ({name: torch.randn(ROWS, DIM) for name in NAMES} for _ in range(2))
    users["third"] = None  # type: ignore[assignment]
    return users, items, {name: torch.randn(ROWS) for name in NAMES}


def _scores(fusion: Fusion) -> torch.Tensor:
    users, items, offsets = _said()
    zero = torch.zeros(ROWS)
    item = Joined(fusion.join("item", items, ROWS), fusion.offset(offsets))
    return pair_scores(Joined(fusion.join("user", users, ROWS), zero), item)


def test_sum_lets_every_users_vector_meet_every_items() -> None:
    users, items, offsets = _said()
    expected = sum(offsets.values())
    for one, other in itertools.product(("first", "second"), NAMES):
        expected = expected + (users[one] * items[other]).sum(1)
    torch.testing.assert_close(_scores(Fusion("sum", NAMES, DIM)), expected)


def test_late_lets_each_signal_score_by_itself_times_its_weight() -> None:
    users, items, offsets = _said()
    fusion = Fusion("late", NAMES, DIM)
    with torch.no_grad():
        fusion.weights.copy_(torch.tensor([2.0, 0.5, 3.0]))
    own = {name: (users[name] * items[name]).sum(1) + offsets[name] for name in ("first", "second")}
    torch.testing.assert_close(_scores(fusion), 2.0 * own["first"] + 0.5 * own["second"] + 3.0 * offsets["third"])


def test_gates_start_at_one_and_weigh_vectors_and_offsets_apart() -> None:
    fusion = Fusion("gated", NAMES, DIM)
    torch.testing.assert_close(_scores(fusion), _scores(Fusion("sum", NAMES, DIM)))
    assert set(fusion.report()) == {"user", "item", "offset"}
    assert fusion.report()["item"] == dict.fromkeys(NAMES, 1.0)
    with torch.no_grad():
        fusion.gates["item"].fill_(-30.0)
        fusion.gates["offset"].copy_(torch.tensor([-30.0, 30.0, 0.0]))
    _, _, offsets = _said()
    torch.testing.assert_close(_scores(fusion), 2.0 * offsets["second"] + offsets["third"])


def test_network_reads_signals_at_their_places_and_zeros_for_what_is_not_there() -> None:
    users, _, _ = _said()
    fusion = Fusion("mlp", NAMES, DIM).eval()
    whole = torch.cat([users["first"], users["second"], torch.zeros(ROWS, DIM)], dim=1)
    torch.testing.assert_close(fusion.join("user", users, ROWS), fusion.user_network(whole))
    turned = {name: users[name] for name in reversed(NAMES)}
    torch.testing.assert_close(fusion.join("user", turned, ROWS), fusion.user_network(whole))
    assert fusion.join("item", dict.fromkeys(NAMES), ROWS) is None


@pytest.mark.parametrize("kind", ["sum", "mlp", "gated", "late"])
def test_what_no_signal_speaks_of_is_none(kind: Kind) -> None:
    fusion = Fusion(kind, NAMES, DIM)
    assert fusion.join("user", dict.fromkeys(NAMES), ROWS) is None
    assert fusion.offset(dict.fromkeys(NAMES)) is None


def _of_new_items(effect: np.ndarray, **further: object) -> Task:
    user, item = crossed(range(1, 31), range(1, 61))
    train, test = divided(interactions(user, item, 3.0 + effect[user, item]), item > 44)
    return Task(train, test, 31, 61, **further)  # type: ignore[arg-type]


@pytest.mark.trains
def test_without_a_sum_tastes_do_not_meet_the_texts_of_new_items() -> None:
    rng = np.random.default_rng(0)
    told = signs(rng, 61)
    text = torch.from_numpy(np.stack([told, rng.normal(size=61)], axis=1)).float()
    task = _of_new_items(1.5 * np.outer(signs(rng, 31), told), text=text)
    chosen = {"collaborative": ALONE, "text": {"dropout": 0.0}}
    assert fitted_error(task, chosen, "sum") < 0.5 * fitted_error(task, chosen, "late")


@pytest.mark.trains
def test_without_a_network_what_two_signals_say_together_is_lost() -> None:
    """An item is liked if its text and its column are of one sign: neither says anything by itself."""
    rng = np.random.default_rng(0)
    one, other = signs(rng, 61), signs(rng, 61)
    text = torch.from_numpy(np.stack([one, np.ones(61)], axis=1)).float()
    task = _of_new_items(
        1.5 * np.outer(np.ones(31), one * other),
        text=text,
        items={"side": ["left" if sign > 0 else "right" for sign in other[1:]]},
        users={"kind": ["person"] * 30},
    )
    chosen = {"text": {"dropout": 0.0}, "features": {"items": ("side",), "users": ("kind",)}}
    assert fitted_error(task, chosen, "mlp") < 0.5 * fitted_error(task, chosen, "sum")


@pytest.mark.trains
def test_without_gates_a_noisy_signal_cannot_be_turned_down() -> None:
    """Signals stand still; the label is what the first one alone says."""
    users, items, offsets = _said()
    label = (users["first"] * items["first"]).sum(1) + offsets["first"]
    found = {}
    for kind in ("gated", "sum"):
        fusion = Fusion(kind, NAMES, DIM)  # type: ignore[arg-type]
        trained = list(fusion.parameters())
        if trained:
            optimizer = torch.optim.Adam(trained, lr=0.1)
            for _ in range(200):
                loss = (_scores(fusion) - label).square().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        found[kind] = float((_scores(fusion) - label).square().mean().sqrt().detach())
        if kind == "gated":
            for part in ("item", "offset"):
                told = fusion.report()[part]
                assert told["first"] > 0.5, told
                assert max(told["second"], told["third"]) < 0.3, told
    assert found["gated"] < 0.3 * found["sum"]


def test_late_weights_are_those_that_validation_likes_best() -> None:
    users, items, offsets = _said()
    own = {name: (users[name] * items[name]).sum(1) + offsets[name] for name in ("first", "second")}
    label = 2.0 * own["first"] + 0.5 * own["second"]
    for lower_is_better in (True, False):
        fusion = Fusion("late", NAMES, DIM)
        sign = 1.0 if lower_is_better else -1.0

        def figure(fusion: Fusion = fusion, sign: float = sign) -> float:
            return sign * float((_scores(fusion) - label).square().mean().sqrt())

        before = figure()
        best = fusion.choose(figure, lower_is_better)
        assert fusion.report() == {"score": {"first": 2.0, "second": 0.5, "third": 0.0}}, "the useless one goes"
        assert best == figure()
        assert sign * best < 0.1 < sign * before
    for kind in ("sum", "mlp", "gated"):
        assert Fusion(kind, NAMES, DIM).choose(lambda: 1.0, True) is None  # type: ignore[arg-type]


@pytest.mark.trains
def test_late_fusion_of_a_model_drops_a_signal_that_says_nothing_on_validation() -> None:
    rng = np.random.default_rng(0)
    user, item = crossed(range(1, 31), range(1, 61))
    label = 3.0 + 1.5 * signs(rng, 31)[user] * signs(rng, 61)[item]
    whole = interactions(user, item, label)
    train, rest = divided(whole, rng.random(len(user)) < 0.4)
    valid, test = divided(rest, np.arange(len(rest)) % 2 == 0)
    task = Task(train, test, 31, 61, text=torch.from_numpy(rng.normal(size=(61, 6))).float())
    model = fit(model_of(task, {"text": {"dropout": 0.0}, "collaborative": ALONE}, "late"), task)
    torch.nn.init.normal_(model.signals["text"].parts["offset"].weight, std=5.0)  # it learnt something that is not so
    before = error(model, test)
    model.fusion.choose(lambda: error(model, valid), True)
    weights = model.report()["fusion"]["score"]
    assert weights["text"] == 0.0
    assert weights["collaborative"] > 0.0
    assert error(model, test) < 0.5 < 0.5 * before


def _shown(dropout: float = 0.5) -> tuple[Task, RecModel]:
    rng = np.random.default_rng(0)
    task = _of_new_items(rng.normal(size=(31, 61)).clip(-1, 1), text=torch.from_numpy(rng.normal(size=(61, 6))).float())
    chosen = {"collaborative": ALONE, "text": {"dropout": 0.0}}
    model = model_of(task, chosen, signal_dropout=dropout)
    torch.manual_seed(3)
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.5)
    return task, model


def test_signal_that_is_left_out_of_an_example_is_left_out_of_all_its_parts() -> None:
    task, model = _shown()
    batch = Batch.of(task.train, np.arange(300), torch.device("cpu"))
    model.train()
    torch.manual_seed(0)
    user, item = model.sides(model.with_texts(batch))
    scores = pair_scores(user, item)
    whole = model.with_texts(batch)
    signals = model.signals
    found = torch.zeros(300, dtype=torch.int64)
    for number, kept in enumerate(itertools.product((0.0, 1.0), repeat=2)):
        of_user = kept[0] * signals["collaborative"].user(whole)
        of_item = kept[0] * signals["collaborative"].item(whole) + kept[1] * signals["text"].item(whole)
        offset = kept[0] * signals["collaborative"].offset(whole) + kept[1] * signals["text"].offset(whole)
        alike = ((of_user * of_item).sum(1) + offset - scores).abs() < 1e-4
        found = torch.where(alike, number + 1, found)
    counts = torch.bincount(found, minlength=5)
    assert counts[0] == 0, "every example is scored by whole signals"
    assert int(counts[1:].min()) > 40, "each choice of signals comes up about as often"


def test_signals_are_left_out_in_training_only() -> None:
    task, model = _shown()
    batch = Batch.of(task.train, np.arange(20), torch.device("cpu"))
    model.train()
    assert float(model(batch).loss.detach()) != float(model(batch).loss.detach())
    model.eval()
    assert torch.equal(model(batch).loss, model(batch).loss)
    task, plain = _shown(0.0)
    torch.testing.assert_close(model(batch).loss, plain.eval()(batch).loss)


@pytest.mark.trains
def test_left_out_signals_make_texts_tell_of_new_items() -> None:
    """Items' own entries learn faster than texts, and would leave them little to say."""
    rng = np.random.default_rng(0)
    told = signs(rng, 61)
    text = torch.from_numpy(np.stack([told, *rng.normal(size=(5, 61))], axis=1)).float()
    task = _of_new_items(1.5 * np.outer(np.ones(31), told), text=text)
    found = {}
    for dropout in (0.0, 0.5):
        chosen = {"collaborative": {"factors": False}, "text": {"dropout": 0.0}}
        found[dropout] = error(fit(model_of(task, chosen, signal_dropout=dropout), task), task.test)
    assert found[0.5] < 0.6 * found[0.0], found


def test_late_and_gated_weights_are_saved_with_the_model() -> None:
    task, _ = _shown()
    for kind in ("gated", "late"):
        model = model_of(task, {"collaborative": ALONE, "text": {}}, kind)
        names = {name for name in model.trained_state() if name.startswith("fusion.")}
        assert names == (
            {"fusion.weights"} if kind == "late" else {f"fusion.gates.{p}" for p in ("user", "item", "offset")}
        )
        trained = {
            name for group in model.parameter_groups().values() for name, _ in group if name.startswith("fusion.")
        }
        assert trained == (set() if kind == "late" else names)

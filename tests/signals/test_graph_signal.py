"""Graph: sums over neighbours against a loop, their parts, triples against corrupted ones, saved tensors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from llmrec_peft.data.batches import Batch
from llmrec_peft.data.graph import Neighbours
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.signals.contract import SignalContext
from llmrec_peft.signals.graph import Graph, GraphOptions
from llmrec_peft.signals.parts.paths import Path
from llmrec_peft.signals.parts.triples import distmult_loss, sampled, transe_loss

RELATION = np.array([[0, 0, 0], [1, 1, 2], [2, 0, 0], [1, 2, 2], [0, 0, 0]])
ENTITY = np.array([[0, 0, 0], [1, 2, 3], [3, 0, 0], [4, 1, 3], [0, 0, 0]])


@pytest.fixture
def graph(ratings: Interactions) -> Callable[..., Graph]:
    """A signal over the neighbours above, every table drawn."""

    def make(**options: object) -> Graph:
        signal = Graph(GraphOptions(**options))
        neighbours = Neighbours(RELATION, ENTITY, ("directed", "starred"), ("a", "b", "c", "d"))
        signal.parts = signal.build(SignalContext(9, 5, 4, ratings, None, neighbours))
        torch.manual_seed(0)
        for parameter in signal.parts.parameters():
            if parameter.requires_grad:
                torch.nn.init.normal_(parameter)
        signal.parts.eval()
        return signal

    return make


def _naive(signal: Graph, relations: str, entities: str, item: int) -> torch.Tensor:
    table, other = signal.parts[relations].weight.detach(), signal.parts[entities].weight.detach()
    beside = [place for place in range(3) if ENTITY[item, place] > 0]
    total = torch.zeros(table.shape[1])
    for place in beside:
        total += table[RELATION[item, place]] * other[ENTITY[item, place]] / len(beside)
    return total


def test_vectors_and_offsets_are_means_over_neighbours(graph: Callable[..., Graph]) -> None:
    signal = graph()
    item = torch.tensor([3, 1, 4, 2, 0, 1])
    batch = Batch(torch.ones_like(item), item)
    for vectors, names in (
        (signal.item(batch), ("relations", "entities")),
        (signal.offset(batch).unsqueeze(1), ("relation_offset", "entity_offset")),
    ):
        expected = torch.stack([_naive(signal, *names, int(i)) for i in item])
        torch.testing.assert_close(vectors.detach(), expected, rtol=1e-5, atol=1e-6)
    assert signal.item(batch)[[2, 4]].abs().max() == 0  # no neighbours


def test_without_vectors_only_offsets_are_learnt(graph: Callable[..., Graph]) -> None:
    signal = graph(vectors=False)
    batch = Batch(torch.tensor([1]), torch.tensor([1]))
    assert signal.item(batch) is None
    assert signal.offset(batch).abs().max() > 0
    trained = {name for name, parameter in signal.parts.named_parameters() if parameter.requires_grad}
    assert trained == {"relation_offset.weight", "entity_offset.weight"}


CHOICES: list[dict[str, object]] = [
    {},
    {"vectors": False},
    {"aggregation": "weighted"},
    {"aggregation": "weighted", "vectors": False},
    {"regularizer": "transe"},
    {"regularizer": "distmult", "aggregation": "weighted"},
    {"regularizer": "transe", "aggregation": "none"},
    {"regularizer": "distmult", "aggregation": "none"},
]
EVERY = Batch(torch.ones(5, dtype=torch.int64), torch.tensor([0, 1, 2, 3, 4]))


def _same(one: torch.Tensor | None, other: torch.Tensor | None) -> bool:
    return one is other if one is None or other is None else torch.equal(one, other)


@pytest.mark.parametrize("options", CHOICES, ids=str)
def test_saved_tensors_and_names_alone_rebuild_the_signal(
    options: dict[str, object], graph: Callable[..., Graph]
) -> None:
    signal = graph(**options)
    saved = signal.parts.state_dict()
    loaded = Graph(signal.config)
    loaded.parts = loaded.build(SignalContext(9, 5, 4, None, None, None, saved, signal.names()))
    loaded.parts.load_state_dict(saved)
    loaded.parts.eval()
    assert _same(loaded.item(EVERY), signal.item(EVERY))
    assert _same(loaded.offset(EVERY), signal.offset(EVERY))
    assert loaded.names() == {"relations": ["directed", "starred"], "entities": ["a", "b", "c", "d"]}
    assert loaded.report() == signal.report()


@pytest.mark.parametrize("options", CHOICES, ids=str)
def test_contributions_of_neighbours_add_up_to_offset_and_vector(
    options: dict[str, object], graph: Callable[..., Graph]
) -> None:
    signal = graph(**options)
    parts = signal.contributions(EVERY)
    offset, vector = signal.offset(EVERY), signal.item(EVERY)
    torch.testing.assert_close(parts.offset.sum(1), torch.zeros(5) if offset is None else offset)
    summed = torch.zeros(5, 4) if parts.vector is None else parts.vector.sum(1)
    summed = summed if parts.own is None else summed + parts.own
    torch.testing.assert_close(summed, torch.zeros(5, 4) if vector is None else vector)
    beside = torch.from_numpy(ENTITY) > 0
    assert parts.offset[~beside].abs().sum() == 0
    assert parts.vector is None or parts.vector[~beside].abs().sum() == 0
    assert torch.equal(parts.entity, torch.from_numpy(ENTITY))
    assert torch.equal(parts.relation, torch.from_numpy(RELATION))


def test_one_neighbour_counts_what_the_others_leave(graph: Callable[..., Graph]) -> None:
    """Item 2 has one neighbour, (2, 3), and item 1 has it among three."""
    parts = graph().contributions(EVERY)
    torch.testing.assert_close(3 * parts.offset[1, 2], parts.offset[2, 0])
    torch.testing.assert_close(3 * parts.vector[1, 2], parts.vector[2, 0])


def test_relations_weigh_their_neighbours_by_a_softmax(graph: Callable[..., Graph]) -> None:
    signal = graph(aggregation="weighted")
    odds = signal.parts["relation_weight"].weight.detach()[:, 0].exp()
    for item in range(5):
        beside = [place for place in range(3) if ENTITY[item, place] > 0]
        total = sum(odds[RELATION[item, place]] for place in beside)
        expected = torch.zeros(4)
        for place in beside:
            r, e = RELATION[item, place], ENTITY[item, place]
            product = signal.parts["relations"].weight[r] * signal.parts["entities"].weight[e]
            expected += (odds[r] / total * product).detach()
        torch.testing.assert_close(signal.item(EVERY)[item].detach(), expected)
    told = signal.report()["relations"]
    assert list(told) == sorted(told, key=lambda name: -told[name])
    assert sum(told.values()) == pytest.approx(2.0, abs=1e-3)
    assert told["directed"] / told["starred"] == pytest.approx(float(odds[1] / odds[2]), rel=1e-2)


def test_neighbours_and_paths_are_told_by_index(graph: Callable[..., Graph]) -> None:
    signal = graph()
    assert signal.neighbours_of(1) == [(1, 1), (1, 2), (2, 3)]
    assert signal.neighbours_of(4) == signal.neighbours_of(0) == []
    assert signal.paths(1, [2, 3, 4]) == [
        Path(other=3, other_relation=2, entity=1, relation=1),
        Path(other=2, other_relation=2, entity=3, relation=2),
        Path(other=3, other_relation=2, entity=3, relation=2),
    ]
    assert signal.paths(4, [1, 2]) == []


def test_losses_are_their_formulas() -> None:
    torch.manual_seed(0)
    h, r, t, f = torch.randn(4, 6, 5)
    near, far = ((h + r - t) ** 2).sum(1), ((h + r - f) ** 2).sum(1)
    torch.testing.assert_close(transe_loss(h, r, t, f, 1.5), (1.5 + near - far).clamp(min=0).mean())
    right, wrong = (h * r * t).sum(1), (h * r * f).sum(1)
    expected = ((1 + (-right).exp()).log() + (1 + wrong.exp()).log()).mean()
    torch.testing.assert_close(distmult_loss(h, r, t, f), expected)


def test_corrupted_tails_are_false_and_facts_are_those_of_the_items() -> None:
    relation, entity = torch.from_numpy(RELATION), torch.from_numpy(ENTITY)
    facts = {(i, int(RELATION[i, p]), int(ENTITY[i, p])) for i in range(5) for p in range(3) if ENTITY[i, p] > 0}
    seen: set[tuple[int, int, int]] = set()
    torch.manual_seed(0)
    for _ in range(50):
        found = sampled(torch.tensor([0, 1, 3, 4]), relation, entity, 5)
        assert found is not None
        rows = zip(*(column.tolist() for column in vars(found).values()), strict=True)
        for item, related, true, false in rows:
            assert (item, related, true) in facts
            assert (item, related, false) not in facts
            assert 1 <= false <= 4
            seen.add((item, related, true))
    assert seen == {fact for fact in facts if fact[0] in (1, 3)}
    assert sampled(torch.tensor([0, 4]), relation, entity, 5) is None
    assert sampled(torch.tensor([1]), relation, entity, 2) is None, "one entity has no other"


@pytest.mark.parametrize("kind", ["transe", "distmult"])
def test_penalty_places_items_of_the_batch_and_drawn_ones(kind: str, graph: Callable[..., Graph]) -> None:
    signal = graph(regularizer=kind, regularizer_weight=2.0)
    batch = Batch(torch.tensor([1, 2]), torch.tensor([3, 3]))
    moved = torch.zeros(5, dtype=torch.bool)
    torch.manual_seed(0)
    for _ in range(30):
        signal.parts.zero_grad()
        loss = signal.penalty(batch)
        if loss is not None:
            loss.backward()
            moved |= signal.parts["places"].weight.grad.abs().sum(1) > 0
    assert moved.tolist() == [False, True, True, True, False], "item 3 of the batch, items 1 and 2 drawn"
    half = graph(regularizer=kind, regularizer_weight=1.0)
    found = []
    for weighted in (signal, half):
        torch.manual_seed(4)
        found.append(weighted.penalty(batch).detach())
    torch.testing.assert_close(found[0], 2.0 * found[1])
    assert found[1] > 0
    assert graph().penalty(batch) is None


def test_items_outside_the_graph_have_no_place(graph: Callable[..., Graph]) -> None:
    signal = graph(regularizer="transe", aggregation="none")
    assert signal.offset(EVERY) is None
    there = signal.item(EVERY).abs().sum(1) > 0
    assert there.tolist() == [False, True, True, True, False]


def test_options_that_leave_the_graph_nothing_to_say_are_refused() -> None:
    with pytest.raises(ValueError, match="choose transe or distmult"):
        GraphOptions(aggregation="none")
    with pytest.raises(ValueError, match="vectors is false"):
        GraphOptions(vectors=False, regularizer="transe")


def test_neighbours_are_dropped_in_training_only(graph: Callable[..., Graph]) -> None:
    signal = graph(dropout=0.5)
    batch = Batch(torch.tensor([1]), torch.tensor([1]))
    assert torch.equal(signal.item(batch), signal.item(batch))
    signal.parts.train()
    torch.manual_seed(0)
    assert len({tuple(signal.item(batch)[0].tolist()) for _ in range(10)}) > 1

"""Graph: means over neighbours against a loop, from a graph or from saved tensors."""

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


def test_saved_tensors_alone_rebuild_the_signal(graph: Callable[..., Graph]) -> None:
    signal = graph()
    saved = signal.parts.state_dict()
    loaded = Graph(signal.config)
    loaded.parts = loaded.build(SignalContext(9, 5, 4, None, None, None, saved))
    loaded.parts.load_state_dict(saved)
    loaded.parts.eval()
    batch = Batch(torch.tensor([1, 1]), torch.tensor([1, 3]))
    assert torch.equal(loaded.item(batch), signal.item(batch))
    assert torch.equal(loaded.offset(batch), signal.offset(batch))


def test_neighbours_are_dropped_in_training_only(graph: Callable[..., Graph]) -> None:
    signal = graph(dropout=0.5)
    batch = Batch(torch.tensor([1]), torch.tensor([1]))
    assert torch.equal(signal.item(batch), signal.item(batch))
    signal.parts.train()
    torch.manual_seed(0)
    assert len({tuple(signal.item(batch)[0].tolist()) for _ in range(10)}) > 1

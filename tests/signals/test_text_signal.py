"""Text: vectors centred and scaled by what the training items' untuned texts look like."""

from __future__ import annotations

import torch

from llmrec_peft.data.batches import Batch
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.signals.contract import SignalContext
from llmrec_peft.signals.parts.standard import standardized
from llmrec_peft.signals.text import Text, TextOptions


def _signal(ratings: Interactions, vectors: torch.Tensor) -> Text:
    signal = Text(TextOptions(dropout=0.0))
    signal.parts = signal.build(SignalContext(9, 8, 4, ratings, vectors, None))
    return signal


def test_centre_and_scale_are_those_of_trained_items_alone(ratings: Interactions) -> None:
    torch.manual_seed(0)
    vectors = 3 + 2 * torch.randn(8, 16)
    signal = _signal(ratings, vectors)
    trained = sorted(set(ratings.item.tolist()))
    assert 7 not in trained
    standard = signal.parts["standard"]
    torch.testing.assert_close(standard["centre"].data, vectors[trained].mean(0))
    lengths = [(vectors[item] - vectors[trained].mean(0)).norm() for item in trained]
    torch.testing.assert_close(standard["scale"].data, torch.stack(lengths).mean().reshape(1))
    assert not standard["centre"].requires_grad
    assert not standard["scale"].requires_grad
    batch = Batch(torch.tensor(trained), torch.tensor(trained), vectors={"item": vectors[trained]})
    found = standardized(signal.parts["standard"], batch.vectors["item"])
    torch.testing.assert_close(found.mean(0), torch.zeros(16), rtol=0, atol=1e-5)
    torch.testing.assert_close(found.norm(dim=1).mean(), torch.tensor(1.0))
    spoiled = vectors.clone()
    spoiled[[0, 7]] = 1e4  # the unknown and the cold item
    assert torch.equal(_signal(ratings, spoiled).parts["standard"]["centre"], standard["centre"])


def test_vector_and_offset_are_linear_in_the_standardized_text(ratings: Interactions) -> None:
    torch.manual_seed(0)
    vectors = torch.randn(8, 16)
    signal = _signal(ratings, vectors)
    torch.nn.init.normal_(signal.parts["offset"].weight)
    batch = Batch(torch.tensor([1, 2]), torch.tensor([3, 7]), vectors={"item": vectors[[3, 7]]})
    z = (vectors[[3, 7]] - signal.parts["standard"]["centre"]) / signal.parts["standard"]["scale"]
    projection = signal.parts["projection"]
    torch.testing.assert_close(signal.item(batch), z @ projection.weight.T + projection.bias)
    torch.testing.assert_close(signal.offset(batch), (z @ signal.parts["offset"].weight.T).squeeze(1))
    assert signal.user(batch) is None


def test_identical_texts_do_not_divide_by_zero(ratings: Interactions) -> None:
    signal = _signal(ratings, torch.ones(8, 16))
    batch = Batch(torch.tensor([1]), torch.tensor([1]), vectors={"item": torch.ones(1, 16)})
    assert bool(torch.isfinite(signal.item(batch)).all())

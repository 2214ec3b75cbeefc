"""EncodedTexts: each distinct text once, in order, whatever the padding; frozen modules stay in evaluation mode."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from llmrec_peft.backbone.encoded_texts import EncodedTexts
from llmrec_peft.backbone.load import Backbone
from llmrec_peft.backbone.pooling import pool

Make = Callable[..., tuple[Backbone, EncodedTexts]]


def _one_by_one(encoded: EncodedTexts, backbone: Backbone, texts: tuple[str, ...]) -> torch.Tensor:
    rows = []
    for text in texts:
        ids = torch.tensor([backbone.tokenizer(text, truncation=True, max_length=48)["input_ids"]])
        mask = torch.ones_like(ids)
        states = encoded.encoder.model(input_ids=ids, attention_mask=mask).last_hidden_state
        rows.append(torch.nn.functional.normalize(pool(states, mask, "mean"), dim=-1)[0])
    return torch.stack(rows).detach()


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Callable[[EncodedTexts], list[int]]:
    """Count the rows of every pass through an encoder's model."""

    def watch(encoded: EncodedTexts) -> list[int]:
        rows: list[int] = []

        def note(_module: torch.nn.Module, _args: Any, kwargs: dict[str, Any]) -> None:
            rows.append(len(kwargs["input_ids"]))

        encoded.encoder.model.register_forward_pre_hook(note, with_kwargs=True)
        return rows

    return watch


@pytest.mark.parametrize("backbone_name", ["minilm", "tiny"])
def test_vectors_are_those_of_each_text_alone_in_the_order_of_keys(
    backbone_name: str, tiny_backbone: Path, encoder_of: Make, texts: tuple[str, ...]
) -> None:
    backbone, encoded = encoder_of("minilm" if backbone_name == "minilm" else str(tiny_backbone))
    keys = torch.tensor([6, 0, 2, 5, 1, 3, 4, 0])
    expected = _one_by_one(encoded, backbone, texts)[keys]
    with torch.no_grad():
        vectors = encoded(keys)
    torch.testing.assert_close(vectors, expected, rtol=0, atol=1e-5)


def test_each_distinct_text_is_encoded_once_a_call(
    tiny_backbone: Path, encoder_of: Make, counted: Callable[[EncodedTexts], list[int]]
) -> None:
    _, encoded = encoder_of(str(tiny_backbone))
    rows = counted(encoded)
    vectors = encoded(torch.tensor([1, 3, 1, 1, 0, 3, 6]))  # keys 1 and 3 have one text
    assert sum(rows) == 3
    assert torch.equal(vectors[0], vectors[1])
    assert not torch.equal(vectors[0], vectors[4])


def test_chunks_hold_rows_of_similar_length(tiny_backbone: Path, encoder_of: Make) -> None:
    _, encoded = encoder_of(str(tiny_backbone))
    shapes: list[tuple[int, int]] = []
    encoded.encoder.model.register_forward_pre_hook(
        lambda _module, _args, kwargs: shapes.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    encoded.encode(np.arange(encoded.tokens.num_distinct))
    assert [shape[0] for shape in shapes] == [3, 3]
    lengths = np.sort(encoded.tokens.lengths(np.arange(6)))
    assert [shape[1] for shape in shapes] == [lengths[2], lengths[5]]


def test_training_mode_reaches_the_adapter_and_never_the_frozen_model(tiny_backbone: Path, encoder_of: Make) -> None:
    backbone, encoded = encoder_of(str(tiny_backbone), dropout=0.5)
    encoded.encoder.train()
    adapter_dropouts = [
        module for name, module in encoded.encoder.named_modules() if name.endswith("lora_dropout.default")
    ]
    assert len(adapter_dropouts) == 4
    assert all(module.training for module in adapter_dropouts)
    assert not any(module.training for module in backbone.model.embeddings.modules())
    frozen_dropouts = [m for m in encoded.encoder.modules() if isinstance(m, torch.nn.Dropout) and m.p != 0.5]
    assert frozen_dropouts
    assert not any(module.training for module in frozen_dropouts)
    key = torch.tensor([0])
    assert not torch.equal(encoded(key), encoded(key))  # the adapter's dropout is on
    encoded.encoder.eval()
    assert torch.equal(encoded(key), encoded(key))


def test_frozen_dropout_never_blurs_a_text_in_training(tiny_backbone: Path, encoder_of: Make) -> None:
    _, encoded = encoder_of(str(tiny_backbone))
    key = torch.tensor([0, 4])
    still = encoded(key)
    encoded.encoder.train()
    assert torch.equal(encoded(key), still)


def test_fixed_encodes_once_looks_up_without_gradient_and_forgets(
    tiny_backbone: Path, encoder_of: Make, counted: Callable[[EncodedTexts], list[int]]
) -> None:
    _, encoded = encoder_of(str(tiny_backbone))
    encoded.encoder.train()
    keys = torch.tensor([4, 0, 3])
    expected = encoded(keys).detach()
    rows = counted(encoded)
    with encoded.fixed() as table:
        assert sum(rows) == encoded.tokens.num_distinct == 6
        assert table.shape == (7, 32)
        looked_up = encoded(keys)
        assert not looked_up.requires_grad
        torch.testing.assert_close(looked_up, expected, rtol=0, atol=1e-6)
        with encoded.fixed():
            encoded(keys)
        encoded(keys)
        assert sum(rows) == 6
    assert encoded.encoder.training
    assert encoded(keys).requires_grad
    assert sum(rows) == 6 + 3


def test_freeze_keeps_vectors_also_while_training_and_says_so(
    tiny_backbone: Path, encoder_of: Make, counted: Callable[[EncodedTexts], list[int]]
) -> None:
    _, encoded = encoder_of(str(tiny_backbone))
    rows = counted(encoded)
    assert not encoded.frozen
    with encoded.freeze():
        encoded.encoder.train()
        assert encoded.frozen
        first = encoded(torch.tensor([0]))
        with encoded.fixed() as table:
            assert torch.equal(table[:1], first)
        assert torch.equal(encoded(torch.tensor([0])), first)
        assert sum(rows) == 6
    assert not encoded.frozen
    encoded(torch.tensor([0]))
    assert sum(rows) == 7


def test_vectors_are_kept_after_a_block_until_the_adapter_has_other_values(
    tiny_backbone: Path, encoder_of: Make, counted: Callable[[EncodedTexts], list[int]]
) -> None:
    _, encoded = encoder_of(str(tiny_backbone))
    rows = counted(encoded)
    trained = next(one for name, one in encoded.encoder.adapter.trained if "lora_B" in name)
    before = trained.detach().clone()
    with encoded.fixed(np.array([0, 2])) as table:
        some = table[torch.tensor([0, 2])]
    assert sum(rows) == 2
    with torch.no_grad():
        trained.add_(1.0)
        trained.copy_(before)  # as averages are exchanged for a validation
    with encoded.fixed() as table:
        assert torch.equal(table[torch.tensor([0, 2])], some)
        assert sum(rows) == 6
    with torch.no_grad():
        trained[0, 0] += 1.0
    with encoded.fixed() as table:
        assert sum(rows) == 12
        assert not torch.allclose(table[torch.tensor([0, 2])], some)
    encoded.encoder.train()
    encoded(torch.tensor([0]))  # a step of training begins: nothing that it will change takes memory
    with encoded.fixed():
        assert sum(rows) == 12 + 1 + 6


def test_vectors_of_a_model_in_which_nothing_is_trained_are_not_kept(
    tiny_backbone: Path, encoder_of: Make, counted: Callable[[EncodedTexts], list[int]]
) -> None:
    _, encoded = encoder_of(str(tiny_backbone))
    encoded.encoder.requires_grad_(False)
    rows = counted(encoded)
    for _ in range(2):
        with encoded.fixed():
            pass
    assert sum(rows) == 12


def test_new_texts_are_encoded_from_their_own_table(
    tiny_backbone: Path, encoder_of: Make, texts: tuple[str, ...]
) -> None:
    from llmrec_peft.data.tokens import TokenTable

    backbone, encoded = encoder_of(str(tiny_backbone), trunk=True)
    other = ("Babe", "Something else entirely", texts[2])
    table = TokenTable.of(other, lambda some: backbone.tokenize(some, 48), backbone.pad_id)
    with torch.no_grad():
        vectors = encoded.encoder.encode(table)
        known = encoded(torch.tensor([6, 2]))
    torch.testing.assert_close(vectors[[0, 2]], known, rtol=0, atol=1e-5)


@pytest.mark.parametrize("trunk", [False, True])
def test_gradient_checkpointing_recomputes_and_gives_the_same_gradients(
    trunk: bool, tiny_backbone: Path, encoder_of: Make
) -> None:
    gradients, passes = [], []
    for recomputed in (False, True):
        backbone, encoded = encoder_of(str(tiny_backbone), trunk=trunk)
        if recomputed:
            backbone.model.gradient_checkpointing_enable()
        encoded.encoder.train()
        calls = [0]
        layer = backbone.model.encoder.layer[-1].attention
        layer.register_forward_pre_hook(lambda *_: calls.__setitem__(0, calls[0] + 1))  # noqa: B023
        encoded(torch.tensor([0, 2])).pow(2)[:, 0].sum().backward()
        passes.append(calls[0])
        gradients.append({n: p.grad for n, p in encoded.encoder.named_parameters() if p.grad is not None})
    assert passes == [1, 2]
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-5, atol=1e-7, msg=name)


def test_scoring_other_items_inside_a_partly_fixed_block_encodes_them(tiny_backbone: Path, encoder_of: Make) -> None:
    _, encoded = encoder_of(str(tiny_backbone))
    encoded.encoder.eval()
    expected = encoded(torch.tensor([5])).detach()
    with encoded.fixed(np.array([0, 1])):
        with encoded.fixed(np.array([5])):
            torch.testing.assert_close(encoded(torch.tensor([5])), expected, rtol=0, atol=1e-6)
        with encoded.fixed() as table:
            torch.testing.assert_close(table[5:6], expected, rtol=0, atol=1e-6)

"""Augment: what training sees is changed as the recipe says, and what is scored never is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from learning import CPU, DIM, Task, divided, error, fit, histories, interactions, model_of, signs

from llmrec_peft.backbone.encoded_texts import EncodedTexts
from llmrec_peft.backbone.encoder import Reading, TextEncoder
from llmrec_peft.backbone.load import Backbone, load_backbone
from llmrec_peft.data.batches import Batch
from llmrec_peft.data.tokens import TokenTable
from llmrec_peft.heads.contract import Joined
from llmrec_peft.model.augment import Augment
from llmrec_peft.recipe.sections import BackboneSection

LENGTH, ROWS = 8, 2000


def _batch() -> Batch:
    """Histories of 0 to 8 entries, padded on the left."""
    lengths = np.arange(ROWS) % (LENGTH + 1)
    item, label = histories([list(range(1, length + 1)) for length in lengths]).padded(LENGTH)
    index = torch.arange(ROWS)
    return Batch(index, index, torch.ones(ROWS), history=torch.from_numpy(item), history_label=torch.from_numpy(label))


def test_masked_entries_become_nobody_by_chance_and_nothing_else_changes() -> None:
    batch = _batch()
    torch.manual_seed(0)
    masked = Augment(history_mask=0.3).histories(batch)
    there, left = batch.history > 0, masked.history > 0
    assert float(left[there].float().mean()) == pytest.approx(0.7, abs=0.02)
    assert torch.equal(masked.history[left], batch.history[left])
    assert not bool(left[~there].any())
    assert torch.equal(masked.history_label, batch.history_label)
    assert not torch.equal(Augment(history_mask=0.3).histories(batch).history, masked.history)
    assert torch.equal(batch.history, _batch().history), "the batch itself stays as it was"


def test_cropped_histories_keep_their_newest_entries() -> None:
    batch = _batch()
    torch.manual_seed(0)
    cropped = Augment(history_crop=0.6).histories(batch)
    count, kept = (batch.history > 0).sum(1), (cropped.history > 0).sum(1)
    newest = torch.arange(LENGTH)[None, :] >= LENGTH - kept[:, None]
    assert torch.equal(cropped.history, torch.where(newest, batch.history, 0))
    assert torch.equal(kept == 0, count == 0), "one entry stays at least"
    long = count == LENGTH
    shares = torch.bincount(kept[long], minlength=LENGTH + 1)[1:] / long.sum()
    expected = torch.full((LENGTH,), 0.6 / LENGTH)
    expected[-1] += 0.4
    torch.testing.assert_close(shares, expected, rtol=0, atol=0.08)


def test_nothing_is_changed_where_nothing_is_asked_or_there_is_no_history() -> None:
    batch = _batch()
    assert Augment().histories(batch) is batch
    alone = replace(batch, history=None)
    assert Augment(history_mask=0.9, history_crop=0.9).histories(alone) is alone
    empty = replace(batch, history=torch.zeros(ROWS, 0, dtype=torch.int64))
    assert Augment(history_mask=0.9, history_crop=0.9).histories(empty) is empty


def _liked_by_oldest() -> Task:
    """Long histories all of whose entries are of one kind, in training; a single entry is predicted from."""
    rng = np.random.default_rng(0)
    kind = signs(rng, 41)
    sorts = {sign: np.flatnonzero(kind == sign) for sign in (-1.0, 1.0)}
    rows, labels, items = [], [], rng.integers(1, 41, 800)
    for at, item in enumerate(items):
        sign = float(rng.choice([-1.0, 1.0]))
        length = LENGTH if at < 600 else 1
        rows.append(rng.choice(sorts[sign], length).tolist())
        labels.append(3.0 + 1.8 * sign * kind[item])
    train, test = divided(interactions(np.arange(1, 801), items, labels, histories(rows)), np.arange(800) >= 600)
    vectors = 0.3 * rng.normal(size=(41, DIM))
    vectors[:, 0] += kind
    return Task(train, test, 801, 41, text=torch.from_numpy(vectors).float(), history_length=LENGTH)


@pytest.mark.trains
@pytest.mark.parametrize("changed", [{"history_crop": 0.8}, {"history_mask": 0.8}])
def test_models_that_met_short_histories_in_training_score_by_short_ones(changed: dict[str, float]) -> None:
    task = _liked_by_oldest()
    options = {"pooling": "gru", "labels": False, "init_std": 0.3}
    found = {}
    for augment in (Augment(), Augment(**changed)):
        model = fit(model_of(task, {"history": options}, augment=augment), task, epochs=30)
        found[augment] = error(model, task.test)
    plain, met = found[Augment()], found[Augment(**changed)]
    assert met < 0.75 * plain, f"{met:.3f} after short histories, {plain:.3f} without"


def test_mixup_mixes_label_vectors_offsets_and_prompt_of_a_pair_alike() -> None:
    """Everything here is the label times something, so that whatever is mixed has to be the mixed label's."""
    torch.manual_seed(0)
    label = torch.randn(500)
    direction = torch.randn(DIM)
    told = label[:, None] * direction
    batch = Batch(torch.arange(500), torch.arange(500), label, vectors={"prompt": 3.0 * told})
    user, item = Joined(told, torch.zeros(500)), Joined(-told, 2.0 * label)
    mixed, of_user, of_item = Augment(mixup=1.0).mixed(batch, user, item)
    new = mixed.label[:, None] * direction
    torch.testing.assert_close(of_user.vector, new)
    torch.testing.assert_close(of_item.vector, -new)
    torch.testing.assert_close(mixed.vectors["prompt"], 3.0 * new)
    torch.testing.assert_close(of_item.offset, 2.0 * mixed.label)
    assert float((mixed.label - label).abs().mean()) > 0.2
    assert float(mixed.label.std()) < float(label.std())
    assert torch.equal(batch.label, label)
    faint = Augment(mixup=0.01).mixed(batch, user, item)[0].label
    moved = ((faint - label).abs() > 0.05).float().mean()
    assert 0.2 < float(moved) < 0.7, "a small α leaves most examples as they are, or as their partner is"


def test_mixup_needs_labels_and_a_pair() -> None:
    one = Batch(torch.ones(1), torch.ones(1), torch.ones(1))
    side = Joined(None, torch.zeros(1))
    assert Augment(mixup=1.0).mixed(one, side, side)[0] is one
    blind = Batch(torch.ones(2), torch.ones(2))
    assert Augment(mixup=1.0).mixed(blind, side, side)[0] is blind


@pytest.mark.trains
def test_mixup_keeps_probabilities_from_becoming_sure_and_leaves_scoring_alone() -> None:
    rng = np.random.default_rng(0)
    user, item = (rng.integers(1, size, 600) for size in (31, 41))
    train = interactions(user, item, (signs(rng, 41)[item] > 0).astype(np.float32))
    task = Task(train, train, 31, 41)
    found = {}
    for alpha in (0.0, 2.0):
        chosen = {"collaborative": {"factors": False}}
        model = fit(model_of(task, chosen, augment=Augment(mixup=alpha), clicks=True), task, rate=0.1)
        scores = model.scores(train)
        assert ((scores > 0.5) == (train.label == 1.0)).mean() > 0.95, "both tell which is which"
        found[alpha] = float(np.abs(np.log(scores / (1.0 - scores))).mean())
        np.testing.assert_array_equal(model.scores(train), scores)
    assert found[2.0] < 0.8 * found[0.0], found


@pytest.fixture(scope="module")
def backbone(tiny_backbone: Path) -> Backbone:
    return load_backbone(BackboneSection(name=str(tiny_backbone), precision="fp32"), CPU)


ITEM_TEXTS = ["The quiet harbour of a long and rainy summer", "A short one", "Night trains through seven green valleys"]
VARIANTS = ([text.upper() + " again" for text in ITEM_TEXTS], [f"Film: {text}" for text in ITEM_TEXTS])


def _encoded(backbone: Backbone, word_dropout: float = 0.0, variants: Any = ()) -> EncodedTexts:
    def table(texts: list[str]) -> TokenTable:
        return TokenTable.of(texts, lambda some: backbone.tokenize(some, 32), backbone.pad_id)

    tokens = TokenTable.joined([table(ITEM_TEXTS), table(["A prompt about the quiet harbour of that summer"])])
    tokens = tokens.with_variants([table(variant) for variant in variants])
    reading = Reading("mean", False)
    frozen = list(backbone.model.modules())
    encoder = TextEncoder(backbone.model, frozen, "mean", False, 64, [reading], word_dropout)
    return EncodedTexts(encoder.eval(), tokens)


def test_words_are_dropped_from_items_in_training_never_the_first_and_last_token(backbone: Backbone) -> None:
    encoded = _encoded(backbone, 0.4)
    keys, encoder = torch.tensor([0, 1, 2, 3]), encoded.encoder
    plain = encoded(keys)
    encoder.train()
    torch.manual_seed(0)
    drawn = torch.stack([encoded(keys) for _ in range(8)])
    for key in (0, 2):
        assert len(torch.unique(drawn[:, key], dim=0)) > 5
    torch.testing.assert_close(drawn[:, 3], plain[3].expand(8, -1), rtol=1e-4, atol=1e-5)  # a prompt keeps its words
    encoder.eval()
    torch.testing.assert_close(encoded(keys), plain)
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [1, 1, 0, 0, 0, 0]])
    thinned = torch.stack([encoder._thinned(mask) for _ in range(400)])
    assert torch.equal(thinned.amax(0), mask)
    assert thinned[:, 0, [0, 5]].min() == thinned[:, 1, [0, 2]].min() == thinned[:, 2, :2].min() == 1
    assert float(thinned[:, 0, 1:5].float().mean()) == pytest.approx(0.6, abs=0.05)


def test_training_reads_every_variant_in_turn_and_scoring_the_first(backbone: Backbone) -> None:
    encoded = _encoded(backbone, variants=VARIANTS)
    keys, encoder = torch.tensor([0, 1, 2, 3]), encoded.encoder
    first = encoded(keys)
    torch.testing.assert_close(first, _encoded(backbone)(keys))
    alone = [_vectors_of(backbone, texts) for texts in (ITEM_TEXTS, *VARIANTS)]
    met: set[tuple[int, int]] = set()
    for epoch in range(30):
        encoded.draw_variants(seed=1, epoch=epoch)
        encoder.train()
        read = encoded(keys)
        for key in range(3):
            which = [at for at, vectors in enumerate(alone) if torch.allclose(vectors[key], read[key], atol=1e-5)]
            assert len(which) == 1
            met.add((key, which[0]))
        torch.testing.assert_close(read[3], first[3])
        encoder.eval()
        torch.testing.assert_close(encoded(keys), first)
    assert met == {(key, which) for key in range(3) for which in range(3)}
    encoded.draw_variants(seed=1, epoch=3)
    encoder.train()
    again = encoded(keys)
    encoded.draw_variants(seed=1, epoch=3)
    torch.testing.assert_close(encoded(keys), again)


def _vectors_of(backbone: Backbone, texts: list[str]) -> torch.Tensor:
    tokens = TokenTable.of(texts, lambda some: backbone.tokenize(some, 32), backbone.pad_id)
    encoder = TextEncoder(backbone.model, list(backbone.model.modules()), "mean", False).eval()
    with torch.no_grad():
        return EncodedTexts(encoder, tokens)(torch.arange(len(texts)))

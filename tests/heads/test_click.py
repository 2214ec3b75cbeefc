"""The click head: log-odds that start at those of training, labels cut by a threshold, and what prompts say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import AutoModelForCausalLM

from llmrec_peft.backbone.encoder import TextEncoder
from llmrec_peft.backbone.load import load_backbone
from llmrec_peft.backbone.output_embedding import word_rows
from llmrec_peft.data.batches import Batch
from llmrec_peft.data.tokens import TokenTable
from llmrec_peft.errors import InputError
from llmrec_peft.evaluation.click_metrics import ece, log_loss
from llmrec_peft.heads.click import ClickHead, ClickOptions
from llmrec_peft.heads.contract import HeadContext, Joined
from llmrec_peft.options import validated
from llmrec_peft.recipe.sections import BackboneSection
from llmrec_peft.testing.adapters.backbones import make_tiny

DIM, WIDTH = 3, 6
CLICKS = np.array([1, 0, 0, 0, 1, 0, 0, 0, 0, 0], np.float32)
STARS = np.array([5, 4, 3, 2, 1, 4, 3, 3, 2, 1], np.float32)


def head(labels: np.ndarray = CLICKS, span: tuple[float, float] = (0.0, 1.0), **options: Any) -> ClickHead:
    made = ClickHead(ClickOptions(**options))
    prompts = {} if options.get("feed") != "prompt" else {"text_width": WIDTH}
    made.parts = made.build(HeadContext(DIM, float(labels.mean()), span, labels=labels, **prompts))
    made.parts.eval()
    return made


def bias(made: ClickHead) -> float:
    return float(made.parts["scale"]["bias"].detach())


def inputs(rows: int = 8, seed: int = 0) -> tuple[Batch, Joined, Joined]:
    torch.manual_seed(seed)
    index = torch.arange(1, rows + 1)
    user = Joined(torch.randn(rows, DIM), 0.1 * torch.randn(rows))
    item = Joined(torch.randn(rows, DIM), torch.randn(rows))
    return Batch(index, index, (torch.arange(rows) % 3 == 0).float()), user, item


def logits(made: ClickHead, user: Joined, item: Joined) -> torch.Tensor:
    assert user.vector is not None
    assert item.vector is not None
    return bias(made) + user.offset + item.offset + (user.vector * item.vector).sum(1)


# ---- where it starts ----


def test_bias_starts_at_the_log_odds_of_training() -> None:
    assert bias(head()) == pytest.approx(np.log(0.2 / 0.8), abs=1e-6)
    of_stars = head(STARS, (1.0, 5.0), threshold=4.0)
    assert bias(of_stars) == pytest.approx(np.log(0.3 / 0.7), abs=1e-6)
    empty = Joined(None, torch.zeros(4))
    batch = Batch(torch.arange(4), torch.arange(4))
    assert head(calibration="none").forward(batch, empty, empty).scores.tolist() == pytest.approx([0.2] * 4)


def test_one_class_in_training_starts_short_of_certain() -> None:
    assert bias(head(np.ones(10, np.float32))) == pytest.approx(np.log(0.99 / 0.01), abs=1e-5)
    assert bias(head(np.zeros(10, np.float32))) == pytest.approx(np.log(0.01 / 0.99), abs=1e-5)


@pytest.mark.parametrize(("weight", "expected"), [(1.0, 0.25), (3.0, 0.75), ("balanced", 1.0)])
def test_weight_of_positives_moves_the_odds_it_starts_at(weight: Any, expected: float) -> None:
    made = head(positive_weight=weight)
    assert bias(made) == pytest.approx(np.log(expected), abs=1e-6)
    stored = float(made.parts["scale"]["positive_weight"])
    assert stored == pytest.approx(4.0 if weight == "balanced" else weight), "negatives over positives: 8 to 2"


@pytest.mark.parametrize("weight", [0, -1.5, "heavy"])
def test_weight_that_is_none_is_refused(weight: Any) -> None:
    with pytest.raises(InputError, match=r"^head\.positive_weight: ") as caught:
        validated(ClickOptions, {"positive_weight": weight}, "head")
    assert "\n" not in str(caught.value)


# ---- loss and scores ----


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weight", [1.0, 3.0, "balanced"])
def test_loss_is_the_weighted_cross_entropy_of_smoothed_labels(weight: Any, smoothing: float) -> None:
    made = head(positive_weight=weight, label_smoothing=smoothing)
    batch, user, item = inputs()
    output = made.forward(batch, user, item)
    label = batch.label * (1 - smoothing) + 0.5 * smoothing  # type: ignore[operator]
    size = torch.tensor(4.0 if weight == "balanced" else weight)
    expected = F.binary_cross_entropy_with_logits(logits(made, user, item), label, pos_weight=size)
    torch.testing.assert_close(output.loss, expected)
    torch.testing.assert_close(output.scores, torch.sigmoid(logits(made, user, item)))


def test_focal_loss_looks_past_examples_that_are_right() -> None:
    batch, user, item = inputs()
    made = head(loss="focal", focal_gamma=2.0)
    p = torch.sigmoid(logits(made, user, item))
    label = batch.label
    assert label is not None
    expected = -(label * (1 - p) ** 2 * p.log() + (1 - label) * p**2 * (1 - p).log()).mean()
    torch.testing.assert_close(made.forward(batch, user, item).loss, expected)
    plain = head().forward(batch, user, item).loss
    assert plain is not None
    assert expected.item() < plain.item()


def test_labels_from_the_threshold_on_are_positive_in_the_loss_as_in_the_metrics() -> None:
    batch, user, item = inputs(5)
    stars = torch.tensor([1.0, 3.0, 3.5, 4.0, 5.0])
    made = head(STARS, (1.0, 5.0), threshold=3.5)
    batch.label = stars
    cut = torch.tensor([0.0, 0.0, 1.0, 1.0, 1.0])
    expected = F.binary_cross_entropy_with_logits(logits(made, user, item), cut)
    torch.testing.assert_close(made.forward(batch, user, item).loss, expected)
    assert made.observed(stars.numpy(), (1.0, 5.0)).tolist() == cut.tolist()


def test_labels_are_clicks_or_a_threshold_is_asked_for() -> None:
    plain = ClickHead(ClickOptions())
    assert plain.observed(CLICKS, (0.0, 1.0)) is CLICKS
    with pytest.raises(InputError, match=r"head click: labels run from 1 to 5; .* such as head\.threshold=4") as caught:
        plain.observed(STARS, (1.0, 5.0))
    assert "\n" not in str(caught.value)
    for threshold in (1.0, 5.5, -3.0):
        with pytest.raises(InputError, match=r"head\.threshold: .* lies outside the labels' 1 to 5"):
            ClickHead(ClickOptions(threshold=threshold)).observed(STARS, (1.0, 5.0))
    assert ClickHead(ClickOptions(threshold=5.0)).observed(STARS, (1.0, 5.0)).sum() == 1


def test_dropout_is_on_vectors_in_training_only() -> None:
    made = head(dropout=0.5)
    batch, user, item = inputs()
    still = made.forward(batch, user, item).scores
    assert torch.equal(made.forward(batch, user, item).scores, still)
    made.parts.train()
    torch.manual_seed(0)
    assert len({tuple(made.forward(batch, user, item).scores.tolist()) for _ in range(8)}) > 4


def test_raw_score_is_the_log_odds_before_any_calibration() -> None:
    made = head()
    rng = np.random.default_rng(0)
    probability = rng.random(500).astype(np.float32)
    made.calibrate(probability, (rng.random(500) < 0.2).astype(np.float32))
    batch, user, item = inputs()
    torch.testing.assert_close(made.raw(batch, user, item), logits(made, user, item))
    assert (made.forward(batch, user, item).scores - torch.sigmoid(logits(made, user, item))).abs().max() > 0.1


@pytest.mark.parametrize("kind", ["platt", "isotonic", "none"])
def test_calibrated_scores_are_truer_and_none_leaves_them(kind: Any) -> None:
    made = head(calibration=kind)
    rng = np.random.default_rng(1)
    strength = rng.normal(size=3000)
    happened = (rng.random(3000) < 1 / (1 + np.exp(-0.4 * strength))).astype(np.float32)
    index = torch.arange(3000)
    batch, zero = Batch(index, index), torch.zeros(3000)
    side = Joined(torch.from_numpy(3.0 * strength).float()[:, None], zero), Joined(torch.ones(3000, 1), zero)
    before = made.forward(batch, *side).scores.numpy()
    made.calibrate(before, happened)
    after = made.forward(batch, *side).scores.numpy()
    if kind == "none":
        np.testing.assert_array_equal(after, before)
        assert len(made.parts["calibration"]) == 0
    else:
        assert ece(after, happened) < 0.2 * ece(before, happened)
        assert log_loss(after, happened) < log_loss(before, happened)
        assert np.all(np.diff(after[np.argsort(before)]) >= 0)


# ---- prompts ----


def test_encoders_prompt_is_read_by_a_line_over_its_normalized_vector_from_zero() -> None:
    made = head(feed="prompt")
    batch, user, item = inputs()
    batch = batch.with_vectors(prompt=torch.randn(8, WIDTH))
    torch.testing.assert_close(made.raw(batch, user, item), logits(made, user, item))
    torch.nn.init.normal_(made.parts["prompt"].weight)
    told = F.layer_norm(batch.vectors["prompt"], (WIDTH,)) @ made.parts["prompt"].weight[0]
    torch.testing.assert_close(made.raw(batch, user, item), logits(made, user, item) + told)
    parts = made.base(batch)
    assert set(parts) == {"log-odds of all", "prompt"}
    torch.testing.assert_close(parts["prompt"], told)
    assert made.reads_prompt()
    assert not head().reads_prompt()
    assert set(head().base(batch)) == {"log-odds of all"}
    assert made.report() == {}


TEXTS = [
    "Will Ann like Heat? Answer:",
    "A far longer question, and of another film altogether, is this one here:",
    "So?",
]


@pytest.mark.parametrize("tied", [True, False])
def test_decoders_prompt_is_its_logit_of_yes_less_that_of_no(tied: bool, tmp_path: Path) -> None:
    """Held against the whole causal model of transformers, whose output embedding is tied to the input's or its own."""
    folder = causal_model(tmp_path / "llama", tied)
    backbone = load_backbone(BackboneSection(name=str(folder), precision="fp32"), torch.device("cpu"))
    table = TokenTable.of(TEXTS, lambda some: backbone.tokenize(some, 64), backbone.pad_id)
    encoder = TextEncoder(backbone.model, list(backbone.model.modules()), "last-token", False).eval()
    made = ClickHead(ClickOptions(feed="prompt", prompt_scale=2.5, calibration="none"))
    rows = word_rows(backbone, ["Yes", "No"])
    made.parts = made.build(HeadContext(DIM, 0.5, (0.0, 1.0), backbone.width, True, rows, CLICKS))
    index, zero = torch.arange(3), torch.zeros(3)
    nothing = Joined(None, zero)
    with torch.no_grad():
        scored = made.raw(Batch(index, index, vectors={"prompt": encoder.encode(table)}), nothing, nothing)
        whole = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        yes, no = (backbone.tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in ("Yes", "No"))
        expected = []
        for text in TEXTS:
            last = whole(input_ids=torch.tensor(backbone.tokenize([text], 64))).logits[0, -1]
            expected.append(float(last[yes] - last[no]))
    assert max(expected) - min(expected) > 0.1, "the texts are answered differently"
    torch.testing.assert_close(scored, bias(made) + 2.5 * torch.tensor(expected), rtol=1e-4, atol=1e-4)
    assert made.report() == {"prompt_scale": 2.5}
    trained = {name for name, parameter in made.parts.named_parameters() if parameter.requires_grad}
    assert trained == {"scale.bias", "scale.prompt_scale"}, "the language model's own table stays as it is"


def causal_model(folder: Path, tied: bool) -> Path:
    """The tiny decoder as a causal model, with an output embedding of its own where it is not tied."""
    make_tiny("tiny-llama", folder)
    torch.manual_seed(3)
    whole = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    whole.config.tie_word_embeddings = tied
    if not tied:
        whole.lm_head.weight = torch.nn.Parameter(0.2 * torch.randn_like(whole.lm_head.weight))
    else:
        whole.tie_weights()
    whole.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("decodes", [True, False])
def test_saved_head_says_by_its_tensors_whose_prompts_it_reads(decodes: bool) -> None:
    made = ClickHead(ClickOptions(feed="prompt"))
    rows = torch.randn(2, WIDTH) if decodes else None
    made.parts = made.build(HeadContext(DIM, 0.5, (0.0, 1.0), WIDTH, decodes, rows, CLICKS))
    with torch.no_grad():
        for parameter in made.parts.parameters():
            if parameter.requires_grad:
                parameter.add_(0.3)
    saved = made.parts.state_dict()
    loaded = ClickHead(made.config)
    loaded.parts = loaded.build(HeadContext(DIM, 0.0, (0.0, 0.0), saved=saved))
    loaded.parts.load_state_dict(saved)
    loaded.parts.eval()
    made.parts.eval()
    batch, user, item = inputs()
    batch = batch.with_vectors(prompt=torch.randn(8, WIDTH))
    torch.testing.assert_close(loaded.raw(batch, user, item), made.raw(batch, user, item))
    assert ("scale.yes_minus_no" in saved) is decodes

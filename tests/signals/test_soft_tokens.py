"""Soft tokens: collaborative vectors inside the prompt tell an encoder and a decoder what no word of it says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from learning import CPU, crossed, divided, interactions, signs

from llmrec_peft import registry
from llmrec_peft.backbone.encoded_texts import EncodedTexts
from llmrec_peft.backbone.encoder import Reading, TextEncoder
from llmrec_peft.backbone.load import Backbone, load_backbone
from llmrec_peft.data.batches import Batch
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.data.tokens import TokenTable
from llmrec_peft.errors import InputError
from llmrec_peft.evaluation.click_metrics import auc
from llmrec_peft.heads.click import ClickHead, ClickOptions
from llmrec_peft.heads.contract import HeadContext
from llmrec_peft.model import RecModel, TextPlan
from llmrec_peft.model.prompting import Prompting
from llmrec_peft.model.text_source import EncodedSource
from llmrec_peft.recipe import load_recipe
from llmrec_peft.recipe.sections import BackboneSection
from llmrec_peft.signals.contract import SignalContext
from llmrec_peft.signals.parts.matrix_factorization import factorized
from llmrec_peft.signals.soft_tokens import SoftTokens, SoftTokensOptions
from llmrec_peft.testing.adapters.backbones import make_tiny

USERS, ITEMS = 17, 15


@pytest.fixture(scope="module", params=["tiny-bert", "tiny-llama"])
def backbone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    folder = make_tiny(request.param, tmp_path_factory.mktemp(request.param))
    return load_backbone(BackboneSection(name=str(folder), precision="fp32"), CPU)


def _context(train: Interactions, **further: Any) -> SignalContext:
    return SignalContext(USERS, ITEMS, 8, train, None, None, task="click", **further)


def _encoded(backbone: Backbone, texts: list[str]) -> EncodedTexts:
    pooling = "mean" if backbone.kind == "encoder" else "last-token"
    table = TokenTable.of(texts, lambda some: backbone.tokenize(some, 32), backbone.pad_id)
    return EncodedTexts(TextEncoder(backbone.model, list(backbone.model.modules()), pooling, False), table)


def _model(backbone: Backbone, train: Interactions, options: dict[str, Any] | None) -> RecModel:
    """A model that reads one and the same prompt for all examples; `options` None leaves the signal out."""
    torch.manual_seed(0)
    width, norm = backbone.token_size
    signals = {}
    if options is not None:
        signal = SoftTokens(SoftTokensOptions(**options))
        signal.parts = signal.build(_context(train, hidden=width, token_norm=norm))
        signals["soft_tokens"] = signal
    head = ClickHead(ClickOptions(feed="prompt", calibration="none"))
    decodes = backbone.kind == "decoder"
    yes_no = torch.randn(2, backbone.width) * 0.1 if decodes else None
    head.parts = head.build(HeadContext(8, 0.5, (0.0, 1.0), backbone.width, decodes, yes_no, train.label))
    encoded = _encoded(backbone, ["Will they like it? Answer Yes or No:"] * (USERS * ITEMS))
    return RecModel(signals, {"click": head}, EncodedSource(TextPlan(item=False, prompt=0), encoded))  # type: ignore[arg-type]


def _clicks(said: str) -> tuple[Interactions, Interactions]:
    """Clicks by the user's kind, by the item's, or by whether they are of one kind; half of the pairs held out."""
    rng = np.random.default_rng(0)
    of_user, of_item = signs(rng, USERS), signs(rng, ITEMS)
    user, item = crossed(range(1, USERS), range(1, ITEMS))
    liked = {"user": of_user[user], "item": of_item[item], "both": of_user[user] * of_item[item]}[said]
    whole = interactions(user, item, (liked > 0).astype(np.float32))
    return divided(whole, rng.random(len(user)) < 0.3)


def _trained(model: RecModel, train: Interactions, epochs: int, rate: float = 0.01) -> RecModel:
    torch.manual_seed(1)
    rng = np.random.default_rng(1)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)
    model.train()
    for _ in range(epochs):
        order = rng.permutation(len(train))
        for at in range(0, len(order), 32):
            loss = model(Batch.of(train, order[at : at + 32], CPU)).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model.eval()


@pytest.mark.trains
@pytest.mark.parametrize("said", ["user", "item", "both"])
def test_tokens_tell_what_no_word_of_the_prompt_says(said: str, backbone: Backbone) -> None:
    train, test = _clicks(said)
    options = {"tokens": said, "dim_collaborative": 8, "projection": 32, "unknown": 0.0}
    before = [parameter.clone() for parameter in backbone.model.parameters()]
    model = _trained(_model(backbone, train, options), train, 12 if said != "both" else 40)
    assert auc(model.scores(test), test.label) > 0.9
    blind = _trained(_model(backbone, train, None), train, 2)
    assert abs(auc(blind.scores(test), test.label) - 0.5) < 0.1
    assert all(torch.equal(one, other) for one, other in zip(before, backbone.model.parameters(), strict=True))


def _signal(train: Interactions, **options: Any) -> SoftTokens:
    torch.manual_seed(0)
    signal = SoftTokens(SoftTokensOptions(dim_collaborative=6, projection=16, **options))
    signal.parts = signal.build(_context(train, hidden=24, token_norm=3.0))
    return signal


def test_tokens_start_as_long_as_the_models_own(backbone: Backbone) -> None:
    train, _ = _clicks("user")
    width, norm = backbone.token_size
    embeddings = backbone.model.get_input_embeddings().weight.float()
    assert width == embeddings.shape[1]
    assert norm == pytest.approx(float(embeddings.norm(dim=1).median()), rel=0.05)
    for scale in (1.0, 2.5):
        torch.manual_seed(0)
        signal = SoftTokens(SoftTokensOptions(scale=scale, unknown=0.0))
        signal.parts = signal.build(_context(train, hidden=width, token_norm=norm))
        batch = Batch(torch.arange(1, 10), torch.arange(1, 10))
        tokens = signal.tokens(batch)
        assert tokens.shape == (9, 2, width)
        torch.testing.assert_close(tokens.norm(dim=-1), torch.full((9, 2), scale * norm))
        assert signal.report() == {"length": {"user": pytest.approx(scale), "item": pytest.approx(scale)}}
        users = tokens[:, 0] / norm
        assert float((users[0] - users[-1]).detach().norm()) > 0.5, "users start far apart"


def test_those_that_training_never_met_share_the_token_of_the_unknown() -> None:
    train = interactions([1, 1, 2], [3, 4, 3], [1, 0, 1])
    signal = _signal(train)
    signal.parts.eval()
    tokens = signal.tokens(Batch(torch.tensor([0, 5, 1, 2]), torch.tensor([0, 9, 3, 4])))
    assert torch.equal(tokens[0], tokens[1])
    assert not torch.equal(tokens[0], tokens[2])
    assert not torch.equal(tokens[2], tokens[3])


def test_the_token_of_the_unknown_is_trained_by_taking_known_ones_for_unknown() -> None:
    train, _ = _clicks("user")
    batch = Batch.of(train, np.arange(len(train)), CPU)
    for chance, moved in ((0.3, True), (0.0, False)):
        signal = _signal(train, unknown=chance)
        torch.manual_seed(0)
        (signal.tokens(batch) * torch.randn(len(train), 2, 24)).sum().backward()
        assert bool(signal.parts["user"].weight.grad[0].abs().sum() > 0) == moved
    signal = _signal(train, unknown=0.9)
    signal.parts.eval()
    assert torch.equal(signal.tokens(batch), signal.tokens(batch))
    assert len(torch.unique(signal.tokens(batch)[:, 0].detach(), dim=0)) == USERS - 1


def test_factorization_is_where_tokens_start_and_can_be_where_they_stay() -> None:
    train, _ = _clicks("both")
    found = factorized(train, USERS, ITEMS, 6, 4.0, "click")
    for frozen in (False, True):
        signal = _signal(train, start="mf", frozen=frozen)
        rows = signal.parts["user"].weight.detach()[1:].double()
        expected = torch.from_numpy(found.user[1:])
        torch.testing.assert_close(rows / rows.norm(), expected / expected.norm(), rtol=1e-4, atol=1e-5)
        assert float(rows.square().mean().sqrt()) == pytest.approx(0.1, rel=1e-3)
        assert signal.parts["item"].weight.requires_grad is not frozen
        assert signal.parts["user_projection"][0].weight.requires_grad
    with pytest.raises(ValueError, match="choose start mf"):
        SoftTokensOptions(frozen=True)


@pytest.mark.trains
def test_frozen_factors_tell_the_taste_of_pairs_that_were_not_trained_on(backbone: Backbone) -> None:
    train, test = _clicks("both")
    options = {"dim_collaborative": 2, "projection": 32, "unknown": 0.0, "start": "mf", "start_ridge": 1.0}
    model = _trained(_model(backbone, train, {**options, "frozen": True}), train, 30)
    assert auc(model.scores(test), test.label) > 0.9


@pytest.mark.parametrize("tokens", ["user", "item", "both"])
def test_saved_tensors_alone_rebuild_the_signal(tokens: str) -> None:
    train, test = _clicks("user")
    signal = _signal(train, tokens=tokens)
    assert signal.token_count() == (2 if tokens == "both" else 1)
    signal.parts.eval()
    saved = signal.parts.state_dict()
    loaded = SoftTokens(signal.config)
    loaded.parts = loaded.build(SignalContext(USERS, ITEMS, 8, None, None, None, saved, task="click"))
    loaded.parts.load_state_dict(saved)
    loaded.parts.eval()
    batch = Batch.of(test, np.arange(len(test)), CPU)
    assert torch.equal(loaded.tokens(batch), signal.tokens(batch))


def test_recipe_without_prompts_or_without_a_language_model_is_refused() -> None:
    train, _ = _clicks("user")
    signal = SoftTokens(SoftTokensOptions())
    assert signal.refusal([], [], reads_prompt=True) is None
    why = signal.refusal([], [], reads_prompt=False)
    assert why is not None
    assert why.startswith("signals.soft_tokens: no head of the recipe reads prompts")
    assert "\n" not in why
    with pytest.raises(InputError, match="no language model"):
        signal.build(_context(train))


def test_tokens_stand_behind_the_first_one_and_texts_of_any_length_share_a_pass(backbone: Backbone) -> None:
    texts = ["Short.", "A text that is a good deal longer than the other one.", "Middling, that is."]
    encoded = _encoded(backbone, texts)
    torch.manual_seed(0)
    inserted = torch.randn(3, 2, backbone.token_size[0])
    keys = torch.tensor([2, 0, 1])
    together = encoded.with_inserted(keys, inserted)
    embed = backbone.model.get_input_embeddings()
    for at, key in enumerate(keys.tolist()):
        ids = torch.tensor(backbone.tokenize([texts[key]], 32))
        tokens = embed(ids)
        whole = torch.cat([tokens[:, :1], inserted[at : at + 1], tokens[:, 1:]], dim=1)
        states = backbone.model(inputs_embeds=whole).last_hidden_state[0]
        expected = states.mean(0) if backbone.kind == "encoder" else states[-1]
        torch.testing.assert_close(together[at], expected, rtol=1e-4, atol=1e-5)
    new = TokenTable.of(texts, lambda some: backbone.tokenize(some, 32), backbone.pad_id)
    pooling = "mean" if backbone.kind == "encoder" else "last-token"
    again = encoded.encoder.encode_as(new, Reading(pooling, False), inserted[[1, 2, 0]])
    torch.testing.assert_close(again[keys], together, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", ["lora", "prompt", "prefix"])
def test_tokens_pass_through_an_adapter_that_learns_until_it_is_frozen(method: str, backbone: Backbone) -> None:
    plugin = registry.get("adapters", method)
    adapter = plugin(plugin.Config())
    frozen = list(backbone.model.modules())
    torch.manual_seed(0)
    try:
        tuned = adapter.attach(backbone)
        texts = ["One text.", "Another, longer text."]
        table = TokenTable.of(texts, lambda some: backbone.tokenize(some, 32), backbone.pad_id)
        encoded = EncodedTexts(TextEncoder(tuned, frozen, "mean", False).train(), table, 0)
        inserted = torch.randn(2, 1, backbone.token_size[0], requires_grad=True)
        keys = torch.tensor([0, 1])

        def trained() -> bool:
            tuned.zero_grad()
            inserted.grad = None
            vectors = encoded.with_inserted(keys, inserted)
            assert vectors.shape == (2, backbone.width)
            (vectors * torch.randn(2, backbone.width)).sum().backward()
            assert inserted.grad.abs().sum() > 0
            return any(p.grad is not None and p.grad.abs().sum() > 0 for p in tuned.parameters() if p.requires_grad)

        free = encoded.with_inserted(keys, inserted).detach()
        assert trained()
        with encoded.freeze():
            assert not trained()
            torch.testing.assert_close(encoded.with_inserted(keys, inserted).detach(), free)
        assert trained()
    finally:
        backbone.detach()


def test_prompts_leave_room_for_the_tokens(backbone: Backbone) -> None:
    changes = {"data.path": "demo", "head.feed": "prompt", "views.prompt.max_length": 512, "data.liked_above": 0.5}
    recipe = load_recipe("tallrec-movie", changes=changes)
    more = recipe.changed({"signals.soft_tokens": {}})
    assert Prompting.of(recipe, backbone).prompt.max_length == backbone.window
    assert Prompting.of(more, backbone).prompt.max_length == backbone.window - 2

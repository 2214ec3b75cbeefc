"""EncodedRows: no text of an explanation is encoded twice, and its vector is the one that encoding it again gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from llmrec_peft.backbone.encoded_rows import EncodedRows
from llmrec_peft.backbone.encoder import TextEncoder
from llmrec_peft.backbone.load import Backbone, load_backbone
from llmrec_peft.data.tokens import TokenTable
from llmrec_peft.explanation import what_if
from llmrec_peft.explanation.explainer import Explainer, plain_faithfulness
from llmrec_peft.explanation.pieces import Kind
from llmrec_peft.recipe.sections import BackboneSection
from llmrec_peft.run.recommender import Recommender
from llmrec_peft.workflows.explain import Asked, explain

ROWS = [[101, 7592, 102], [101, 2088, 3899, 102], [101, 4937, 102], [101, 7592, 102], [101, 3899, 4937, 2088, 102]]
PAIRS, DRAWS = 8, 4

Encoded = Counter[tuple[int, ...]]


@pytest.fixture(scope="module")
def bert(tiny_backbone: Path) -> Backbone:
    """A tiny encoder."""
    return load_backbone(BackboneSection(name=str(tiny_backbone)), torch.device("cpu"))


@pytest.fixture
def encoder(bert: Backbone) -> TextEncoder:
    """Encodes texts by the tiny encoder."""
    section = BackboneSection(name=bert.identity.name)
    return bert.reads(section).encoder(bert.model, list(bert.model.modules())).eval()


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> Encoded:
    """How often each token row was encoded."""
    counted: Encoded = Counter()
    encode = TextEncoder.encode

    def counting(self: TextEncoder, tokens: TokenTable, *rest: object) -> torch.Tensor:
        counted.update(tuple(row.tolist()) for row in np.split(tokens.ids, tokens.start[1:-1]))
        return encode(self, tokens, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(TextEncoder, "encode", counting)
    return counted


def test_rows_asked_for_again_are_not_encoded_again(encoder: TextEncoder, encoded: Encoded) -> None:
    stored = EncodedRows()
    first = stored.vectors(ROWS[:3], encoder.encode, 0)
    again = stored.vectors(ROWS, encoder.encode, 0)
    assert encoded == Counter(set(map(tuple, ROWS)))
    assert len(stored) == 4
    torch.testing.assert_close(again[:3], first, rtol=0, atol=0)
    assert torch.equal(again[3], again[0])
    assert not torch.allclose(again[4], again[1])
    fresh = encoder.encode(TokenTable.of_rows([ROWS[4], ROWS[2]], 0))
    torch.testing.assert_close(again[[4, 2]], fresh, rtol=0, atol=1e-6)


def test_those_stored_first_are_dropped_and_encoded_again(encoder: TextEncoder, encoded: Encoded) -> None:
    whole = EncodedRows().vectors(ROWS, encoder.encode, 0)
    encoded.clear()
    stored = EncodedRows(room=2 * 4 * whole.shape[1])
    torch.testing.assert_close(stored.vectors(ROWS, encoder.encode, 0), whole, rtol=0, atol=1e-6)
    assert len(stored) == 2
    torch.testing.assert_close(stored.vectors(ROWS[:1], encoder.encode, 0), whole[:1], rtol=0, atol=1e-6)
    assert encoded[tuple(ROWS[0])] == 2
    assert encoded[tuple(ROWS[4])] == 1
    assert len(stored) == 2


@pytest.mark.trains
@pytest.mark.parametrize("run", ["film_run", "purchase_run"])
def test_an_explanation_and_its_tests_encode_no_text_twice(
    run: str, encoded: Encoded, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder: Path = request.getfixturevalue(run)
    monkeypatch.setattr(what_if, "CHUNK", 50)  # pairs with one item are then scored in several chunks
    recommender = Recommender.from_pretrained(folder)
    user = recommender.vocabulary.users[2]
    item = recommender.recommend([user], k=1)[0].items[0].item_id
    encoded.clear()  # of what training the run encoded
    explain(folder, user, item, Asked(pairs=PAIRS, draws=DRAWS), show=False)
    assert set(encoded.values()) == {1}
    explainer = Explainer(recommender)
    rows = [pair.row for pair in [explainer.pair(user, item), *explainer.sample(PAIRS)]]
    assert len(set(rows)) < len(rows)  # some items are tested twice
    without_one_word = sum(1 + len(explainer.what_if.worded(row).words) for row in set(rows))
    assert without_one_word < len(encoded) <= without_one_word + (1 + DRAWS) * len(rows)


@pytest.mark.trains
def test_an_explanation_and_its_tests_encode_no_prompt_twice(prompt_run: Path, encoded: Encoded) -> None:
    recommender = Recommender.from_pretrained(prompt_run)
    user, item = recommender.vocabulary.users[0], recommender.catalogue.ids[0]
    explainer = Explainer(recommender, recommender.loaded.learned())
    explainer.explain(user, item)
    pair = explainer.pair(user, item)
    assert "history" in explainer.faithfulness([pair], draws=DRAWS)
    again = {row: times for row, times in encoded.items() if times > 1}
    assert list(again.values()) == [2]  # the pair's own prompt: its score is the recommender's
    assert len(explainer.what_if.encoded["prompt"]) > len(explainer.weighed([pair], "history")[0]) / 2


@pytest.mark.trains
@pytest.mark.parametrize(("run", "kind"), [("film_run", "word"), ("prompt_run", "history")])
def test_stored_vectors_change_no_figure(
    run: str, kind: Kind, request: pytest.FixtureRequest, explainer_of: Callable[..., Explainer]
) -> None:
    folder = request.getfixturevalue(run)
    storing, forgetting = explainer_of(folder), explainer_of(folder)
    forgetting.what_if.encoded = {view: EncodedRows(room=0) for view in storing.what_if.encoded}
    pairs = storing.sample(PAIRS)
    found, expected = (
        plain_faithfulness(explainer.faithfulness(pairs, draws=DRAWS))[kind] for explainer in (storing, forgetting)
    )
    view = "item" if kind == "word" else "prompt"
    assert len(forgetting.what_if.encoded[view]) == 0 < len(storing.what_if.encoded[view])
    assert found == pytest.approx(expected, abs=1e-6)

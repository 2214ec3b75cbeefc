"""Integrated gradients: what each word of an item's text adds to a score along a path from a text without words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from llmrec_peft.errors import InputError
from llmrec_peft.run.tenant import LoadedTenant

if TYPE_CHECKING:
    from torch import Tensor

    from llmrec_peft.backbone.encoder import TextEncoder
    from llmrec_peft.backbone.load import Backbone
    from llmrec_peft.explanation.pieces import Pair
    from llmrec_peft.explanation.what_if import WhatIf

STEPS = 32
"""Points of the path at which gradients are computed."""
_CHUNK = 16


@dataclass(frozen=True)
class WordGradients:
    """Attributions of a text's words.

    Attributes:
        words: What each word adds to the raw score, float64 [words].
        whole: Score of the text less the score of the text with all words blanked.
        gap: `whole` less the sum of the words: the error of the integral, with rounding errors of bf16.
    """

    words: np.ndarray[Any, np.dtype[np.float64]]
    whole: float

    @property
    def gap(self) -> float:
        """`whole` less the sum of all words."""
        return self.whole - float(self.words.sum())


def word_gradients(what_if: WhatIf, pair: Pair, steps: int = STEPS) -> WordGradients:
    """Integrate the gradient of a pair's raw score over its item's token embeddings.

    With x the embeddings of the text's tokens and x0 the same with every word's tokens blanked (the mask token where
    the model has one, else zero), a token adds ⟨x − x0, ∫ ∂score/∂x (x0 + a (x − x0)) da⟩; the integral is a
    Gauss-Legendre sum. A word is the sum of its tokens; punctuation and special tokens stay as they are.

    Args:
        what_if: Computes scores of the pair.
        pair: The pair; its item has a text that a signal reads.
        steps: Points of the path.

    References:
        Sundararajan, Taly and Yan, Axiomatic Attribution for Deep Networks, ICML 2017, section 3.
    """
    text = what_if.worded(pair.row)
    tenant = what_if.tenant
    if not isinstance(tenant, LoadedTenant):
        raise InputError("gradients of words take a run that was loaded from a folder")
    places, weights = np.polynomial.legendre.leggauss(steps)
    shares, weights = (places + 1.0) / 2.0, weights / 2.0
    word_of = np.array(text.word_of)
    with tenant.base.inside(tenant.adapter) as (backbone, encoder):
        path = _Path(what_if, pair, backbone, encoder, torch.tensor([text.ids]), torch.from_numpy(word_of >= 0))
        gradient = torch.zeros_like(path.step)
        for at in range(0, steps, _CHUNK):
            share = torch.tensor(shares[at : at + _CHUNK], dtype=torch.float32, device=path.step.device)
            weight = torch.tensor(weights[at : at + _CHUNK], dtype=torch.float32, device=path.step.device)
            gradient += (weight[:, None, None] * path.gradients(share)).sum(0)
        tokens = (gradient * path.step).sum(-1).double().cpu().numpy()
        end, start = path.scores(torch.tensor([1.0, 0.0], device=path.step.device))
    words = np.zeros(len(text.words))
    np.add.at(words, word_of[word_of >= 0], tokens[word_of >= 0])
    return WordGradients(words, end - start)


class _Path:
    """The path from a text without words to the text, in embeddings."""

    def __init__(
        self, what_if: WhatIf, pair: Pair, backbone: Backbone, encoder: TextEncoder, ids: Tensor, blank: Tensor
    ) -> None:
        self._what_if, self._pair, self._encoder = what_if, pair, encoder
        self._ids = ids.to(backbone.device)
        self._embed: Any = backbone.model.get_input_embeddings()  # type: ignore[operator]
        mask = getattr(backbone.tokenizer, "mask_token_id", None)
        with torch.no_grad():
            end = self._embed(self._ids)[0].float()
            empty = torch.zeros_like(end[0])
            if mask is not None:
                empty = self._embed(torch.tensor([mask], device=end.device))[0].float()
        self._start = torch.where(blank.to(end.device)[:, None], empty, end)
        self.step = end - self._start

    def gradients(self, shares: Tensor) -> Tensor:
        """Return the gradients of the score at points of the path, [points, tokens, width]."""
        with torch.enable_grad():
            at = (self._start + shares[:, None, None] * self.step).requires_grad_()
            gradient: Tensor = torch.autograd.grad(self._scored(at).sum(), at)[0]
        return gradient

    def scores(self, shares: Tensor) -> list[float]:
        """Return the scores at points of the path."""
        with torch.no_grad():
            scores: list[float] = self._scored(self._start + shares[:, None, None] * self.step).tolist()
        return scores

    def _scored(self, embeddings: Tensor) -> Tensor:
        """Return raw scores of the pair with the text's embeddings replaced, [points]."""
        ids = self._ids.expand(len(embeddings), -1)
        mask = torch.ones_like(ids)
        # an adapter may need token ids (prompt tuning does), so ids are passed and their embeddings are replaced

        def exchanged(_module: Any, args: tuple[Any, ...], output: Tensor) -> Tensor | None:
            return embeddings.to(output.dtype) if output.shape == embeddings.shape else None

        handle = self._embed.register_forward_hook(exchanged)
        try:
            states = self._encoder.model(input_ids=ids, attention_mask=mask).last_hidden_state
        finally:
            handle.remove()
        return self._what_if.raw_of_texts(self._pair, self._encoder.reading.vectors(states, mask))

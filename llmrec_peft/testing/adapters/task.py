"""Task: some real sentences and a fixed linear task that only a changed encoder solves better."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

SENTENCES: tuple[str, ...] = (
    "The soup needs salt and a slow fire.",
    "The rocket left the pad before dawn.",
    "She kneads the dough until it is smooth.",
    "Saturn's rings are made of ice and rock.",
    "Roast the carrots with honey and thyme.",
    "The probe sent pictures of a distant moon.",
    "A pinch of saffron colours the rice.",
    "Astronomers measured the light of a dying star.",
    "Fry the onions until they are golden.",
    "The comet returns every seventy-six years.",
    "He baked two loaves of rye bread.",
    "Two satellites passed over the dark side.",
    "Whisk the eggs with a little cream.",
    "Gravity bends the path of light.",
    "Grandmother's apple pie won the prize.",
    "The telescope turned towards the galaxy.",
    "Lemon and butter go well with trout.",
    "Mars has the tallest volcano we know.",
    "Leave the tea to steep for four minutes.",
    "The crew repaired the station in orbit.",
    "Chocolate melts over a bath of hot water.",
    "A black hole swallowed the nearby cloud.",
    "The market sells ripe figs and goat cheese.",
    "Meteors burned in the upper atmosphere.",
)
"""Sentences about cooking and about space, alternating."""


@dataclass(frozen=True)
class Task:
    """Classify texts by the vectors' first principal direction, scored along another direction that is fixed.

    A text is in class 1 if its untuned vector lies above the median of ⟨u, v⟩, u being the direction in which the
    untuned vectors differ most. Its score is ⟨w, v − centre⟩ / spread, with w drawn once and orthogonal to u; centre
    and
    spread are those of the untuned vectors. None of this is trained: w cannot turn to u, so the adapter has to change
    the vectors. The classes are balanced, so that no constant shift of the scores brings the loss below ln 2.

    Attributes:
        direction: w, float32 [width].
        centre: Mean of the untuned vectors, float32 [width].
        spread: Standard deviation of the untuned scores.
        labels: 0 or 1 for each text, float32 [n].
    """

    direction: Tensor
    centre: Tensor
    spread: Tensor
    labels: Tensor

    @classmethod
    def over(cls, untuned: Tensor) -> Task:
        """Make the task for texts with these untuned vectors, float32 [n, width]."""
        centre = untuned.mean(0)
        first = torch.linalg.svd(untuned - centre, full_matrices=False).Vh[0]
        along = (untuned - centre) @ first
        generator = torch.Generator().manual_seed(0)
        drawn = torch.randn(untuned.shape[1], generator=generator).to(untuned.device)
        direction = drawn - (drawn @ first) * first
        labels = torch.zeros_like(along)
        labels[along.argsort()[len(along) // 2 :]] = 1.0
        return cls(direction, centre, ((untuned - centre) @ direction).std(), labels)

    def loss(self, vectors: Tensor) -> Tensor:
        """Return the logistic loss of the fixed task on pooled vectors [n, width]."""
        scores = (vectors - self.centre) @ self.direction / self.spread
        return F.binary_cross_entropy_with_logits(scores, self.labels)

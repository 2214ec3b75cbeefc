"""Writer report: perplexity of reviews before and after, the baseline, and the README of a writer's folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from llmrec_peft.artifact.card import front_matter, rendered
from llmrec_peft.artifact.licences import licences_of
from llmrec_peft.data.finite import require_finite
from llmrec_peft.evaluation.intervals import paired_interval
from llmrec_peft.evaluation.weighted import Figure

if TYPE_CHECKING:
    from llmrec_peft.recipe import Recipe
    from llmrec_peft.writing.reviews import Reviews
    from llmrec_peft.writing.writer import Example, Writer

_CARDS = Path(__file__).parent / "cards"
BASELINE = "token_counts"
"""The baseline: how often each token stands in the training reviews, whatever the facts and the words before."""
SMOOTHING = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003)
"""What its counts may be raised by; validation chooses."""
CHUNK = 8
"""Reviews rated at a time."""


@dataclass(frozen=True)
class Rated:
    """How likely a model finds some reviews.

    Attributes:
        losses: Summed negative log-likelihood of each, in nats, float64 [n].
        counts: Its tokens, float64 [n].
    """

    losses: NDArray[np.float64]
    counts: NDArray[np.float64]

    @property
    def perplexity(self) -> float:
        """exp of the mean over tokens."""
        return float(np.exp(self.losses.sum() / self.counts.sum()))

    @property
    def figure(self) -> Figure:
        """Perplexity as a function of each review's weight."""
        return lambda weights: float(np.exp(weights @ self.losses / (weights @ self.counts)))


@torch.no_grad()
def rated(writer: Writer, examples: Sequence[Example], done: Callable[[int], None] | None = None) -> Rated:
    """Rate examples, those of similar length together.

    Raises:
        NotFiniteError: If the loss of one is not finite.
    """
    writer.model.eval()
    order = sorted(range(len(examples)), key=lambda at: len(examples[at].prompt) + len(examples[at].answer))
    losses, counts = np.empty(len(examples)), np.empty(len(examples))
    for at in range(0, len(order), CHUNK):
        some = order[at : at + CHUNK]
        loss, count = writer.losses([examples[place] for place in some])
        losses[some], counts[some] = loss.double().cpu().numpy(), count.double().cpu().numpy()
        if done is not None:
            done(len(some))
    require_finite(losses, "losses of reviews")
    return Rated(losses, counts)


def _counted(reviews: Reviews, vocabulary: int) -> tuple[Rated, Rated]:
    """How likely validation and test reviews are by how often tokens stand in training; validation smooths it."""
    train = reviews.of(reviews.train)
    seen = np.bincount([token for example in train for token in example.answer], minlength=vocabulary)

    def rating(part: Sequence[Example], added: float) -> Rated:
        log = np.log((seen + added) / (seen.sum() + added * len(seen)))
        losses = np.array([-log[list(example.answer)].sum() for example in part])
        return Rated(losses, np.array([float(len(example.answer)) for example in part]))

    valid, test = reviews.of(reviews.valid), reviews.of(reviews.test)
    best = min(SMOOTHING, key=lambda added: rating(valid, added).perplexity)
    return rating(valid, best), rating(test, best)


def figures(
    recipe: Recipe, reviews: Reviews, before: Sequence[Rated], after: Sequence[Rated], vocabulary: int
) -> dict[str, Any]:
    """Perplexities on validation and test, and how they compare.

    Args:
        recipe: Says how often is resampled.
        reviews: Reviews.
        before: The untuned decoder on validation and on test.
        after: The tuned one.
        vocabulary: Tokens that it knows.
    """
    counted = _counted(reviews, vocabulary)
    told = {
        part: {
            "before": {"perplexity": before[at].perplexity},
            "after": {"perplexity": after[at].perplexity},
            "baselines": {BASELINE: {"perplexity": counted[at].perplexity}},
        }
        for at, part in enumerate(("valid", "test"))
    }
    clusters = {"by_user": reviews.test.user, "by_item": reviews.test.item}
    resamples = recipe.evaluation.bootstrap
    compared = {
        f"after_minus_{name}": {
            unit: paired_interval(after[1].figure, other.figure, cluster, resamples).plain()
            for unit, cluster in clusters.items()
        }
        for name, other in (("before", before[1]), (BASELINE, counted[1]))
        if resamples
    }
    losing = [
        name for name, one in (("before", before[1]), ("after", after[1])) if one.perplexity >= counted[1].perplexity
    ]
    return {
        "primary_metric": "perplexity",
        "best_baseline": BASELINE,
        **told,
        "comparisons": compared,
        "no_better_than_best_baseline": losing,
    }


def writer_card(recipe: Recipe, metrics: Mapping[str, Any]) -> str:
    """Render the card of a writer's folder, its README.md, from its recipe and ``metrics.json``."""
    rows = [
        (called, [one["perplexity"] for one in (found["baselines"][BASELINE], found["before"], found["after"])])
        for called, found in (("validation", metrics["valid"]), ("test", metrics["test"]))
    ]
    licences = licences_of(recipe, metrics)
    shown = {"rows": rows, "licences": licences, "licence_notes": licences.notes(items=False)}
    return front_matter(recipe, metrics) + rendered("writer.md.jinja", recipe, metrics, shown, _CARDS)

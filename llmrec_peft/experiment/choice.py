"""Choice: which model to recommend, by cross-validation, in favour of the simpler one where the data cannot tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.evaluation.baselines.average import averaged, likelihoods, weights_of
from llmrec_peft.experiment.judge import Difference, Judge

if TYPE_CHECKING:
    from llmrec_peft.evaluation.baselines.foldable import Foldable
    from llmrec_peft.experiment.cross_validation import OutOfFold

SHARES = tuple(round(0.1 * step, 1) for step in range(11))
"""Shares of the baseline that are tried."""
BASELINE = "baseline"
"""Name of the best baseline among the candidates."""
SIMPLE_FIRST = ("before", "collaborative_only", "after")
"""The variants of a recipe in the order in which they are preferred, the frozen language model first."""


@dataclass(frozen=True)
class Candidate:
    """A variant blended with the best baseline.

    Attributes:
        name: Name of the variant: ``before``, ``collaborative_only`` or ``after``.
        epochs: Epochs after which it was best.
        best_share: Share of the baseline in the best blend.
        share: The same shrunk towards the baseline, see `shrunk_share`.
        folds: Folds that it was trained on.
        figure: The primary metric of the shrunk blend over these folds' examples.
        baseline_figure: That of the baseline alone over the same examples.
        alone_figure: That of the variant alone.
        over_baseline: How much its blend is better than the baseline, each fold's as the other folds choose it.
        blend: What the shrunk blend predicts, float64 [examples of its folds].
        alone: What the variant predicts by itself.
    """

    name: str
    epochs: int
    best_share: float
    share: float
    folds: int
    figure: float
    baseline_figure: float
    alone_figure: float
    over_baseline: Difference
    blend: NDArray[np.float64]
    alone: NDArray[np.float64]

    def plain(self) -> dict[str, Any]:
        """Return the candidate as plain values."""
        return {
            "figure": self.figure,
            "figure_alone": self.alone_figure,
            "figure_of_baseline": self.baseline_figure,
            "epochs": self.epochs,
            "folds": self.folds,
            "best_share_of_baseline": self.best_share,
            "share_of_baseline": self.share,
            "better_than_baseline": self.over_baseline.plain(),
        }


@dataclass(frozen=True)
class Chosen:
    """What cross-validation chose.

    Attributes:
        baseline: The best foldable baseline.
        of_baseline: What it predicted for the folds' examples, float64 [examples].
        candidates: Every variant, by name.
        model: Name of the chosen variant, or `BASELINE`.
        metric: The primary metric.
        folds: Number of folds.
        examples: Examples that they predict.
        reasons: Why each variant beside the chosen one was left, by name.
    """

    baseline: Foldable
    of_baseline: NDArray[np.float64]
    candidates: Mapping[str, Candidate]
    model: str
    metric: str
    folds: int
    examples: int
    reasons: Mapping[str, str]

    @property
    def share(self) -> float:
        """Share of the baseline in what is recommended; 1 for the baseline alone."""
        return 1.0 if self.model == BASELINE else self.candidates[self.model].share


def best_baseline(
    tried: Sequence[tuple[Foldable, OutOfFold]], observed: NDArray[np.floating], task: str
) -> tuple[Foldable, NDArray[np.float64]]:
    """Return the average of the baselines by their likelihoods, and what it predicted for the folds' examples.

    Args:
        tried: Every baseline and what it predicted.
        observed: The examples' labels as the head reads them, [examples].
        task: ``rating`` or ``click``.
    """
    scores = np.concatenate([out.scores for _, out in tried])
    weights = weights_of(likelihoods(scores, observed, task))
    return averaged([baseline for baseline, _ in tried], weights), np.asarray(weights @ scores)


def shrunk_share(share: float, difference: Difference) -> float:
    """Shrink a blend's share towards the baseline by how sure its gain is.

    The variant keeps ``(1 - share) · max(0, 1 - error² / gain²)``, the positive part of James and Stein's rule: half a
    standard error of gain leaves the baseline alone, one too, two leave three quarters, five nearly all.

    References:
        James and Stein, Estimation with Quadratic Loss, 1961.

    >>> shrunk_share(0.2, Difference(0.02, 0.01, 0.0, 0.04))
    0.4
    >>> shrunk_share(0.2, Difference(0.01, 0.02, -0.03, 0.05))
    1.0
    """
    if difference.gain <= difference.error:
        return 1.0
    kept = (1.0 - share) * (1.0 - (difference.error / difference.gain) ** 2)
    return round(1.0 - kept, 4)


def best_blend(
    out: OutOfFold, baseline: NDArray[np.float64], judge: Judge, folds: Sequence[int] | None = None
) -> tuple[int, float]:
    """Return the epoch, from 0, and the share of the baseline whose blend is best, that with more of it if equal.

    Where no blend is better than the baseline alone, the share is 1, and the epoch is the variant's own best one.

    Args:
        out: What a variant predicted after each epoch.
        baseline: What the best baseline predicted for the same examples.
        judge: Figures.
        folds: Folds that are looked at; by default all that the variant was trained on.
    """
    folds = range(out.folds) if folds is None else folds
    rows = judge.rows(folds)
    own, other = out.scores[:, rows], baseline[rows]
    best = judge.figure(other, folds), 0, 1.0
    for epoch, scores in enumerate(own):
        for share in SHARES[:-1][::-1]:
            figure = judge.figure(_blended(scores, other, share), folds)
            if judge.better(figure, best[0]):
                best = figure, epoch, share
    if best[2] < 1.0:
        return best[1], best[2]
    alone = [judge.figure(scores, folds) for scores in own]
    return int(np.argmax(alone) if judge.better(1.0, 0.0) else np.argmin(alone)), 1.0


def honest_blend(out: OutOfFold, baseline: NDArray[np.float64], judge: Judge) -> NDArray[np.float64]:
    """Return each fold's blend with the epoch and share that the *other* folds choose, float64 [examples].

    The best of many epochs and shares looks better on the examples that chose it than it is; here no example has a say
    in what is blended for it. With one fold there is nothing to choose by: the baseline itself.
    """
    blend = baseline.copy()
    for fold in range(out.folds):
        others = [other for other in range(out.folds) if other != fold]
        if others:
            epoch, share = best_blend(out, baseline, judge, others)
            rows = judge.rows([fold])
            blend[rows] = _blended(out.scores[epoch, rows], baseline[rows], share)
    return blend


def vain(baseline: NDArray[np.float64], judge: Judge) -> Callable[[OutOfFold, int], bool]:
    """Return what tells whether training a variant on further folds would change nothing.

    A gain g with a standard error s over f of F folds is expected to be g / s · √(F / f) standard errors over all
    folds: where that is below one, the variant would not be chosen.

    Args:
        baseline: What the best baseline predicted, [examples of all folds].
        judge: Figures and differences.
    """

    def asked(out: OutOfFold, folds: int) -> bool:
        other = baseline[: out.scores.shape[1]]
        epoch, share = best_blend(out, other, judge)
        if share == 1.0:
            return True
        difference = judge.difference(_blended(out.scores[epoch], other, share), other, range(out.folds))
        return bool(difference.gain * np.sqrt(folds / out.folds) < difference.error)

    return asked


def candidate_of(name: str, out: OutOfFold, baseline: NDArray[np.float64], judge: Judge) -> Candidate:
    """Choose a variant's epoch and share together, then shrink the share.

    Args:
        name: Name of the variant.
        out: What it predicted after each epoch.
        baseline: What the best baseline predicted, [examples of all folds].
        judge: Figures and differences.
    """
    other, folds = baseline[: out.scores.shape[1]], range(out.folds)
    epoch, best_share = best_blend(out, other, judge)
    honest = judge.difference(honest_blend(out, other, judge), other, folds)
    share = 1.0 if best_share == 1.0 else shrunk_share(best_share, honest)
    alone = out.scores[epoch]
    return Candidate(
        name,
        epoch + 1,
        best_share,
        share,
        out.folds,
        judge.figure(_blended(alone, other, share), folds),
        judge.figure(other, folds),
        judge.figure(alone, folds),
        honest,
        _blended(alone, other, share),
        alone,
    )


def chosen(
    baseline: Foldable, of_baseline: NDArray[np.float64], candidates: Mapping[str, Candidate], judge: Judge, folds: int
) -> Chosen:
    """Choose the simplest candidate that no other one beats by more than a standard error.

    Candidates are looked at in the order of `SIMPLE_FIRST`, the baseline before all; one takes the place of the present
    choice if it is better by more than one standard error over the examples that both predicted.

    References:
        Breiman, Friedman, Olshen and Stone, Classification and Regression Trees, 1984, section 3.4.3.
    """
    present, scores, present_folds = BASELINE, of_baseline, folds
    reasons: dict[str, str] = {}
    for name in SIMPLE_FIRST:
        if name not in candidates:
            continue
        own = candidates[name]
        shared = min(own.folds, present_folds)
        inside = judge.rows(range(shared))
        difference = judge.difference(own.blend[inside], scores[inside], range(shared))
        if own.share < 1.0 and difference.exceeds_error:
            if present != BASELINE:
                reasons[present] = f"{name} is better by {difference.gain:.4f}, standard error {difference.error:.4f}"
            present, scores, present_folds = name, own.blend, own.folds
        else:
            reasons[name] = (
                f"better than {present} by {difference.gain:.4f}, standard error {difference.error:.4f}"
                if own.share < 1.0
                else "its blend with the baseline is not better than the baseline by more than a standard error"
            )
    return Chosen(baseline, of_baseline, candidates, present, judge.metric, folds, len(of_baseline), reasons)


def _blended(own: NDArray[np.float64], baseline: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    return (1.0 - share) * own + share * baseline

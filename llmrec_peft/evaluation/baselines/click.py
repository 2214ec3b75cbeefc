"""Baselines of clicks and likes, each tuned on validation: rates, popularity, neighbours, texts, their blend."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from llmrec_peft.data.interactions import Interactions
from llmrec_peft.evaluation.baselines.baseline import Baseline
from llmrec_peft.evaluation.baselines.company import common_likes, text_cosines
from llmrec_peft.evaluation.baselines.groups import Group
from llmrec_peft.evaluation.baselines.known_labels import KnownLabels, clipped
from llmrec_peft.evaluation.baselines.rates import Floats
from llmrec_peft.evaluation.click_metrics import auc, auc_by_user
from llmrec_peft.heads.calibration import fitted

if TYPE_CHECKING:
    from torch import Tensor

USER_SHRINK = (1.0, 2.0, 5.0, 10.0)
ITEM_SHRINK = (2.0, 5.0, 10.0, 20.0)
ITEM_WEIGHTS = (0.5, 0.75, 1.0, 1.5, 2.0)
EXTRA_WEIGHTS = (0.0, 0.1, 0.2, 0.4, 0.8)
"""Grid: weights of a prior as numbers of labels, and weights of one log-odds added to another."""
SAMPLE = 100_000
"""Validation examples on which settings are chosen, at most: the AUC of so many has a standard error below 0.002."""

Settings = dict[str, float]
T = TypeVar("T")


@dataclass(frozen=True)
class ClickData:
    """Data of the baselines; labels are 1 and 0.

    Attributes:
        train: Training part.
        valid: Validation part.
        fit: Data of the final baselines: train + valid, or train if the model is not refit.
        test: Test part; its labels are read only with `in_time`, by later examples.
        num_items: Rows of an item table.
        texts: Untuned vectors of all items' texts, float32 [num_items, width]; None if no text is read.
        in_time: Whether every outcome before an example's own time counts (the prequential protocol).
        metric: By what settings are chosen: ``auc``, or ``impression_auc`` where impressions are known.
        groups: Groups of examples by name, each of which has a rate of its own.
    """

    train: Interactions
    valid: Interactions
    fit: Interactions
    test: Interactions
    num_items: int
    texts: Tensor | None
    in_time: bool
    metric: str = "auc"
    groups: Mapping[str, Group] = field(default_factory=dict)


@dataclass(frozen=True)
class _Sides:
    """Log-odds of validation and of test examples."""

    valid: Floats
    test: Floats

    def standard(self) -> _Sides:
        """Return both with mean 0 and deviation 1 on validation."""
        centre, spread = self.valid.mean(), max(float(self.valid.std()), 1e-9)
        return _Sides((self.valid - centre) / spread, (self.test - centre) / spread)


def click_baselines(data: ClickData) -> Iterator[Baseline]:
    """Tune every baseline on validation and predict test once; scores are calibrated on validation (Platt)."""
    observed = data.valid.label
    chooser = _Chooser(observed, data.valid.impression if data.metric == "impression_auc" else None)
    pairs = ((data.train, data.valid), (data.fit, data.test))
    known = tuple(KnownLabels(learn, ask, data.num_items, data.in_time) for learn, ask in pairs)

    def both(odds: Callable[[KnownLabels], Floats]) -> _Sides:
        return _Sides(*(odds(part) for part in known))

    share = logit(clipped(data.train.label.mean()))
    yield _calibrated("global_rate", {}, both(lambda part: np.full(len(part.ask), share)), observed)
    user = chooser.best((shrink, known[0].user_odds(shrink)) for shrink in USER_SHRINK)
    yield _calibrated("user_rate", {"shrink": user}, both(lambda part: part.user_odds(user)), observed)
    item = chooser.best((shrink, known[0].item_odds(shrink)) for shrink in ITEM_SHRINK)
    yield _calibrated("item_rate", {"shrink": item}, both(lambda part: part.item_odds(item)), observed)
    settings = _joined_rates(known[0], chooser)
    rates = both(lambda part: _rates(part, settings))
    yield _calibrated("user_and_item_rates", settings, rates, observed)
    yield _calibrated("popularity", {}, both(KnownLabels.popularity), observed)
    for name, group in data.groups.items():
        grouped = tuple(_by_group(learn, ask, group, data.in_time) for learn, ask in pairs)
        shrink = chooser.best((one, grouped[0].item_odds(one)) for one in ITEM_SHRINK)
        of_group = _Sides(*(part.item_odds(shrink) for part in grouped))
        yield _calibrated(f"{name}_rate", {"shrink": shrink}, of_group, observed)
    extra: dict[str, _Sides] = {}
    if data.valid.history is not None and data.train.history is not None:
        extra["neighbours"] = both(lambda part: common_likes(part.learn, part.ask, data.num_items, part.alone))
        yield _calibrated("neighbour_counts", {}, extra["neighbours"], observed)
        if (texts := data.texts) is not None:
            extra["text"] = both(lambda part: text_cosines(part.ask, texts, data.num_items))
            yield _calibrated("text_cosine", {}, extra["text"], observed)
    if extra:
        name = "rates_neighbours_and_text" if "text" in extra else "rates_and_neighbours"
        standard = {kind: sides.standard() for kind, sides in extra.items()}
        mixed = _mixed({"rates": rates, **standard}, chooser)
        weights = dict(zip(extra, mixed, strict=True))
        terms = [(1.0, rates), *((weights[kind], sides) for kind, sides in standard.items())]
        whole = _Sides(_summed([(w, s.valid) for w, s in terms]), _summed([(w, s.test) for w, s in terms]))
        yield _calibrated(name, {**settings, **weights}, whole, observed)


class _Chooser:
    """Chooses settings by AUC on validation, or on a sample of it: over all pairs, or as the mean over impressions."""

    def __init__(self, observed: NDArray[np.float32], impression: NDArray[np.int64] | None) -> None:
        """Draw the sample; all of validation if it is no larger, or if the sample has one class only."""
        rows = np.arange(len(observed))
        if len(rows) > SAMPLE:
            some = _sampled(rows, impression)
            rows = some if np.ptp(observed[some]) > 0 else rows
        self._rows, self._observed = rows, observed[rows]
        self._impression = None if impression is None else impression[rows]

    def some(self, odds: Floats) -> Floats:
        """Return the sample of a part's log-odds."""
        return odds if len(odds) == len(self._rows) else odds[self._rows]

    def best(self, candidates: Iterator[tuple[T, Floats]]) -> T:
        """Return what has the best AUC, the first of equals, of settings with their log-odds of all of validation."""
        return self.best_of_some((settings, self.some(odds)) for settings, odds in candidates)

    def best_of_some(self, candidates: Iterator[tuple[T, Floats]]) -> T:
        """Return what has the best AUC, the first of equals, of settings with their log-odds of the sample."""
        return max(candidates, key=lambda one: self._figure(one[1]))[0]

    def _figure(self, odds: Floats) -> float:
        if self._impression is None:
            return auc(odds, self._observed)
        _, values = auc_by_user(odds, self._observed, self._impression)
        return float(values.mean()) if len(values) else 0.0


def _sampled(rows: NDArray[np.int64], impression: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """Draw `SAMPLE` rows, or whole impressions with about so many, in order."""
    rng = np.random.default_rng(0)
    if impression is None:
        return np.sort(rng.permutation(rows)[:SAMPLE])
    number = np.unique(impression, return_inverse=True)[1]
    place = rng.permutation(int(number.max()) + 1)
    return rows[place[number] < len(place) * SAMPLE // len(rows)]


def _by_group(learn: Interactions, ask: Interactions, group: Group, in_time: bool) -> KnownLabels:
    """Return what is known of groups in the place of items."""
    of_learn, of_ask = group(learn), group(ask)
    size = int(max(of_learn.max(initial=0), of_ask.max(initial=0))) + 1
    learn, ask = (replace(part, item=of, history=None) for part, of in ((learn, of_learn), (ask, of_ask)))
    return KnownLabels(learn, ask, size, in_time)


def _joined_rates(valid: KnownLabels, chooser: _Chooser) -> Settings:
    """Choose the settings of a user's and an item's rates together."""
    users = {u: chooser.some(valid.user_odds(u)) for u in USER_SHRINK}
    items = {i: chooser.some(valid.item_odds(i)) for i in ITEM_SHRINK}
    residuals = {(u, i): chooser.some(valid.user_odds(u, i)) for u, i in itertools.product(USER_SHRINK, ITEM_SHRINK)}
    names = ("user_shrink", "item_shrink", "item_weight", "user_residual")
    return chooser.best_of_some(
        (dict(zip(names, (u, i, w, float(by_residual)), strict=True)), _summed([(1.0, user), (w, items[i])]))
        for u, i, w in itertools.product(USER_SHRINK, ITEM_SHRINK, ITEM_WEIGHTS)
        for by_residual, user in ((False, users[u]), (True, residuals[u, i]))
    )


def _rates(part: KnownLabels, settings: Settings) -> Floats:
    """Return log-odds of a user's and an item's rates together."""
    item_shrink = settings["item_shrink"]
    user = part.user_odds(settings["user_shrink"], item_shrink if settings["user_residual"] else None)
    return _summed([(1.0, user), (settings["item_weight"], part.item_odds(item_shrink))])


def _mixed(terms: dict[str, _Sides], chooser: _Chooser) -> tuple[float, ...]:
    """Choose the weight of each term but the first, which has weight 1."""
    first, *others = (chooser.some(sides.valid) for sides in terms.values())
    return chooser.best_of_some(
        (weights, _summed([(1.0, first), *zip(weights, others, strict=True)]))
        for weights in itertools.product(EXTRA_WEIGHTS, repeat=len(others))
    )


def _summed(terms: Sequence[tuple[float, Floats]]) -> Floats:
    return np.asarray(sum(weight * odds for weight, odds in terms), np.float64)


def _calibrated(name: str, settings: Settings, sides: _Sides, observed: NDArray[np.float32]) -> Baseline:
    probability = expit(sides.valid)
    if np.ptp(sides.valid) == 0.0:
        return Baseline(name, settings, probability, expit(sides.test))
    curve = fitted("platt", probability, observed)
    slope, intercept = float(curve["slope"][0]), float(curve["intercept"][0])
    return Baseline(name, settings, *(expit(slope * odds + intercept) for odds in (sides.valid, sides.test)))

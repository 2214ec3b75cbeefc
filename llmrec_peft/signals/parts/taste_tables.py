"""Tables of the taste signal: item effects for scoring, for training by parts of users, and updated with outcomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from llmrec_peft.data.interactions import Interactions
from llmrec_peft.errors import InputError
from llmrec_peft.signals.contract import SignalContext
from llmrec_peft.signals.parts.item_effects import Effects, Penalties, components, fit_effects, people

if TYPE_CHECKING:
    from llmrec_peft.data.batches import Batch

_SIZES = ("effect", "count", "columns", "centre", "mean", "lowest", "highest", "mean_fact", "spread_fact")


class TableOptions(Protocol):
    """Options of the taste signal that its tables are fitted with; see there."""

    @property
    def columns(self) -> tuple[str, ...]: ...
    @property
    def components(self) -> int: ...
    @property
    def folds(self) -> int: ...
    @property
    def records(self) -> bool: ...
    @property
    def user_ridge(self) -> float: ...
    @property
    def item_ridge(self) -> float: ...
    @property
    def text_ridge(self) -> float: ...
    @property
    def static_ridge(self) -> float: ...


class Folds(nn.Module):
    """Item effects for each part of the users, fitted on the other parts; they are not saved."""

    def __init__(self, effect: Tensor, of_user: Tensor) -> None:
        """Keep effects [folds, num_items] and the part of each user index, int64 [num_users]."""
        super().__init__()
        self.effect: Tensor
        self.of_user: Tensor
        self.register_buffer("effect", effect, persistent=False)
        self.register_buffer("of_user", of_user, persistent=False)


def loaded_tables(saved: Mapping[str, Tensor]) -> dict[str, nn.Module]:
    """Make empty tables in the sizes of saved ones."""
    tables = {name: torch.zeros(saved[f"known.{name}"].shape) for name in _SIZES}
    return {"known": _frozen(tables)}


def fitted_tables(options: TableOptions, context: SignalContext) -> dict[str, nn.Module]:
    """Fit item effects on the training interactions, and once for each part of the users.

    Raises:
        InputError: For a column that the items do not have, or that holds no numbers.
    """
    train = context.learned
    columns = _standardized(options.columns, context)
    lowest, highest = float(train.label.min()), float(train.label.max())
    label = train.label.astype(np.float64)
    if context.task == "click":
        if highest > lowest and not np.isin(label, (lowest, highest)).all():
            label = np.where(label > label.mean(), highest, lowest)
        label = (label - lowest) / max(highest - lowest, 1e-9)
    vectors = None if context.text is None else context.text.detach().float().cpu().numpy()
    text = components(vectors, options.components) if vectors is not None and options.components else None
    penalties = Penalties(options.user_ridge, options.item_ridge, options.text_ridge, options.static_ridge)
    person = people(train.user, train.item, label) if options.records else train.user
    judged = (person, train.item, label)
    if options.records:
        judged = _once(*judged)

    def fit(kept: NDArray[np.bool_]) -> Effects:
        return fit_effects(judged[0][kept], judged[1][kept], judged[2][kept], text, columns, penalties)

    whole = fit(np.ones(len(judged[0]), bool))
    part = np.random.default_rng(0).integers(0, options.folds, int(person.max()) + 1)
    by_part = [fit(part[judged[0]] != number).item for number in range(options.folds)]
    of_user = np.zeros(context.num_users, np.int64)
    of_user[train.user] = part[person]
    effect = np.stack(by_part)[part[person], train.item]
    facts = _facts(effect, np.maximum(whole.count[train.item] - 1.0, 0.0), columns[train.item])
    width = 1 if vectors is None else vectors.shape[1]
    known = {
        "effect": whole.item,
        "count": whole.count,
        "columns": columns,
        "centre": np.zeros(width) if vectors is None else vectors[1:].mean(0),
        "mean": np.array([whole.mean]),
        "lowest": np.array([lowest]),
        "highest": np.array([max(highest, lowest + 1e-6)]),
        "mean_fact": facts.mean(0),
        "spread_fact": facts.std(0) + 1e-6,
    }
    folds = Folds(torch.from_numpy(np.stack(by_part)).float(), torch.from_numpy(of_user))
    tables = {name: torch.from_numpy(np.asarray(value)).float() for name, value in known.items()}
    return {"known": _frozen(tables), "folds": folds}


class Levels:
    """Users' levels, which item effects need to follow outcomes after training."""

    def __init__(self, train: Interactions, known: Any, options: TableOptions) -> None:
        """Sum each user's labels less their items' effects."""
        self._options = options
        self._low, self._high = float(known["lowest"]), float(known["highest"])
        self._mean = float(known["mean"])
        size = int(train.user.max(initial=0)) + 1
        left = self._scaled(train.label) - self._mean - known["effect"].detach().cpu().numpy()[train.item]
        self._total = np.bincount(train.user, left, size)
        self._count = np.bincount(train.user, minlength=size).astype(np.float64)

    def follow(self, batch: Batch, known: Any) -> None:
        """Update b_i += (y − ȳ − û − b_i) / (n_i + ridge + 1) for each outcome, one after the other."""
        assert batch.label is not None  # noqa: S101 - outcomes are what is followed
        users, items = batch.user.cpu().numpy(), batch.item.cpu().numpy()
        labels = self._scaled(batch.label.cpu().numpy())
        grow = int(users.max(initial=0)) + 1 - len(self._total)
        if grow > 0:
            self._total = np.concatenate([self._total, np.zeros(grow)])
            self._count = np.concatenate([self._count, np.zeros(grow)])
        level = self._total[users] / (self._count[users] + self._options.user_ridge)
        effect, count = known["effect"].data, known["count"].data
        for user, item, label, own in zip(users, items, labels, level, strict=True):
            if item == 0:
                continue
            seen = float(count[item])
            effect[item] += (label - self._mean - own - float(effect[item])) / (seen + self._options.item_ridge + 1.0)
            count[item] += 1.0
            self._total[user] += label - self._mean - float(effect[item])
            self._count[user] += 1.0

    def _scaled(self, label: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return labels in the unit of the fit: 0 to 1 for clicks, whose mean lies there; stars unchanged."""
        clicks = 0.0 <= self._mean <= 1.0
        return np.asarray((label - self._low) / (self._high - self._low) if clicks else label, np.float64)


def _once(
    person: NDArray[np.int64], item: NDArray[np.int64], label: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return outcomes, each of a person counted once."""
    rows = np.stack([person.astype(np.float64), item.astype(np.float64), label])
    kept = np.unique(rows, axis=1, return_index=True)[1]
    return person[kept], item[kept], label[kept]


def _facts(
    effect: NDArray[np.float64], count: NDArray[np.float64], columns: NDArray[np.float64]
) -> NDArray[np.float64]:
    popularity = np.log1p(count)
    return np.hstack([np.stack([effect, effect * popularity, popularity / 3.0], axis=1), columns])


def _standardized(names: Sequence[str], context: SignalContext) -> NDArray[np.float64]:
    """Return items' numeric columns, centred and scaled over items that have them, [num_items, c]; 0 if missing."""
    found = np.zeros((context.num_items, len(names)))
    for at, name in enumerate(names):
        table = context.items or {}
        if name not in table:
            raise InputError(f"signals.taste.columns: items have no column {name!r}; there are {', '.join(table)}")
        try:
            values = np.asarray([np.nan if value is None else float(value) for value in table[name]], np.float64)
        except (TypeError, ValueError):
            raise InputError(f"signals.taste.columns: column {name!r} holds no numbers") from None
        there = np.isfinite(values)
        if there.any():
            spread = max(float(values[there].std()), 1e-9)
            found[1:][there, at] = (values[there] - values[there].mean()) / spread
    return found


def _frozen(tensors: Mapping[str, Tensor]) -> nn.ParameterDict:
    return nn.ParameterDict({name: nn.Parameter(value, requires_grad=False) for name, value in tensors.items()})

"""Transitions: which items follow which in users' sequences, with learnt weights of steps, places and frequencies."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from llmrec_peft.options import Options
from llmrec_peft.signals.contract import Signal, SignalContext

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from llmrec_peft.data.batches import Batch
    from llmrec_peft.data.interactions import Interactions
    from llmrec_peft.signals.parts.sequence_counts import FollowedCounts, Sequences, StepCounts

POWERS = {"cosine": (0.5, 0.5), "rows": (1.0, 0.0), "none": (0.0, 0.0)}
"""Initial exponents a and b of a normalization."""


class TransitionsOptions(Options):
    """Options of the transitions signal."""

    steps: int = Field(default=5, ge=1, le=20)
    """Places apart in a sequence at which two items are counted as a pair, at most. Initially a pair counts 1/k where
    the item came k places later."""
    backwards: float = Field(default=0.3, gt=0.0, le=10.0)
    """Initial weight of the opposite order, in which the item came before the entry, relative to the same order."""
    length: int = Field(default=10, ge=1, le=1000)
    """Entries of a history that are read, the newest; at most data.history_length."""
    decay: float = Field(default=0.8, gt=0.0, le=1.0)
    """Initial weight of an entry relative to the next newer one."""
    normalization: Literal["cosine", "rows", "none"] = "cosine"
    """Division of a count by powers of how frequent both items are, initially: by the root of both (`cosine`), by the
    entry's alone (`rows`), or not at all."""
    labels: bool = True
    """Whether an entry is weighted by its label: what follows liked items attracts. Rankings have no labels."""
    logarithm: bool = False
    """Whether the logarithm of 1 + the sum is added instead of the sum itself."""
    scale: float = Field(default=4.0, ge=-100.0, le=100.0)
    """Initial weight of the whole."""
    strongest: int = Field(default=200, ge=1, le=10_000)
    """Items that are kept of those that follow or precede an item, by their initial weights: with a million items the
    saved tables stay below 2.4 GB."""


class Transitions(Signal[TransitionsOptions]):
    """cross = w g(Σ_p l_p d_p T[h_p, i]), T[h, i] = Σ_k (f_k F_k[h, i] + b_k B_k[h, i]) / ((1 + n_h)^a (1 + n_i)^b).

    h_p is the p-th newest entry of a history; F_k[h, i] counts how often item i came k places after h in a training
    sequence, B_k[h, i] how often k places before it; n counts an item's training interactions. The weights w, d, f and
    b and the exponents are learnt; g(x) is x, or log(1 + x). l_p is 1, or with labels c + e · (label − mean).

    In training, an example does not foretell itself: a pair of an item before it in its own sequence, and of its own
    item or a later one, counts once less, and its item has one interaction less. A run folder has the sums T alone.

    References:
        Rendle et al., Factorizing Personalized Markov Chains for Next-Basket Recommendation, WWW 2010.
        Ludewig and Jannach, Evaluation of Session-based Recommendation Algorithms, UMUAI 2018 (sequential rules).
    """

    summary: ClassVar[str] = "which items follow which in sequences, by learnt weights of steps and places"
    Config: ClassVar[type[Options]] = TransitionsOptions
    user_tables: ClassVar[tuple[str, ...]] = ()
    reads_history: ClassVar[bool] = True
    _sequences: Sequences | None = None
    _followed: FollowedCounts | None = None

    def build(self, context: SignalContext) -> nn.ModuleDict:
        """Make the weights, and the counts of the training sequences.

        Raises:
            InputError: If a saved table does not fit the run's items.
        """
        import torch
        from torch import nn

        from llmrec_peft.signals.parts.entry_weights import EntryWeights
        from llmrec_peft.signals.parts.item_links import saved_links

        config = self.config
        self._sizes = (context.num_users, context.num_items)
        nearness = -torch.arange(1, config.steps + 1).float().log()
        weights = {
            "scale": torch.tensor([config.scale]),
            "step": torch.cat([nearness, nearness + math.log(config.backwards)]),
            "power": torch.tensor(POWERS[config.normalization]),
        }
        parts: dict[str, nn.Module] = {
            "entries": EntryWeights(context, config.length, config.decay, config.labels),
            "weights": nn.ParameterDict({name: nn.Parameter(value) for name, value in weights.items()}),
        }
        if context.saved is not None:
            parts["folded"] = saved_links(context.saved, "folded", context.num_items)
        else:
            from llmrec_peft.signals.parts.sequence_counts import Sequences, StepCounts

            learned = context.learned
            counts = StepCounts.of(learned, context.num_items, config.steps)
            parts["known"] = self._tables(counts, learned.counts_by_item(context.num_items))
            self._sequences = Sequences(learned)
        return nn.ModuleDict(parts)

    def _tables(self, counts: StepCounts, often: NDArray[np.int64]) -> nn.ParameterDict:
        """Return the counts of the pairs that are kept, and how often each item occurs, as frozen tensors."""
        import numpy as np
        import torch

        from llmrec_peft.signals.parts.item_links import frozen

        nearness = 1.0 / np.arange(1, self.config.steps + 1, dtype=np.float64)
        weight = np.concatenate([nearness, self.config.backwards * nearness])[counts.step]
        a, b = POWERS[self.config.normalization]
        frequent = (1.0 + often[counts.item]) ** a * (1.0 + often[counts.other]) ** b
        kept = counts.heaviest(weight * counts.count / frequent, self.config.strongest)
        tables = {"begin": kept.begin, "key": kept.key, "count": kept.count, "often": often.astype(np.float32)}
        return frozen({name: torch.from_numpy(table) for name, table in tables.items()})

    def cross(self, batch: Batch, candidates: Tensor) -> Tensor | None:
        """Return what the entries of each history foretell of each candidate, [B, C]; None without histories."""
        from llmrec_peft.signals.parts.item_links import links_of, summed

        if batch.history is None:
            return None
        history, worth = self.parts["entries"](batch)
        table = self.parts["folded" if "folded" in self.parts else "known"]
        row, place, link = links_of(table["begin"], history)
        if "folded" in self.parts:
            item, value = table["item"][link].long(), table["value"][link]
        else:
            row, place, item, value = self._counted(row, place, link, batch, history)
        total = summed(row, item, value * worth[row, place], candidates, len(history))
        if self.config.logarithm:
            total = total.clamp(min=0.0).log1p()
        added: Tensor = self.parts["weights"]["scale"] * total
        return added

    def _counted(
        self, row: Tensor, place: Tensor, link: Tensor, batch: Batch, history: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return row, place, item and weighted count of links; in training, with those that examples add themselves.

        These come with a count of -1, and the example's own item has one interaction less.
        """
        import torch

        known, steps = self.parts["known"], self.config.steps
        key, count = known["key"][link], known["count"][link]
        own = self.parts.training and batch.label is not None and batch.example is not None
        if own:
            own_row, own_place, own_key = self._own(batch, history)
            row, place = torch.cat([row, own_row]), torch.cat([place, own_place])
            key, count = torch.cat([key, own_key]), torch.cat([count, -torch.ones_like(own_key, dtype=count.dtype)])
        item = key // (2 * steps) % self._sizes[1]
        often = known["often"][item] - (item == batch.item[row]).float() if own else known["often"][item]
        power = self.parts["weights"]["power"]
        entry = -power[0] * known["often"][history[row, place]].log1p()
        value = count * (self.parts["weights"]["step"][key % (2 * steps)] + entry - power[1] * often.log1p()).exp()
        return row, place, item, value

    def _own(self, batch: Batch, history: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return row, place and key of each count, among those that are kept, to which an example adds itself."""
        import torch

        if self._sequences is None or batch.example is None:
            none = batch.item[:0]
            return none, none, none
        steps = self.config.steps
        before, after = self._sequences.around(batch.example, batch.user, batch.item, steps)
        apart = torch.arange(steps, device=history.device)[:, None] + torch.arange(steps, device=history.device)
        pair = (before > 0)[:, :, None] & (after > 0)[:, None, :] & (apart < steps)
        there = (history[:, :, None] == before[:, None, :])[..., None] & pair[:, None]
        row, place, one, other = there.nonzero(as_tuple=True)
        key = (before[row, one] * self._sizes[1] + after[row, other]) * (2 * steps) + apart[one, other]
        table: Tensor = self.parts["known"]["key"]
        at = torch.searchsorted(table, key).clamp(max=max(0, len(table) - 1))
        kept = table[at] == key if len(table) else key < 0
        return row[kept], place[kept], key[kept]

    def fold(self) -> None:
        """Replace counts by step by their weighted sums."""
        import torch

        from llmrec_peft.signals.parts.item_links import frozen

        self._sequences = self._followed = None
        if "folded" in self.parts:
            return
        known, weights, steps = self.parts["known"], self.parts["weights"], self.config.steps
        with torch.no_grad():
            pair, place = torch.unique_consecutive(known["key"] // (2 * steps), return_inverse=True)
            entry, item = pair // self._sizes[1], pair % self._sizes[1]
            count = known["count"] * weights["step"].exp()[known["key"] % (2 * steps)]
            sums = count.new_zeros(len(pair)).index_add(0, place, count)
            rare = (
                weights["power"][0] * known["often"][entry].log1p() + weights["power"][1] * known["often"][item].log1p()
            )
            begin = torch.searchsorted(entry, torch.arange(self._sizes[1] + 1, device=entry.device))
        folded = {"begin": begin, "item": item.int(), "value": sums * (-rare).exp()}
        del self.parts["known"]
        self.parts["folded"] = frozen(folded)

    def remember(self, train: Interactions) -> None:
        """Count these sequences instead; weights stay as trained."""
        from llmrec_peft.signals.parts.sequence_counts import FollowedCounts

        self._sequences = None
        self._followed = FollowedCounts.of(train, *self._sizes, self.config.steps)
        self._count_again()

    def follow(self, batch: Batch) -> None:
        """Count the batch's items too, each after what its user had before."""
        if self._followed is not None:
            self._followed.see(batch.user.cpu().numpy(), batch.item.cpu().numpy())
            self._count_again()

    def _count_again(self) -> None:
        assert self._followed is not None  # noqa: S101 - asked before
        device = self.parts["weights"]["scale"].device
        if "folded" in self.parts:
            del self.parts["folded"]
        self.parts["known"] = self._tables(self._followed.counts, self._followed.often).to(device)

    def report(self) -> dict[str, Any]:
        """Return the learnt weights, of steps and places relative to the first, and the number of pairs kept."""
        weights = {name: value.detach() for name, value in self.parts["weights"].items()}
        steps = (weights["step"] - weights["step"][0]).exp().tolist()
        first = float(weights["scale"] * (weights["step"][0] + self.parts["entries"].place[0].detach()).exp())
        figures: dict[str, Any] = {
            "weight": round(first, 4),
            "later": [round(value, 4) for value in steps[: self.config.steps]],
            "earlier": [round(value, 4) for value in steps[self.config.steps :]],
            "power": [round(value, 4) for value in weights["power"].tolist()],
        }
        table = self.parts["folded"]["item"] if "folded" in self.parts else self.parts["known"]["key"]
        return {**figures, **self.parts["entries"].report(), "links": len(table)}

"""Served followers: what follows the last items, and what shares words with them, beside a trained model's signals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from llmrec_peft.errors import InputError
from llmrec_peft.model.served_neighbours import STRONGEST, strongest
from llmrec_peft.options import Options
from llmrec_peft.signals.contract import Signal, SignalContext
from llmrec_peft.signals.parts.item_links import frozen, link_table, links_of, saved_links, summed

if TYPE_CHECKING:
    from scipy import sparse

    from llmrec_peft.data.batches import Batch

FOLLOWERS, WITH_WORDS = "transitions", "transitions_and_words"
"""The baselines' names in reports: what follows alone, and what follows beside shared words of titles."""
LENGTH = 10
"""Entries of a history that the baselines read, the newest."""
ROWS = 512
"""Histories whose links are looked up at a time: 2 million links at most, about 130 MB."""


class FollowerOptions(Options):
    """Settings of the baselines, as validation chose them."""

    decay: float = Field(default=0.5, gt=0.0, le=1.0)
    """Weight of an entry relative to the next newer one."""
    own: float = Field(default=1.0, ge=0.0, le=1.0)
    """Factor on items of the own history."""
    words: float = Field(default=0.0, ge=0.0, le=100.0)
    """Weight of shared words; 0 where no words are compared, and then there is no table of them."""
    length: int = Field(default=LENGTH, ge=1, le=100)
    """Entries of a history that are read, the newest; at most data.history_length where the model reads histories."""


class ServedFollowers(Signal[FollowerOptions]):
    """cross = w · o_i · Σ_p d^(p - 1) (T[h_p, i] + v · S[h_p, i]) over the p-th newest entry h_p of a history.

    T says how often item i came up to 5 places after an entry, or before it, and S how alike the words of their titles
    are (`evaluation.baselines.followers`). o is the factor on items among the entries that are read, and 1 for others.
    Like `ServedBaseline` it is no plugin and never trained: `with_baseline` puts it beside the signals of a finished
    model. Its tables are T, S where v is above 0, and the weight w; neither needs scipy, or texts, to answer.

    Items that were added to a finished run follow nothing and have no words here: this adds 0 to their scores.
    """

    summary: ClassVar[str] = "what follows the last items and shares words with them, where validation gave it a share"
    Config: ClassVar[type[Options]] = FollowerOptions
    user_tables: ClassVar[tuple[str, ...]] = ()
    reads_history: ClassVar[bool] = True
    width = 0
    """Width of its vectors: it has none."""

    def build(self, context: SignalContext) -> nn.ModuleDict:
        """Make tables as long as the saved ones, which are held against the number of items.

        Raises:
            InputError: If a saved table is missing, of another type or size, points to no item, or has more links of an
                item than are kept.
        """
        follows = _saved(context, "follows")
        return _parts(follows, _saved(context, "alike") if self.config.words > 0.0 else None, 0.0)

    @classmethod
    def empty(cls, context: SignalContext, options: FollowerOptions) -> ServedFollowers:
        """Make the signal with tables of zeros, to be filled from a run folder.

        Args:
            context: Sizes, and the saved tensors under the signal's name.
            options: Its settings.
        """
        signal = cls(options)
        signal.parts = signal.build(context)
        return signal

    @classmethod
    def of(
        cls, follows: sparse.csr_matrix, alike: sparse.csr_matrix | None, options: FollowerOptions, weight: float
    ) -> ServedFollowers:
        """Make the signal from the baseline's matrices, [num_items, num_items] each, row and column 0 empty.

        Of each row the `STRONGEST` values are kept: 8 bytes each, at most 1.6 GB a table for a million items.

        Args:
            follows: How much each item follows each other one.
            alike: How alike their words are; not read, and may be None, where `words` is 0.
            options: Its settings.
            weight: Factor on what it adds.

        Raises:
            ValueError: If words have a weight and are not given.
        """
        signal, words = cls(options), None
        if options.words > 0.0:
            if alike is None:
                raise ValueError(f"words weigh {options.words}, and no similarity of words is given")
            words = link_table(strongest(alike, STRONGEST))
        signal.parts = _parts(link_table(strongest(follows, STRONGEST)), words, weight)
        return signal

    def grown(self, num_users: int, num_items: int) -> ServedFollowers:
        """Return the same signal for more items, without any links; no table is about users.

        Args:
            num_users: Rows of a user table.
            num_items: Rows of an item table, as many as now or more.
        """
        signal, tables = ServedFollowers(self.config), {}
        for name in ("follows", "alike"):
            if name in self.parts:
                table = {key: tensor.detach() for key, tensor in self.parts[name].items()}
                begin = table["begin"]
                more = begin[-1:].expand(num_items + 1 - len(begin))
                tables[name] = frozen({**table, "begin": torch.cat([begin, more])})
        signal.parts = _parts(tables["follows"], tables.get("alike"), float(self.parts["share"]["weight"]))
        return signal

    def cross(self, batch: Batch, candidates: Tensor) -> Tensor | None:
        """Return what the entries of each history say of each candidate, [B, C]; None without histories."""
        if batch.history is None:
            return None
        history, shared = batch.history[:, -self.config.length :], len(candidates) == 1
        pieces = [
            self._said(history[at : at + ROWS], candidates if shared else candidates[at : at + ROWS])
            for at in range(0, max(1, len(history)), ROWS)
        ]
        weight: Tensor = self.parts["share"]["weight"]
        return weight * torch.cat(pieces)

    def _said(self, history: Tensor, candidates: Tensor) -> Tensor:
        """Return what the entries of histories [B, L] say of each candidate, not yet weighted, [B, C]."""
        place = torch.arange(history.shape[1] - 1, -1, -1, device=history.device)
        worth = self.config.decay**place * (history > 0)
        found = [_linked(self.parts["follows"], history, worth)]
        if self.config.words > 0.0:
            found.append(_linked(self.parts["alike"], history, self.config.words * worth))
        row, item, value = (torch.cat(several) for several in zip(*found, strict=True))
        total = summed(row, item, value, candidates, len(history))
        if self.config.own != 1.0:
            row, column = history.nonzero(as_tuple=True)
            met = summed(row, history[row, column], worth.new_ones(len(row)), candidates, len(history))
            total = torch.where(met > 0.0, self.config.own * total, total)
        return total

    def report(self) -> dict[str, Any]:
        """Return how many pairs of items the tables have, by table."""
        return {name: len(self.parts[name]["item"]) for name in ("follows", "alike") if name in self.parts}


def _saved(context: SignalContext, name: str) -> nn.ParameterDict:
    """Return tensors of zeros in the sizes of a saved table; a stranger's items have no more links than our own."""
    table = saved_links(context.saved or {}, name, context.num_items)
    most = int(table["begin"].diff().max())
    if most > STRONGEST:
        raise InputError(f"tensor {name}.begin gives an item {most} links; {STRONGEST} are kept at most")
    return table


def _linked(table: nn.ParameterDict, history: Tensor, worth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the links of all entries, [n] each: the row of the history, the linked item, and its weighted value."""
    row, place, link = links_of(table["begin"], history)
    return row, table["item"][link].long(), table["value"][link] * worth[row, place]


def _parts(follows: nn.ParameterDict, alike: nn.ParameterDict | None, weight: float) -> nn.ModuleDict:
    parts = {"follows": follows, "share": frozen({"weight": torch.tensor([weight])})}
    return nn.ModuleDict(parts if alike is None else {**parts, "alike": alike})

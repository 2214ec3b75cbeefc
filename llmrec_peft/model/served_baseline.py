"""Served baseline: a simple rule's tables beside a trained model's signals, so that both answer as one score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from llmrec_peft.model.served_followers import FOLLOWERS, WITH_WORDS, FollowerOptions, ServedFollowers
from llmrec_peft.model.served_neighbours import NEIGHBOURS, WITH_TEXTS, NeighbourOptions, ServedNeighbours
from llmrec_peft.options import Options
from llmrec_peft.signals.contract import Signal, SignalContext

if TYPE_CHECKING:
    from llmrec_peft.data.batches import Batch
    from llmrec_peft.model.rec_model import RecModel
    from llmrec_peft.signals.parts.matrix_factorization import Factors

NAME = "baseline"
"""Its name among the signals; no plugin of this name can be served beside it."""


class ServedBaseline(Signal[Options]):
    """offset = b_u + b_i, product = ⟨U_u, I_i⟩: tables that were computed, multiplied by the baseline's share.

    It is no plugin: it is never trained and no recipe names it. `with_baseline` puts it beside the signals of a model
    that is finished, and whatever reads signals (scores, explanations, exported vectors) reads it too.
    """

    summary: ClassVar[str] = "a simple rule's score, where validation or its folds gave it a share"
    Config: ClassVar[type[Options]] = Options
    user_tables: ClassVar[tuple[str, ...]] = ("tables.user", "tables.user_offset")

    def build(self, context: SignalContext) -> nn.ModuleDict:
        """Make tables of zeros, as wide as the saved ones."""
        saved, rank = context.saved or {}, 0
        if "tables.user" in saved:
            shape = tuple(saved["tables.user"].shape)
            if len(shape) != 2 or shape[0] != context.num_users:  # noqa: PLR2004 - whoever wrote it chose its size
                raise ValueError(f"tables.user is {list(shape)}, not [{context.num_users}, rank]")
            if tuple(saved["tables.item"].shape) != (context.num_items, shape[1]):
                raise ValueError(f"tables.item is not [{context.num_items}, {shape[1]}]")
            rank = shape[1]
        sizes = {"user_offset": (context.num_users,), "item_offset": (context.num_items,)}
        tables = {name: torch.zeros(size) for name, size in sizes.items()}
        if rank:
            tables |= {"user": torch.zeros(context.num_users, rank), "item": torch.zeros(context.num_items, rank)}
        return _parts(tables)

    @classmethod
    def empty(cls, context: SignalContext) -> ServedBaseline:
        """Make the signal with tables of zeros, to be filled from a run folder.

        Args:
            context: Sizes, and the saved tensors under the signal's name.
        """
        signal = cls(Options())
        signal.parts = signal.build(context)
        return signal

    @classmethod
    def of(cls, factors: Factors, share: float, base: float) -> ServedBaseline:
        """Make the signal from a baseline's tables.

        Args:
            factors: Its tables.
            share: Its share of the score, between 0 and 1.
            base: What the head itself adds to every score; the share of it is taken away again, so that a share of 1
                is the baseline itself.
        """
        found = {
            "user_offset": share * (factors.mean - base + factors.user_bias),
            "item_offset": share * factors.item_bias,
        }
        if factors.user.shape[1]:
            found |= {"user": share * factors.user, "item": factors.item}
        signal = cls(Options())
        signal.parts = _parts({name: torch.from_numpy(values).float() for name, values in found.items()})
        return signal

    def grown(self, num_users: int, num_items: int) -> ServedBaseline:
        """Return the same signal for more users and items: each has the row of the unknown one, index 0.

        Args:
            num_users: Rows of a user table, as many as now or more.
            num_items: Rows of an item table, as many as now or more.
        """
        rows = {"user": num_users, "user_offset": num_users, "item": num_items, "item_offset": num_items}
        signal = ServedBaseline(Options())
        signal.parts = _parts({name: _longer(table, rows[name]) for name, table in self.parts["tables"].items()})
        return signal

    @property
    def width(self) -> int:
        """Width of its vectors; 0 if it has offsets alone."""
        tables = self.parts["tables"]
        return int(tables["user"].shape[1]) if "user" in tables else 0

    def user(self, batch: Batch) -> Tensor | None:
        """Return rows of U, [B, rank]."""
        return self._rows("user", batch.user)

    def item(self, batch: Batch) -> Tensor | None:
        """Return rows of I, [B, rank]."""
        return self._rows("item", batch.item)

    def user_offset(self, batch: Batch) -> Tensor | None:
        """Return users' biases, the constant included, [B]."""
        return self._rows("user_offset", batch.user)

    def item_offset(self, batch: Batch) -> Tensor | None:
        """Return items' biases, [B]."""
        return self._rows("item_offset", batch.item)

    def _rows(self, name: str, index: Tensor) -> Tensor | None:
        tables = self.parts["tables"]
        return tables[name][index] if name in tables else None


def _longer(table: Tensor, rows: int) -> Tensor:
    """Return a table with its first row repeated at the end, [rows] or [rows, rank]."""
    table = table.detach()
    return torch.cat([table, table[:1].expand(rows - len(table), *table.shape[1:])])


def _parts(tables: Mapping[str, Tensor]) -> nn.ModuleDict:
    frozen = {name: nn.Parameter(table, requires_grad=False) for name, table in tables.items()}
    return nn.ModuleDict({"tables": nn.ParameterDict(frozen)})


Served = ServedBaseline | ServedNeighbours | ServedFollowers
"""What can answer beside a model."""


def empty_baseline(name: str, settings: Mapping[str, float], context: SignalContext) -> Served:
    """Make a baseline's signal with tables of zeros, to be filled from a run folder.

    Args:
        name: Name of the baseline.
        settings: Its settings.
        context: Sizes, and the saved tensors under the signal's name.

    Raises:
        ValueError: If the settings or the saved tables are none of this baseline's.
        KeyError: If a saved table is missing.
    """
    if name in (NEIGHBOURS, WITH_TEXTS):
        return ServedNeighbours.empty(context, NeighbourOptions.model_validate(dict(settings)))
    if name in (FOLLOWERS, WITH_WORDS):
        return ServedFollowers.empty(context, FollowerOptions.model_validate(dict(settings)))
    return ServedBaseline.empty(context)


def with_baseline(model: RecModel, signal: Served, share: float) -> RecModel:
    """Return score = (1 - share) · the model's own + the baseline's; parameters are shared.

    Args:
        model: Trained model.
        signal: The baseline, its share in its tables already.
        share: That share.
    """
    signal.parts = signal.parts.to(model.device)
    fusion = model.fusion.with_apart(NAME, signal.width, 1.0 - share)
    texts, plan = model.texts, model.plan
    if isinstance(signal, ServedNeighbours | ServedFollowers):
        reads = plan.history or (isinstance(signal, ServedNeighbours) and signal.config.counts is not None)
        length = signal.config.length if plan.history_length is None else plan.history_length
        texts = texts.with_plan(replace(plan, history=reads, history_length=length))
    return model.sharing(signals={**model.signals, NAME: signal}, texts=texts, fusion=fusion)

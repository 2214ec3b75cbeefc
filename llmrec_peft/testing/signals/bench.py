"""SignalBench: one signal in the made-up world, under a head of ratings and under a ranking head."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from llmrec_peft.data.batches import Batch
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.errors import InputError
from llmrec_peft.signals.contract import Signal, SignalContext
from llmrec_peft.testing.signals.world import HIDDEN, LENGTH, WIDTH, World

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from llmrec_peft.options import Options

SETTINGS = ("ratings", "rankings")
SEED = 7
DIM = 8
"""Width of the signals' vectors; the width of the texts is tried if a signal needs it."""
RATES = (3e-2, 1e-1, 1e-2)
"""Learning rates, tried in this order until the signal learns enough."""
STEPS, LOOK = 100, 10
"""Steps per rate, at most, and steps between two measurements."""
CARRIES = 0.1
"""What a signal has to add to the explained share of the labels' variance on held-out pairs (ratings), or to the share
of the catalogue that a held-out item is ranked above (rankings)."""


@functools.cache
def world_of(setting: str) -> World:
    """Return the made-up world, made once per process."""
    return World.made(ranked=setting == "rankings")


@dataclass
class SignalOutputs:
    """A signal's outputs for some pairs; None for those that it does not have.

    Attributes:
        user: User vectors, [B, dim].
        item: Item vectors, [B, dim].
        offset: [B].
        tokens: [B, k, hidden].
    """

    user: Tensor | None
    item: Tensor | None
    offset: Tensor | None
    tokens: Tensor | None

    def named(self) -> dict[str, Tensor]:
        """Return the outputs that are not None, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass
class Learnt:
    """Result of training a signal.

    Attributes:
        signal: The signal, in evaluation mode.
        gain: What it adds, see `CARRIES`.
        alone: The value without it.
        rate: Learning rate.
        moved: Names of its parameters that had a nonzero gradient in any step.
        penalties: Penalties of the steps, in order.
    """

    signal: Signal[Any]
    gain: float
    alone: float
    rate: float
    moved: set[str] = field(default_factory=set)
    penalties: list[Any] = field(default_factory=list)


class SignalBench:
    """Makes signals of one class with one set of options, calls them, and trains them."""

    def __init__(self, signal: type[Signal[Any]], config: Options, setting: str) -> None:
        """Set the class, its options, and whether pairs are rated or items ranked."""
        self.signal_class, self.config = signal, config
        self.ranks = setting == "rankings"
        self.world = world_of(setting)
        self.dim = DIM
        self.learnt: Learnt | None = None
        """Result of training, once it is done."""

    def context(self) -> SignalContext:
        """Return the context of a signal that is built to be trained."""
        world, asked = self.world, self.signal_class(self.config)
        return SignalContext(
            num_users=world.num_users,
            num_items=world.num_items,
            dim=self.dim,
            train=world.train,
            text=world.text if asked.uses_text() else None,
            neighbours=world.neighbours if asked.reads_graph else None,
            task="ranking" if self.ranks else "rating",
            listwise=self.ranks,
            users=world.users,
            items=world.items,
            hidden=HIDDEN,
            token_norm=1.0,
            history_length=LENGTH,
            user_text=world.user_text if asked.reads_user_text else None,
            seed=SEED,
            links=world.links if asked.reads_links else None,
        )

    def fresh(self, seed: int = SEED) -> Signal[Any]:
        """Make a signal to be trained, in evaluation mode.

        Raises:
            InputError: If the signal refuses these options, or the made-up data, at both widths.
        """
        signal = self.signal_class(self.config)
        error = signal.refusal(list(self.world.users), list(self.world.items), signal.inserts_tokens)
        if error is not None:
            raise InputError(error)
        torch.manual_seed(seed)
        try:
            signal.parts = signal.build(self.context())
        except InputError:
            if self.dim == WIDTH:
                raise
            self.dim = WIDTH
            return self.fresh(seed)
        signal.parts.eval()
        return signal

    def empty(self, saved: Mapping[str, Tensor], names: Mapping[str, list[str]]) -> Signal[Any]:
        """Make a signal to be loaded, as for a run folder; it knows its training only from its own tensors."""
        whole = self.context()
        torch.manual_seed(SEED + 1)
        signal = self.signal_class(self.config)
        signal.parts = signal.build(
            SignalContext(
                whole.num_users,
                whole.num_items,
                whole.dim,
                None,
                None,
                None,
                saved,
                names,
                task=whole.task,
                listwise=whole.listwise,
                history_length=whole.history_length,
            )
        )
        signal.parts.eval()
        return signal

    def batch(self, part: Interactions, rows: NDArray[np.int64] | None = None, labelled: bool = False) -> Batch:
        """Return some pairs with exactly what the signal declares that it reads."""
        chosen = np.arange(len(part)) if rows is None else rows
        signal, device = self.signal_class(self.config), torch.device("cpu")
        batch = Batch.of(part, chosen, device, LENGTH if signal.reads_history else None)
        if not labelled:
            batch.label = None
        return self.with_texts(batch)

    def with_texts(self, batch: Batch) -> Batch:
        """Return a batch with vectors of the texts that the signal reads."""
        signal, world = self.signal_class(self.config), self.world
        vectors: dict[str, Tensor] = {}
        if signal.uses_text():
            vectors["item"] = world.text[batch.item]
            if batch.history is not None:
                vectors["history"] = world.text[batch.history]
        if signal.reads_user_text:
            vectors["user"] = world.user_text[batch.user]
        return batch.with_vectors(**vectors)

    def candidates(self, items: Tensor) -> Batch:
        """Return items alone: unknown users, no labels, no histories."""
        vectors = {"item": self.world.text[items]} if self.signal_class(self.config).uses_text() else {}
        return Batch(user=torch.zeros_like(items), item=items, vectors=vectors)

    def among(self, batch: Batch, items: Tensor) -> Batch:
        """Return examples that are ranked among shared candidates, without the texts of their own items."""
        vectors = {view: value for view, value in batch.vectors.items() if view != "item"}
        if self.signal_class(self.config).uses_text():
            vectors["candidates"] = self.world.text[items]
        return replace(batch, candidates=items, vectors=vectors)

    def said(self, signal: Signal[Any], batch: Batch) -> SignalOutputs:
        """Return a signal's outputs for pairs, computed in the model's order."""
        item, user, offset = signal.item(batch), signal.user(batch), signal.offset(batch)
        tokens = signal.tokens(batch) if signal.inserts_tokens else None
        return SignalOutputs(user, item, offset, tokens)

    def asked(self) -> Batch:
        """Return forty pairs, including the unknown user and item, and those without interactions."""
        part = self.world.train
        rows = np.linspace(0, len(part) - 1, 36).astype(np.int64)
        batch = self.batch(part, rows)
        users, items = self.world.num_users, self.world.num_items
        batch.user[:4] = torch.tensor([0, 0, users - 1, 1])
        batch.item[:4] = torch.tensor([0, 1, items - 1, items - 1])
        return self.with_texts(batch)


def trained(signal: Signal[Any]) -> dict[str, nn.Parameter]:
    """Return parameters of a signal that require a gradient, by name."""
    return {name: parameter for name, parameter in signal.parts.named_parameters() if parameter.requires_grad}

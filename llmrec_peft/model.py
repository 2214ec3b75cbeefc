"""RecModel: text encoder, signals and head of a recipe as one trainable module."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from llmrec_peft import registry
from llmrec_peft.backbone.encoder import TextEncoder
from llmrec_peft.data.batches import Batch
from llmrec_peft.heads.contract import HeadContext, HeadOutput, Joined, TaskHead
from llmrec_peft.signals.contract import Signal, SignalContext

if TYPE_CHECKING:
    from llmrec_peft.recipe import Recipe


class RecModel(nn.Module):
    """ŷ = head(Σ user vectors of signals, Σ item vectors of signals, Σ offsets of signals).

    Vectors of texts come from `encoder` in the computation graph of the adapter, or from `text_table`
    (a trained artifact in memory needs no language model to score the items it knows).
    """

    def __init__(
        self,
        signals: dict[str, Signal[Any]],
        head: TaskHead[Any],
        encoder: TextEncoder | None,
        text_table: Tensor | None = None,
    ) -> None:
        """Join built signals and a built head.

        Args:
            signals: Signals by name, their parts built.
            head: Head, its parts built.
            encoder: Text encoder; None where no signal reads text or `text_table` stands for it.
            text_table: Text vectors of all item indices, float32 [num_items, width].
        """
        super().__init__()
        self.signals = signals
        self.head = head
        self.encoder = encoder
        self.signal_parts = nn.ModuleDict({name: signal.parts for name, signal in signals.items()})
        self.head_parts = head.parts
        self.text_table: Tensor | None
        self.register_buffer("text_table", text_table, persistent=False)

    def forward(self, batch: Batch) -> HeadOutput:
        """Loss (with labels) and scores of a batch."""
        if any(signal.reads_text for signal in self.signals.values()) and batch.item_text is None:
            batch = replace(batch, item_text=self._text(batch.item))
        user, item, offset = self._join(batch)
        zero = torch.zeros_like(offset)
        output: HeadOutput = self.head.forward(batch, Joined(user, zero), Joined(item, offset))
        return output

    def _text(self, items: Tensor) -> Tensor:
        if self.text_table is not None:
            return self.text_table[items]
        assert self.encoder is not None  # noqa: S101 - `build_model` gives one to signals that read text
        vectors: Tensor = self.encoder(items)
        return vectors

    def _join(self, batch: Batch) -> tuple[Tensor | None, Tensor | None, Tensor]:
        """Sum the signals' user vectors, item vectors and offsets."""
        user: Tensor | None = None
        item: Tensor | None = None
        offset = torch.zeros(len(batch), device=batch.item.device)
        for signal in self.signals.values():
            of_item = signal.item(batch)
            of_user = signal.user(batch)
            own = signal.offset(batch)
            item = of_item if item is None else item if of_item is None else item + of_item
            user = of_user if user is None else user if of_user is None else user + of_user
            offset = offset if own is None else offset + own
        return user, item, offset

    def item_vectors(self, batch: Batch) -> tuple[Tensor | None, Tensor]:
        """Joined item vectors [B, dim] and offsets [B]."""
        if any(signal.reads_text for signal in self.signals.values()) and batch.item_text is None:
            batch = replace(batch, item_text=self._text(batch.item))
        _, item, offset = self._join(batch)
        return item, offset

    @contextlib.contextmanager
    def scoring(self, items: NDArray[np.int64] | None = None) -> Iterator[None]:
        """Evaluation mode without gradient, every text of `items` (None: of all) encoded once and looked up."""
        training = self.training
        self.eval()
        try:
            with contextlib.ExitStack() as stack:
                stack.enter_context(torch.no_grad())
                if self.encoder is not None:
                    stack.enter_context(self.encoder.fixed(items))
                yield
        finally:
            self.train(training)

    def scores(self, user: NDArray[np.int64], item: NDArray[np.int64], chunk: int = 65_536) -> NDArray[np.float32]:
        """Scores of pairs, float32 [n].

        Args:
            user: User indices [n].
            item: Item indices [n].
            chunk: Pairs at a time.
        """
        device = self.device
        if len(user) == 0:
            return np.empty(0, np.float32)
        parts = []
        with self.scoring(item):
            for at in range(0, len(user), chunk):
                batch = Batch(
                    user=torch.from_numpy(user[at : at + chunk]).to(device),
                    item=torch.from_numpy(item[at : at + chunk]).to(device),
                )
                parts.append(self(batch).scores.float().cpu().numpy())
        return np.concatenate(parts)

    @property
    def device(self) -> torch.device:
        """Where the trained parts lie."""
        device: torch.device = next(self.head_parts.parameters()).device
        return device

    def trained_state(self) -> dict[str, Tensor]:
        """Every tensor outside the frozen backbone: adapter weights, signals and head, by name."""
        state = {name: tensor for name, tensor in self.named_parameters() if tensor.requires_grad}
        for prefix, parts in (("signal_parts", self.signal_parts), ("head_parts", self.head_parts)):
            state |= {f"{prefix}.{name}": tensor for name, tensor in parts.state_dict(keep_vars=True).items()}
        return {name: tensor.detach() for name, tensor in state.items()}

    @torch.no_grad()
    def load_trained_state(self, state: dict[str, Tensor]) -> None:
        """Copy what `trained_state` gave back into place."""
        own = self.trained_state()
        if own.keys() != state.keys():
            raise KeyError(f"state differs in {sorted(own.keys() ^ state.keys())[:3]}")
        for name, tensor in own.items():
            tensor.copy_(state[name])

    def parameter_groups(self) -> dict[str, list[tuple[str, nn.Parameter]]]:
        """Trainable parameters by group: ``adapter``, ``embeddings`` (tables) and ``head`` (the rest)."""
        tables = {id(module.weight) for module in self.modules() if isinstance(module, nn.Embedding)}
        groups: dict[str, list[tuple[str, nn.Parameter]]] = {"adapter": [], "embeddings": [], "head": []}
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                inside = name.startswith("encoder.")
                group = "adapter" if inside else "embeddings" if id(parameter) in tables else "head"
                groups[group].append((name, parameter))
        return groups

    def fold(self) -> None:
        """Let every signal replace what depends on training interactions by plain tables."""
        with self.scoring():
            for signal in self.signals.values():
                signal.fold()


def build_signals(recipe: Recipe, context: SignalContext) -> dict[str, Signal[Any]]:
    """Make the recipe's signals and their parts, in the recipe's order."""
    signals: dict[str, Signal[Any]] = {}
    for name, options in recipe.signals.active.items():
        signal = registry.get("signals", name)(options)
        signal.parts = signal.build(context)
        signals[name] = signal
    return signals


def build_head(recipe: Recipe, context: HeadContext) -> TaskHead[Any]:
    """Make the recipe's head and its parts."""
    head: TaskHead[Any] = registry.get("heads", recipe.head.name)(recipe.head.config)
    head.parts = head.build(context)
    return head


def reads_text(recipe: Recipe) -> bool:
    """Whether any signal of the recipe needs the language model."""
    return any(registry.get("signals", name).reads_text for name in recipe.signals.active)

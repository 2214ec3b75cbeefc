"""RecModel: text encoder, signals, fusion and heads of a recipe as one trainable module."""

from __future__ import annotations

import contextlib
import copy
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from llmrec_peft.data.batches import Batch
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.heads.contract import HeadOutput, Joined, TaskHead
from llmrec_peft.model.augment import Augment
from llmrec_peft.model.fusion import Fusion, Shown
from llmrec_peft.model.reading import Reader
from llmrec_peft.model.text_plan import TextPlan
from llmrec_peft.model.trained_parts import TrainedParts
from llmrec_peft.signals.contract import Signal

if TYPE_CHECKING:
    from llmrec_peft.backbone.encoder import TextEncoder


ChunkScores = Callable[[NDArray[np.int64]], Tensor]
"""Scores of some examples' users for every item, float32 [rows, num_items - 1], columns by item index from 1."""


class RecModel(TrainedParts):
    """ŷ = head(user vectors of signals joined, item vectors of signals joined, offsets of signals joined).

    Vectors of texts come from `encoder` in the computation graph of the adapter, or from `text_table`
    (a trained artifact in memory needs no language model to score the items it knows). Several heads share
    signals, fusion and adapter; the first is the primary one.
    """

    def __init__(
        self,
        signals: dict[str, Signal[Any]],
        heads: dict[str, TaskHead[Any]],
        encoder: TextEncoder | None,
        text_table: Tensor | None = None,
        fusion: Fusion | None = None,
        weights: Mapping[str, float] | None = None,
        plan: TextPlan | None = None,
        augment: Augment | None = None,
    ) -> None:
        """Join built signals and built heads.

        Args:
            signals: Signals by name, their parts built.
            heads: Heads by name, their parts built; the primary one first.
            encoder: Text encoder; None where nothing reads text or `text_table` stands for it.
            text_table: Text vectors of all keys, float32 [keys, width].
            fusion: How vectors are joined; a plain sum by default.
            weights: What each head's loss counts; 1 by default.
            plan: Texts that are read; by default those of items, where a signal reads them.
            augment: Changes made to examples while training; none by default.
        """
        super().__init__()
        self.signals = signals
        self.heads = heads
        self.weights = dict.fromkeys(heads, 1.0) | dict(weights or {})
        self.encoder = encoder
        self.plan = plan or TextPlan(item=any(signal.uses_text() for signal in signals.values()))
        self.augment = augment or Augment()
        self.fusion = fusion or Fusion("sum", list(signals), dim=0)
        self.signal_parts = nn.ModuleDict({name: signal.parts for name, signal in signals.items()})
        self.head_parts = nn.ModuleDict({name: head.parts for name, head in heads.items()})
        self.text_table: Tensor | None
        self.register_buffer("text_table", text_table, persistent=False)

    @property
    def head(self) -> TaskHead[Any]:
        """The primary head."""
        return next(iter(self.heads.values()))

    def forward(self, batch: Batch) -> HeadOutput:
        """Loss of all heads (with labels) and scores of the primary one."""
        outputs, batch = self.outputs(batch)
        losses = [self.weights[name] * out.loss for name, out in outputs.items() if out.loss is not None]
        if losses and self.training:
            losses += [term for signal in self.signals.values() if (term := signal.penalty(batch)) is not None]
        scores = next(iter(outputs.values())).scores
        return HeadOutput(loss=torch.stack(losses).sum() if losses else None, scores=scores)

    def outputs(self, batch: Batch) -> tuple[dict[str, HeadOutput], Batch]:
        """What each head says of a batch, and the batch with its texts' vectors."""
        if self.training:
            batch = self.augment.histories(batch)
        batch = self.with_texts(batch)
        pairs: tuple[Batch, Joined, Joined] | None = None
        lists: tuple[Joined, Joined] | None = None
        found: dict[str, HeadOutput] = {}
        for name, head in self.heads.items():
            if head.listwise and batch.candidates is not None:
                lists = self._lists(batch) if lists is None else lists
                found[name] = head.forward(batch, *lists)
            else:
                pairs = self._pairs(batch) if pairs is None else pairs
                found[name] = head.forward(*pairs)
        return found, batch

    def _pairs(self, batch: Batch) -> tuple[Batch, Joined, Joined]:
        """Both sides of the batch's pairs, mixed where the recipe says so."""
        users: dict[str, Tensor | None] = {}
        items: dict[str, Tensor | None] = {}
        offsets: dict[str, Tensor | None] = {}
        for name, signal in self.signals.items():  # items first: signals draw what they hide in `item`
            items[name] = signal.item(batch)
            users[name] = signal.user(batch)
            offsets[name] = signal.offset(batch)
        rows = len(batch)
        zero = torch.zeros(rows, device=batch.item.device)
        shown = self.fusion.drawn(rows, batch.item.device)
        offset = self.fusion.offset(offsets, shown)
        user = Joined(self.fusion.join("user", users, rows, shown), zero)
        alone = replace(batch, candidates=None, candidate_text=None, target=None)
        cross = self._cross(alone, batch.item[:, None], shown)
        item = Joined(self.fusion.join("item", items, rows, shown), zero if offset is None else offset)
        if cross is not None:
            item = Joined(item.vector, item.offset + cross.squeeze(1))
        return self.augment.mixed(batch, user, item) if self.training else (batch, user, item)

    def _lists(self, batch: Batch) -> tuple[Joined, Joined]:
        """Users of the batch, and the candidates that all of them are ranked against."""
        assert batch.candidates is not None  # noqa: S101 - asked before
        item = self.item_side(batch.candidates, batch.candidate_text)
        shown = self.fusion.drawn(len(batch), batch.user.device)
        cross = self._cross(batch, batch.candidates[None, :], shown)
        return self.user_side(batch, shown), replace(item, cross=cross)

    def _cross(self, batch: Batch, candidates: Tensor, shown: Shown) -> Tensor | None:
        """What signals add for each example and candidate, [B, C]; candidates [B or 1, C]."""
        given = {name: signal.cross(batch, candidates) for name, signal in self.signals.items()}
        return self.fusion.offset(given, shown)

    def user_side(self, batch: Batch, shown: Shown | None = None) -> Joined:
        """Joined user vectors of a batch, whatever its items; signals left out of it as `shown` says, else as drawn."""
        batch = self.with_texts(batch)
        shown = self.fusion.drawn(len(batch), batch.user.device) if shown is None else shown
        vectors = {name: signal.user(batch) for name, signal in self.signals.items()}
        joined = self.fusion.join("user", vectors, len(batch), shown)
        return Joined(joined, torch.zeros(len(batch), device=batch.user.device))

    def item_side(self, items: Tensor, item_text: Tensor | None = None) -> Joined:
        """Joined item vectors and offsets of items by themselves, whoever asks.

        Args:
            items: Item indices, int64 [C].
            item_text: Vectors of their texts; by default those of the encoder.
        """
        batch = Batch(user=torch.zeros_like(items), item=items, item_text=item_text)
        if self.plan.item and item_text is None:
            batch.item_text = self.reader.items(items)
        vectors: dict[str, Tensor | None] = {}
        offsets: dict[str, Tensor | None] = {}
        for name, signal in self.signals.items():
            vectors[name] = signal.item(batch)
            offsets[name] = signal.offset(batch)
        shown = self.fusion.drawn(len(items), items.device)
        offset = self.fusion.offset(offsets, shown)
        zero = torch.zeros(len(items), device=items.device)
        joined = self.fusion.join("item", vectors, len(items), shown)
        return Joined(joined, zero if offset is None else offset)

    def catalogue_scores(
        self,
        batch: Batch,
        item: Joined,
        candidates: Tensor,
        head: str | None = None,
        item_text: Tensor | None = None,
    ) -> Tensor:
        """Scores of a batch's users for candidates, [B, C].

        Args:
            batch: Users, with their histories where they are read.
            item: What `item_side` gave for the candidates.
            candidates: Their indices, int64 [C].
            head: Head that scores; the primary one by default.
            item_text: Vectors of the candidates' texts, where they are at hand.
        """
        asked = replace(batch, candidates=candidates, candidate_text=item_text, label=None, target=None, log_q=None)
        asked = self.with_texts(asked)
        cross = self._cross(asked, candidates[None, :], {})
        chosen = self.head if head is None else self.heads[head]
        return chosen.forward(asked, self.user_side(asked), replace(item, cross=cross)).scores

    @property
    def reader(self) -> Reader:
        """Where vectors of texts come from at the moment."""
        return Reader(self.plan, self.encoder, self.text_table)

    def with_texts(self, batch: Batch) -> Batch:
        """The batch with the vectors of all texts that are read, each distinct text encoded once."""
        reader = self.reader
        pairs = batch.candidates is None or not all(head.listwise for head in self.heads.values())
        puts_in = reader.prompts_lack(batch) and not reader.looks_up
        inserted = self.inserted(batch) if puts_in else None
        return reader.read(batch, pairs, self.training and self.augment.stored_texts, inserted)

    def inserted(self, batch: Batch) -> Tensor | None:
        """Vectors that signals put into the prompts, float32 [B, k, hidden], or None."""
        given = [signal.tokens(batch) for signal in self.signals.values() if signal.inserts_tokens]
        found = [tokens for tokens in given if tokens is not None]
        return torch.cat(found, dim=1) if found else None

    @contextlib.contextmanager
    def scoring(self, keys: NDArray[np.int64] | None = None) -> Iterator[None]:
        """Evaluation mode without gradient, every text of `keys` (None: of all) encoded once and looked up."""
        training = self.training
        self.eval()
        try:
            with contextlib.ExitStack() as stack:
                stack.enter_context(torch.no_grad())
                if self.encoder is not None and not any(signal.inserts_tokens for signal in self.signals.values()):
                    stack.enter_context(self.encoder.fixed(keys))
                yield
        finally:
            self.train(training)

    def scores(self, part: Interactions, head: str | None = None, chunk: int = 65_536) -> NDArray[np.float32]:
        """Scores of pairs, float32 [n].

        Args:
            part: Users, items, and what users had met before; labels are not read.
            head: Head that scores; the primary one by default.
            chunk: Pairs at a time; fewer where histories are read.
        """
        if len(part) == 0:
            return np.empty(0, np.float32)
        if self.plan.history_length is not None:
            chunk = max(1, chunk // max(1, self.plan.history_length))
        parts = []
        with self.scoring(self.plan.keys(part)):
            for at in range(0, len(part), chunk):
                rows = np.arange(at, min(len(part), at + chunk))
                parts.append(self._scored(part, rows, head))
        return np.concatenate(parts)

    def scores_in_time(self, part: Interactions, learned: Interactions, head: str | None = None) -> NDArray[np.float32]:
        """Scores of pairs, each after every outcome before its own time was taken note of, float32 [n].

        Rates, biases' statistics and histories follow; weights stay as trained.

        Args:
            part: Pairs with labels and times, in any order.
            learned: Interactions that were trained on.
            head: Head that scores; the primary one by default.
        """
        follower = RecModel(
            copy.deepcopy(self.signals),
            self.heads,
            self.encoder,
            self.text_table,
            self.fusion,
            self.weights,
            self.plan,
        )
        follower.train(self.training)  # heads and fusion are this model's own
        scores = np.empty(len(part), np.float32)
        order = np.argsort(part.timestamp, kind="stable")
        moments = np.flatnonzero(np.diff(part.timestamp[order], prepend=np.nan))
        with follower.scoring(self.plan.keys(part)):
            for signal in follower.signals.values():
                signal.remember(learned)
            for begin, end in itertools.pairwise([*moments.tolist(), len(part)]):
                rows = order[begin:end]
                scores[rows] = follower._scored(part, rows, head)
                batch = Batch.of(part, rows, self.device)
                for signal in follower.signals.values():
                    signal.follow(batch)
        return scores

    def _scored(self, part: Interactions, rows: NDArray[np.int64], head: str | None) -> NDArray[np.float32]:
        """Scores of some pairs inside `scoring`."""
        batch = replace(Batch.of(part, rows, self.device, self.plan.history_length), label=None)
        outputs, _ = self.outputs(batch)
        scores = next(iter(outputs.values())) if head is None else outputs[head]
        return scores.scores.float().cpu().numpy()

    @contextlib.contextmanager
    def ranking(self, part: Interactions, num_items: int, head: str | None = None) -> Iterator[ChunkScores]:
        """Inside the block, scores of a part's users for the whole catalogue, some rows at a time.

        Args:
            part: Users and what they had met before.
            num_items: Rows of an item table.
            head: Head that scores; the primary one by default.
        """
        items = torch.arange(1, num_items, device=self.device)
        with self.scoring(np.union1d(self.plan.keys(part), np.arange(num_items))):
            texts = self.reader.items(items) if self.plan.item else None
            side = self.item_side(items, texts)

            def scores(rows: NDArray[np.int64]) -> Tensor:
                batch = Batch.of(part, rows, self.device, self.plan.history_length)
                return self.catalogue_scores(batch, side, items, head, texts)

            yield scores

    @torch.no_grad()
    def report(self) -> dict[str, Any]:
        """Plain figures of the trained parts: weights of signals, of positions, of relations."""
        found = {name: figures for name, signal in self.signals.items() if (figures := signal.report())}
        weights = self.fusion.report()
        return {**({"fusion": weights} if weights else {}), **found}

    def fold(self) -> None:
        """Let every signal replace what depends on training interactions by plain tables."""
        with self.scoring(None if self.plan.prompt is None else np.arange(self.plan.prompt)):  # prompts do not fold
            for signal in self.signals.values():
                signal.fold()

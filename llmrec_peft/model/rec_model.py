"""RecModel: texts, signals, fusion and heads of a recipe as one trainable module."""

from __future__ import annotations

import contextlib
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
from llmrec_peft.model.catalogue_scores import CatalogueScores
from llmrec_peft.model.fusion import Fusion, Shown
from llmrec_peft.model.learning_parts import UnreadParts, own_signals
from llmrec_peft.model.parts import Parts, Signals
from llmrec_peft.model.text_plan import TextPlan
from llmrec_peft.model.text_source import EncodedSource, TextSource
from llmrec_peft.model.trained_parts import TrainedParts
from llmrec_peft.signals.contract import Signal

if TYPE_CHECKING:
    from llmrec_peft.backbone.encoded_texts import EncodedTexts


ChunkScores = Callable[[NDArray[np.int64]], Tensor]
"""Returns scores of some examples' users for every item, float32 [rows, num_items - 1], by item index from 1."""


class RecModel(TrainedParts):
    """score = head(user vectors of signals joined, item vectors of signals joined, offsets of signals joined).

    There is one way from a batch to a score: `texts` adds vectors of texts, every signal computes its `Parts`, the
    fusion joins them into a user's and an item's side (`sides`), and a head scores the two (`score`). Items are those
    of the examples (pairs), or candidates that all examples share. Several heads share signals, fusion and adapter;
    the first is the primary one.
    """

    def __init__(
        self,
        signals: dict[str, Signal[Any]],
        heads: dict[str, TaskHead[Any]],
        texts: TextSource | None = None,
        fusion: Fusion | None = None,
        weights: Mapping[str, float] | None = None,
        augment: Augment | None = None,
    ) -> None:
        """Join built signals and built heads.

        Args:
            signals: Signals by name, their parts built.
            heads: Heads by name, their parts built; the primary one first.
            texts: Source of vectors of texts; by default batches contain those of items, if a signal reads them.
            fusion: How vectors are joined; a plain sum by default.
            weights: Weight of each head's loss; 1 by default.
            augment: Random changes of examples in training; none by default.
        """
        super().__init__()
        self.signals = signals
        self.heads = heads
        self.weights = dict.fromkeys(heads, 1.0) | dict(weights or {})
        self.texts = texts or EncodedSource(TextPlan(item=any(signal.uses_text() for signal in signals.values())))
        self.encoder = None if self.encoded is None else self.encoded.encoder
        self.augment = augment or Augment()
        self.fusion = fusion or Fusion("sum", list(signals), dim=0)
        self.signal_parts = nn.ModuleDict({name: signal.parts for name, signal in signals.items()})
        self.unread: UnreadParts | None = None  # parts of a loaded run's signals that do not answer
        self.distill = 0.0  # weight of keeping to `Batch.teacher`
        self._strayed: Tensor | None = None
        self.loss_parts: dict[str, Tensor] = {}  # of the last batch: which of them is not finite
        self.head_parts = nn.ModuleDict({name: head.parts for name, head in heads.items()})

    def sharing(
        self, signals: Signals | None = None, texts: TextSource | None = None, fusion: Fusion | None = None
    ) -> RecModel:
        """Return the same model with other signals, source of texts, or fusion; everything else is shared."""
        parts = (dict(signals or self.signals), self.heads, texts or self.texts, fusion or self.fusion)
        other = RecModel(*parts, self.weights, self.augment)
        other.encoder, other.unread = self.encoder, self.unread
        return other.train(self.training)

    @property
    def head(self) -> TaskHead[Any]:
        """The primary head."""
        return next(iter(self.heads.values()))

    @property
    def plan(self) -> TextPlan:
        """Plan of the texts that are read."""
        return self.texts.plan

    @property
    def encoded(self) -> EncodedTexts | None:
        """The texts of the training data with their encoder; None if vectors are looked up or come from a run."""
        return self.texts.texts if isinstance(self.texts, EncodedSource) else None

    def forward(self, batch: Batch) -> HeadOutput:
        """Compute the loss of all heads (with labels) and scores of the primary one."""
        outputs, batch = self.outputs(batch)
        losses = {
            f"head {name}": self.weights[name] * out.loss for name, out in outputs.items() if out.loss is not None
        }
        if losses and self.training:
            for name, signal in self.signals.items():
                if (term := signal.penalty(batch)) is not None:
                    losses[f"penalty of signal {name}"] = term
            if self._strayed is not None:
                losses["distillation"], self._strayed = self.distill * self._strayed, None
        self.loss_parts = {name: loss.detach() for name, loss in losses.items()}
        scores = next(iter(outputs.values())).scores
        return HeadOutput(loss=torch.stack(list(losses.values())).sum() if losses else None, scores=scores)

    def outputs(self, batch: Batch) -> tuple[dict[str, HeadOutput], Batch]:
        """Return each head's output for a batch, and the batch with its texts' vectors."""
        if self.training:
            batch = self.augment.histories(batch)
        batch = self.with_texts(batch)
        pairs: tuple[Batch, Joined, Joined] | None = None
        lists: tuple[Joined, Joined] | None = None
        outputs: dict[str, HeadOutput] = {}
        for name, head in self.heads.items():
            if head.listwise and batch.candidates is not None:
                lists = self.sides(batch) if lists is None else lists
                outputs[name] = head.forward(batch, *lists)
            else:
                pairs = self._mixed_pairs(batch) if pairs is None else pairs
                outputs[name] = head.forward(*pairs)
        return outputs, batch

    def _mixed_pairs(self, batch: Batch) -> tuple[Batch, Joined, Joined]:
        """Return both sides of the batch's pairs, in training mixed if the recipe says so."""
        alone = batch.pairs()
        user, item = self.sides(alone)
        if not self.training:
            return alone, user, item
        if self.distill and alone.teacher is not None:
            kept = alone.teacher.isfinite()
            distance = self.head.raw(alone, user, item) - torch.where(kept, alone.teacher, 0.0)
            self._strayed = (distance.square() * kept).mean()
        return self.augment.mixed(alone, user, item)

    def sides(self, batch: Batch) -> tuple[Joined, Joined]:
        """Join both sides of a batch that contains its texts' vectors.

        Returns:
            The users' side, and the items': of the examples, or of the candidates if the batch has some.
        """
        if batch.candidates is None:
            parts = self.parts(batch)
            return self.joined(parts, self.fusion.drawn(len(batch), batch.item.device))
        texts, keys = batch.vectors.get("candidates"), batch.candidate_key
        return self.candidate_sides(batch, self.item_side(batch.candidates, texts, keys))

    def parts(self, batch: Batch) -> Parts:
        """Compute every signal's part for the pairs of a batch that contains its texts' vectors."""
        return Parts.of(self.signals, batch)

    def joined(self, parts: Parts, shown: Shown | None = None) -> tuple[Joined, Joined]:
        """Join the signals' parts of pairs into the users' and the items' side.

        Args:
            parts: Each signal's part, [B] rows.
            shown: Which signals are kept in each row; all by default.
        """
        rows, shown = parts.rows, {} if shown is None else shown
        zero = torch.zeros(rows, device=self.device)
        offset = self.fusion.offset(parts.offsets, shown)
        user = Joined(self.fusion.join("user", parts.users, rows, shown), zero)
        return user, Joined(self.fusion.join("item", parts.items, rows, shown), zero if offset is None else offset)

    def raw(self, batch: Batch, parts: Parts | None = None, head: str | None = None) -> Tensor:
        """Score pairs before the head clamps or calibrates, [B]; differentiable.

        Args:
            batch: The pairs, with their texts' vectors and everything else that the head reads.
            parts: The signals' parts; computed by default.
            head: Head that scores; the primary one by default.
        """
        chosen = self.head if head is None else self.heads[head]
        return chosen.raw(batch, *self.joined(self.parts(batch) if parts is None else parts))

    def score(self, batch: Batch, user: Joined, item: Joined, head: str | None = None) -> Tensor:
        """Score two sides, [B] for pairs, or [B, C] for candidates; by the primary head unless one is named."""
        chosen = self.head if head is None else self.heads[head]
        if batch.label is not None:  # computing an unused loss takes time
            batch = replace(batch, label=None, target=None, log_q=None)
        return chosen.forward(batch, user, item).scores

    def user_side(self, batch: Batch, shown: Shown | None = None) -> Joined:
        """Join the users' side of a batch, independent of its items.

        Args:
            batch: Users, with their texts' vectors.
            shown: Which signals are kept in each row; drawn by default.
        """
        shown = self.fusion.drawn(len(batch), batch.user.device) if shown is None else shown
        vectors = {name: signal.user(batch) for name, signal in self.signals.items()}
        joined = self.fusion.join("user", vectors, len(batch), shown)
        zero = torch.zeros(len(batch), device=batch.user.device)
        if self.training:  # what is the same for all candidates has no gradient in a ranking, only rounding errors
            return Joined(joined, zero)
        offset = self.fusion.offset({name: signal.user_offset(batch) for name, signal in self.signals.items()})
        return Joined(joined, zero if offset is None else offset)

    def item_side(self, items: Tensor, vectors: Tensor | None = None, keys: Tensor | None = None) -> Joined:
        """Join the side of items alone, independent of users.

        Args:
            items: Item indices, int64 [C].
            vectors: Vectors of their texts, float32 [C, width]; by default those of `texts`.
            keys: Keys of their texts if they are not the indices, int64 [C].
        """
        if self.plan.item and vectors is None:
            vectors = self.texts.items(items if keys is None else keys)
        batch = Batch(user=torch.zeros_like(items), item=items, vectors={} if vectors is None else {"item": vectors})
        side: dict[str, Tensor | None] = {}
        offsets: dict[str, Tensor | None] = {}
        for name, signal in self.signals.items():
            side[name] = signal.item(batch)
            offsets[name] = signal.item_offset(batch)
        shown = self.fusion.drawn(len(items), items.device)
        offset = self.fusion.offset(offsets, shown)
        zero = torch.zeros(len(items), device=items.device)
        joined = self.fusion.join("item", side, len(items), shown)
        return Joined(joined, zero if offset is None else offset)

    def candidate_sides(self, batch: Batch, item: Joined, user: Joined | None = None) -> tuple[Joined, Joined]:
        """Join the users' side of a batch and add the signals' `cross` to its candidates' side.

        Args:
            batch: Users and candidates, with their texts' vectors.
            item: Result of `item_side` for the candidates.
            user: Result of `user_side` for the users, if it is known already.
        """
        shown = self.fusion.drawn(len(batch), batch.user.device)
        candidates = batch.candidates
        if candidates is None:
            raise ValueError("the batch has no candidates")
        given = {name: signal.cross(batch, candidates[None, :]) for name, signal in self.signals.items()}
        cross = self.fusion.offset(given, shown)
        return self.user_side(batch, shown) if user is None else user, replace(item, cross=cross)

    def with_texts(self, batch: Batch) -> Batch:
        """Return the batch with the vectors of all texts that are read, each distinct text encoded once."""
        own_items = batch.candidates is None or not all(head.listwise for head in self.heads.values())
        missing = self.texts.missing(batch, own_items)
        inserted = self.inserted(batch) if "prompt" in missing and self.texts.inserts else None
        return self.texts.filled(batch, own_items, self.training and self.augment.stored_texts, inserted)

    def inserted(self, batch: Batch) -> Tensor | None:
        """Return vectors that signals insert into the prompts, float32 [B, k, hidden], or None."""
        given = [signal.tokens(batch) for signal in self.signals.values() if signal.inserts_tokens]
        found = [tokens for tokens in given if tokens is not None]
        return torch.cat(found, dim=1) if found else None

    @contextlib.contextmanager
    def scoring(self, keys: NDArray[np.int64] | None = None) -> Iterator[None]:
        """Evaluate without gradient inside the block; each text of `keys` (None: all) is encoded once and looked up."""
        training = self.training
        self.eval()
        try:
            with contextlib.ExitStack() as stack:
                stack.enter_context(torch.no_grad())
                if self.encoded is not None and not any(signal.inserts_tokens for signal in self.signals.values()):
                    stack.enter_context(self.encoded.fixed(keys))
                yield
        finally:
            self.train(training)

    def scores(self, part: Interactions, head: str | None = None, chunk: int = 65_536) -> NDArray[np.float32]:
        """Score pairs, float32 [n].

        Args:
            part: Users, items, and users' histories; labels are not read.
            head: Head that scores; the primary one by default.
            chunk: Pairs per chunk; fewer if histories are read.
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
        """Score pairs in time order, each after `follow` of every earlier outcome, float32 [n].

        Rates, biases' statistics and histories follow; weights stay as trained.

        Args:
            part: Pairs with labels and times, in any order.
            learned: Interactions that were trained on.
            head: Head that scores; the primary one by default.
        """
        follower = self.sharing(signals=own_signals(self))
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
        """Return scores of some pairs; called inside `scoring`."""
        batch = replace(Batch.of(part, rows, self.device, self.plan.history_length), label=None)
        outputs, _ = self.outputs(batch)
        scores = next(iter(outputs.values())) if head is None else outputs[head]
        return scores.scores.float().cpu().numpy()

    @contextlib.contextmanager
    def ranking(self, part: Interactions, num_items: int, head: str | None = None) -> Iterator[ChunkScores]:
        """Score a part's users for the whole catalogue inside the block, some rows at a time.

        Args:
            part: Users and their histories.
            num_items: Rows of an item table.
            head: Head that scores; the primary one by default.
        """
        items = torch.arange(1, num_items, device=self.device)
        with self.scoring(self.plan.keys(part, num_items)):
            catalogue = CatalogueScores(self, items, self.texts.items(items) if self.plan.item else None)

            def scores(rows: NDArray[np.int64]) -> Tensor:
                batch = Batch.of(part, rows, self.device, self.plan.history_length)
                return catalogue.scores(self.texts.filled(batch, own_items=False), head)

            yield scores

    @torch.no_grad()
    def report(self) -> dict[str, Any]:
        """Return plain figures of the trained parts: weights of signals, of positions, of relations."""
        found = {name: figures for name, signal in self.signals.items() if (figures := signal.report())}
        weights = self.fusion.report()
        return {**({"fusion": weights} if weights else {}), **found}

    def fold(self) -> None:
        """Replace what depends on training interactions by plain tables, in every signal."""
        with self.scoring(None if self.plan.prompt is None else np.arange(self.plan.prompt)):  # `fold` reads no prompts
            for signal in self.signals.values():
                signal.fold()

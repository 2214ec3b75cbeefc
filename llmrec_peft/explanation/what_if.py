"""WhatIf: a run's scores of pairs without some history items, words, signals or paths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from llmrec_peft.artifact.seen import Seen
from llmrec_peft.backbone.encoded_rows import EncodedRows
from llmrec_peft.data.histories import Histories
from llmrec_peft.errors import InputError
from llmrec_peft.explanation.pieces import Pair, Variant, mask_of
from llmrec_peft.explanation.terms import Terms, terms_of
from llmrec_peft.explanation.words import WordedText, worded
from llmrec_peft.model import RecModel
from llmrec_peft.model.learning_parts import own_signals
from llmrec_peft.model.parts import Parts
from llmrec_peft.run.stored_texts import StoredTexts
from llmrec_peft.run.tenant import LoadedTenant, Tenant

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from llmrec_peft.data.batches import Batch
    from llmrec_peft.data.interactions import Interactions
    from llmrec_peft.run.recommender import Recommender
    from llmrec_peft.signals.parts.paths import Contributions, Path

CHUNK = 1024
"""Variants per chunk."""
TOLERANCE = 2e-3
"""Largest difference of a score from restored histories that still counts as the score of the folded tables."""
CHECKED, FEW = 512, 16
"""Pairs on which this is checked; the smaller number if each takes a pass of the language model."""


@runtime_checkable
class Connects(Protocol):
    """A signal that knows the neighbours of items, such as a knowledge graph."""

    def contributions(self, batch: Batch) -> Contributions:
        """Return what each neighbour adds to the batch's items."""

    def neighbours_of(self, item: int) -> list[tuple[int, int]]:
        """Return (relation, entity) indices around an item."""

    def paths(self, item: int, others: list[int]) -> list[Path]:
        """Return the paths between an item and others."""

    def names(self) -> dict[str, list[str]]:
        """Return the names of relations and entities."""


class WhatIf:
    """Scores variants of pairs; all pieces of a variant are left out together and the score is computed again.

    Attributes:
        recommender: The run.
        model: Its model; with interactions restored in place of folded tables if they were given.
        remembers: Whether they were given.
        learned: Training interactions of each user index, if they are restored.
        encoded: Vectors of the texts that were encoded so far, by view: ``item`` (whole or without words), ``user`` and
            ``prompt``.
    """

    def __init__(
        self, recommender: Recommender, learned: Interactions | None = None, tenant: Tenant | None = None
    ) -> None:
        """Restore interactions in place of folded tables, if the scores stay the same.

        Args:
            recommender: The runs in memory.
            learned: Interactions that the run was trained on; None if they were not passed on.
            tenant: The run; by default the one that answers.
        """
        self.recommender = recommender
        self._tenant = recommender.tenant if tenant is None else tenant
        self.model = self._tenant.model
        self.remembers = False
        users = self.tenant.vocabulary.num_users
        self.learned = Histories.empty(users)
        self._worded: dict[int, WordedText] = {}
        self.encoded = {view: EncodedRows() for view in ("item", "user", "prompt")}
        if learned is None or not len(learned):
            return
        folded = self.model
        self.model = _remembering(folded, learned)
        if self._gives_what(folded):
            known = Seen(learned.user, learned.item, learned.label)
            self.remembers, self.learned = True, known.by_user(users)
        else:
            self.model = folded

    @property
    def tenant(self) -> Tenant:
        """The run that answered when the explanations began, with the items added to it since."""
        return self.recommender.latest(self._tenant)

    @property
    def reads_histories(self) -> bool:
        """Whether the model reads a user's history entry by entry."""
        return self.model.plan.history_length is not None

    @property
    def encodes_examples(self) -> bool:
        """Whether every score takes a pass of the language model over a text of the example's own."""
        plan = self.model.plan
        return plan.prompt is not None or (plan.user is not None and plan.user_by_example)

    @property
    def connecting(self) -> dict[str, Connects]:
        """Signals that know the neighbours of items, by name."""
        return {name: signal for name, signal in self.model.signals.items() if isinstance(signal, Connects)}

    def scores(self, variants: Sequence[Variant], anew: bool = False) -> NDArray[np.float64]:
        """Return raw scores of variants, float64 [n].

        Args:
            variants: Pairs, and the pieces that each leaves out.
            anew: Encode every item's text here instead of using the vectors that the run stored, so that a text
                without a word is compared with the whole text encoded on the same machine. Each distinct text is
                encoded once, whatever the pair or the call.
        """
        anew = anew or any(variant.keys("word") for variant in variants)
        scores = []
        for at in range(0, len(variants), CHUNK):
            some = variants[at : at + CHUNK]
            with torch.no_grad():
                batch = self._batch(some, anew)
                scores.append(self.model.raw(batch, self._parts(batch, some)).double().cpu().numpy())
        return np.concatenate(scores) if scores else np.empty(0)

    def terms(self, pair: Pair) -> Terms:
        """Return the score of one pair as terms."""
        with torch.no_grad():
            batch = self._batch([Variant(pair)], False)
            return terms_of(self.model, batch, self.model.parts(batch))

    def raw_of_texts(self, pair: Pair, vectors: Tensor) -> Tensor:
        """Return raw scores of a pair for several vectors of its item's text, [n]; differentiable.

        Args:
            pair: The pair.
            vectors: float32 [n, width].
        """
        batch = self._batch([Variant(pair)] * len(vectors), False).with_vectors(item=vectors)
        return self.model.raw(batch)

    def worded(self, row: int) -> WordedText:
        """Return the words of an item's text; none for an item whose text the run does not have."""
        if row not in self._worded:
            index = int(self.tenant.catalogue.table_index[row])
            tenant = self.tenant
            if index == 0 or not isinstance(tenant, LoadedTenant):
                return WordedText((), (), ())
            with tenant.base.inside(tenant.adapter) as (backbone, _):
                recipe = self.tenant.recipe
                reader = backbone.reads(recipe.backbone)
                length, prompt = reader.length(recipe.views.item.max_length), reader.prompts["item"]
                self._worded[row] = worded(self.tenant.items.texts[index - 1], backbone, length, prompt)
        return self._worded[row]

    def _batch(self, variants: Sequence[Variant], anew: bool) -> Batch:
        user = np.fromiter((variant.pair.user for variant in variants), np.int64, len(variants))
        rows = np.fromiter((variant.pair.row for variant in variants), np.int64, len(variants))
        histories = self._histories(variants) if self.reads_histories else None
        tenant = self.tenant  # knows items added since
        model = tenant.model
        if self.encodes_examples and isinstance(model.texts, StoredTexts):
            model = model.sharing(texts=model.texts.storing(self.encoded))
        batch = model.with_texts(tenant.batch(user, rows, histories))
        if anew and "item" in batch.vectors:
            batch = batch.with_vectors(item=self._texts(variants).to(batch.user.device))
        if self.remembers:
            self._leave_out(batch, variants)
        return batch

    def _histories(self, variants: Sequence[Variant]) -> Histories:
        """Return users' histories without the entries that each variant leaves out."""
        seen = self.tenant.seen
        kept = []
        for variant in variants:
            at = np.arange(seen.begin[variant.pair.user], seen.end[variant.pair.user])
            gone = variant.keys("history")
            kept.append(at[~np.isin(seen.item[at], list(gone))] if gone else at)
        lengths = np.array([len(at) for at in kept], np.int64)
        end = np.cumsum(lengths)
        at = np.concatenate(kept)
        time = None if seen.time is None else seen.time[at]
        return Histories(seen.item[at], seen.label[at], end - lengths, end, time)

    def _leave_out(self, batch: Batch, variants: Sequence[Variant]) -> None:
        """Set in the batch which entries of each user's history the remembering signals treat as unseen."""
        gone = []
        for variant in variants:
            item, label = self.learned.of(variant.pair.user)
            taken = np.isin(item, list(variant.keys("history")))
            gone.append((item[taken], label[taken]))
        width = max((len(item) for item, _ in gone), default=0)
        if width == 0:
            return
        items, labels = np.zeros((len(gone), width), np.int64), np.zeros((len(gone), width), np.float32)
        for at, (item, label) in enumerate(gone):
            items[at, : len(item)], labels[at, : len(item)] = item, label
        device = batch.item.device
        batch.left_out = torch.from_numpy(items).to(device)
        batch.left_out_label = torch.from_numpy(labels).to(device)

    def _texts(self, variants: Sequence[Variant]) -> Tensor:
        """Return vectors of the items' texts, encoded here, each without the words that its variant leaves out."""
        rows = [self.worded(variant.pair.row).without(variant.keys("word")) for variant in variants]
        tenant = self.tenant
        if not isinstance(tenant, LoadedTenant):
            raise InputError("words are left out of texts by a run that was loaded from a folder")
        with tenant.base.inside(tenant.adapter) as (backbone, encoder):
            rows = [row or [backbone.pad_id] for row in rows]  # a text of one word, without it
            return self.encoded["item"].vectors(rows, encoder.encode, backbone.pad_id)

    def _parts(self, batch: Batch, variants: Sequence[Variant]) -> Parts:
        parts = self.model.parts(batch)
        if any(variant.keys("path") for variant in variants):
            for name, signal in self.connecting.items():
                parts = _without_neighbours(parts, name, signal, batch, variants)
        masks = self._masks(variants, batch.item.device)
        return parts.kept(masks) if masks else parts

    def _masks(self, variants: Sequence[Variant], device: torch.device) -> Mapping[str, Tensor]:
        """Return masks, 1 where a signal stays, for each signal that any variant leaves out."""
        gone = [variant.keys("signal") for variant in variants]
        return {
            name: torch.tensor([float(name not in names) for names in gone], device=device)
            for name in sorted(set().union(*gone))
        }

    def _gives_what(self, folded: RecModel) -> bool:
        """Return whether restored histories give the scores of the folded tables."""
        rng = np.random.default_rng(0)
        users, rows = self.tenant.vocabulary.num_users, len(self.tenant.catalogue.ids)
        if users == 1 or rows == 0:
            return False
        count = FEW if self.encodes_examples else CHECKED
        drawn = zip(rng.integers(1, users, count).tolist(), rng.integers(0, rows, count).tolist(), strict=True)
        with torch.no_grad():
            batch = self._batch([Variant(Pair(user, row)) for user, row in drawn], False)
            before, after = (model.raw(batch) for model in (folded, self.model))
        return float((before - after).abs().max()) <= TOLERANCE


def _remembering(model: RecModel, learned: Interactions) -> RecModel:
    """Return the same model with signals of its own that store interactions instead of folded tables."""
    signals = own_signals(model)
    for signal in signals.values():
        signal.remember(learned)
    return model.sharing(signals=signals)


def _without_neighbours(parts: Parts, name: str, signal: Connects, batch: Batch, variants: Sequence[Variant]) -> Parts:
    """Subtract the terms of some neighbours from a signal's item vectors and offsets; others stay unchanged."""
    added = signal.contributions(batch)
    places = added.entity.shape[1]
    masks = np.stack([mask_of(name, variant.keys("path"), places) for variant in variants])
    gone = torch.from_numpy(masks).to(added.entity.device)
    vector, offset = parts.items[name], parts.offsets[name]
    if vector is not None and added.vector is not None:
        vector = vector - (gone.unsqueeze(-1) * added.vector).sum(1)
    if offset is not None:
        offset = offset - (gone * added.offset).sum(1)
    return parts.with_item(name, vector, offset)

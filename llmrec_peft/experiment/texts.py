"""Texts: the language model over one dataset's texts, untuned and with a fresh adapter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmrec_peft import registry
from llmrec_peft.backbone.adapter import AdapterMethod
from llmrec_peft.backbone.encoded_texts import EncodedTexts
from llmrec_peft.backbone.encoder import Reading
from llmrec_peft.backbone.load import Backbone
from llmrec_peft.backbone.row_pool import RowPool
from llmrec_peft.backbone.shared import SharedBase
from llmrec_peft.backbone.tokenizer import unknown_id
from llmrec_peft.backbone.vector_table import VectorTable
from llmrec_peft.data.prompts import Written
from llmrec_peft.data.tokens import TokenTable
from llmrec_peft.errors import InputError, NotFiniteError
from llmrec_peft.experiment.alike import most_alike
from llmrec_peft.experiment.prepare import Prepared
from llmrec_peft.model import TextPlan, plan_texts
from llmrec_peft.model.prompting import Prompting, prompt_reading
from llmrec_peft.model.text_source import EncodedSource
from llmrec_peft.progress import SILENT, Progress
from llmrec_peft.recipe import Recipe

MANY_UNKNOWN = 0.1
"""Share of unknown tokens from which on a run notes them."""


class Texts:
    """The language model over one dataset: untuned vectors once, an adapter attached when first asked for.

    Attributes:
        backbone: Frozen model.
        plan: Where each kind of texts starts among the keys.
        tokens: Token rows of all keys.
        untuned: Vectors of all keys from the untuned model, each distinct text's once, [keys, width].
        reader: How texts become tokens and states become vectors.
        notes: What it took to fit the texts, one line each.
        method: Adapter method, once an encoder with an adapter was asked for.
    """

    def __init__(
        self,
        backbone: Backbone,
        prepared: Prepared,
        recipe: Recipe,
        folder: Path | None = None,
        progress: Progress = SILENT,
        shared: SharedBase | None = None,
    ) -> None:
        """Tokenize all texts and encode them with the untuned model.

        Args:
            backbone: Frozen model.
            prepared: Texts of items, and what users' texts and prompts are made of.
            recipe: Pooling, lengths, adapter method.
            folder: Where vectors are stored if they are many, see `llmrec_peft.backbone.vector_table.room`.
            progress: Where the encoding is shown.
            shared: What other trainings of the process computed with the same base.

        Raises:
            InputError: When a prompt cannot be made to fit, or a text's vector is not finite.
        """
        self.backbone = backbone
        self._recipe = recipe
        self._folder = folder
        self.notes: list[str] = []
        vocabulary = prepared.vocabulary
        self._sizes = (vocabulary.num_items, vocabulary.num_users, len(prepared.interactions))
        self.plan = plan_texts(recipe, *self._sizes)
        self.reader = backbone.reads(recipe.backbone)
        self.notes += self.reader.notes_on(recipe.views, self.plan.user is not None, self.plan.prompt is not None)
        self._further: list[Reading] = []
        self.tokens = self._tokenized(prepared)
        frozen = list(backbone.model.modules())
        self._frozen = frozen
        lowest = registry.get("adapters", recipe.adapter.method)(recipe.adapter.config).lowest_layer(backbone)
        self._shared = shared
        self._plain = self._encoded(backbone.model, lowest, None if shared is None else shared.vectors)
        self._by_lowest = {lowest: self._plain}
        states = None if shared is None else shared.states(lowest)
        # first: the untuned vectors then cost only what is above it
        self._plain.store_trunk(recipe.training.trunk_mb, states)
        with self._plain.fixed(progress=progress) as vectors:
            self.untuned: VectorTable = vectors
        self._require_finite(prepared)
        self.method: AdapterMethod[Any] | None = None
        self._tuned: EncodedTexts | None = None
        self._start: dict[str, Tensor] = {}
        self._begin: Mapping[str, Tensor] | None = None

    def begin_with(self, parameters: Mapping[str, Tensor]) -> None:
        """Let the recipe's adapter begin with these parameters instead of fresh ones.

        Args:
            parameters: Result of `llmrec_peft.experiment.starting.beginning`.
        """
        self._begin = parameters

    def frozen(self, texts: Sequence[str], length: int) -> Tensor:
        """Encode other texts with the untuned model, before an adapter is attached, float32 [n, width]."""
        tokens = self.reader.tokenized(texts, length)
        encoder = self.reader.encoder(self.backbone.model, self._frozen)
        with EncodedTexts(encoder, tokens).fixed() as vectors:
            return vectors.part(0, len(texts))

    def _require_finite(self, prepared: Prepared) -> None:
        """Refuse vectors that are not finite: the base overflows on a text, or its weights are broken."""
        wrong = self.untuned.not_finite()
        if len(wrong):
            key, plan = int(wrong[0]), self.plan
            if plan.prompt is not None and key >= plan.prompt:
                which = f"prompt {key - plan.prompt + 1}"
            elif plan.user is not None and key >= plan.user:
                which = f"user text {key - plan.user + 1}"
            else:
                which = f"item {prepared.vocabulary.items[key - 1]!r}" if key else "the empty text"
            raise NotFiniteError(
                f"backbone {self._recipe.backbone.name}: vectors of {len(wrong)} of {len(self.untuned)} texts are not"
                f" finite, first that of {which}: look at the base's weights, or try backbone.precision=fp32"
            )

    def plan_for(self, recipe: Recipe) -> TextPlan:
        """What a variant of the recipe reads, at the keys where these texts lie."""
        plan = plan_texts(recipe, *self._sizes)
        return replace(
            plan,
            user=None if plan.user is None else self.plan.user,
            prompt=None if plan.prompt is None else self.plan.prompt,
        )

    def _tokenized(self, prepared: Prepared) -> TokenTable:
        view, backbone, plan = self._recipe.views.item, self.backbone, self.plan
        tables = [self._table(prepared.texts, view.max_length)]
        cut = self.reader.count_cut(prepared.texts, tables[0], view.max_length)
        if cut:
            length = self.reader.length(view.max_length)
            limit = "views.item.max_length" if length == view.max_length else "all that the model was made for"
            self.notes.append(
                f"{cut:,} of {len(prepared.texts) - 1:,} item texts are longer than {length} tokens ({limit}) and were"
                " cut"
            )
        self._note_unknown(tables[0])
        prompting = Prompting.of(self._recipe, backbone)
        interactions = prepared.interactions
        if plan.user is not None:
            assert prompting.user is not None  # noqa: S101 - the plan has users' texts
            self._further.append(self.reader.reading("user"))
            if plan.user_by_example:
                of_users = [prepared.user_rows[user] for user in interactions.user]
                written = prompting.user.of_examples(of_users, None, interactions.history, prepared.item_rows)
                self._note(written, "users' texts")
            else:
                written = prompting.user.of_users(prepared.user_rows)
                self._note(written, "users' texts")
            tables.append(prompting.user.tokenized(written.texts))
        if plan.prompt is not None:
            assert prompting.prompt is not None  # noqa: S101 - the plan has prompts
            self._further.append(prompt_reading(self._recipe, backbone))
            of_users = [prepared.user_rows[user] for user in interactions.user]
            of_items = [prepared.item_rows[item] for item in interactions.item]
            written = prompting.prompt.of_examples(of_users, of_items, interactions.history, prepared.item_rows)
            self._note(written, "prompts")
            tables.append(prompting.prompt.tokenized(written.texts))
        whole = TokenTable.joined(tables)
        return whole.with_variants([self._table(wording, view.max_length) for wording in prepared.wordings])

    def _table(self, texts: Sequence[str], length: int) -> TokenTable:
        return self.reader.tokenized(texts, length)

    def _note_unknown(self, table: TokenTable) -> None:
        """Say so where the vocabulary lacks much of what the items' texts say, as of a script it was not made for."""
        unknown = unknown_id(self.backbone.tokenizer)
        share = float((table.ids == unknown).mean()) if unknown is not None and len(table.ids) else 0.0
        if share > MANY_UNKNOWN:
            self.notes.append(
                f"{share:.0%} of the tokens of items' texts stand for what the vocabulary of"
                f" {self._recipe.backbone.name} lacks: take a base model that was trained on texts in this script"
            )

    def _note(self, written: Written, what: str) -> None:
        if written.shortened:
            self.notes.append(
                f"{written.shortened} {what} were too long: {written.dropped} of the oldest history entries were left"
                " out"
            )
        if written.cut:
            self.notes.append(
                f"{written.cut} {what} were too long without a history: the longest text of item or user was cut"
            )

    def _encoded(self, model: torch.nn.Module, lowest: int | None, pool: RowPool | None = None) -> EncodedTexts:
        augment = self._recipe.training.augment
        encoder = self.reader.encoder(model, self._frozen, self._further, word_dropout=augment.word_dropout)
        return EncodedTexts(encoder, self.tokens, lowest, self._folder, pool)

    def source(self, recipe: Recipe) -> EncodedSource:
        """Where a fresh model of a variant finds its texts' vectors: an encoder, or the untuned vectors themselves."""
        plan = self.plan_for(recipe)
        if not recipe.reads.language_model:
            return EncodedSource(plan)
        encoded = self.encoded(recipe)
        return EncodedSource(plan, encoded, self.untuned if encoded is None else None)

    def encoded(self, recipe: Recipe) -> EncodedTexts | None:
        """All texts with the encoder of a variant, its adapter fresh; None where `untuned` says all."""
        name = recipe.adapter.method
        method: AdapterMethod[Any] = registry.get("adapters", name)(recipe.adapter.config)
        lowest = method.lowest_layer(self.backbone)
        if lowest is None:
            if not recipe.reads.inserts_tokens:
                return None
            if self._tuned is not None:  # an earlier variant's adapter lies inside the model that is read here
                self.backbone.detach()
                self._tuned = self.method = None
            return self._plain  # vectors put into a prompt change what is read of it
        if recipe.adapter != self._recipe.adapter:
            raise ValueError(f"these texts are tuned by {self._recipe.adapter}, not by {recipe.adapter}")
        if self._tuned is None:
            torch.manual_seed(recipe.seed)
            if recipe.training.gradient_checkpointing:
                self.backbone.enable_gradient_checkpointing()
            tuned = self._encoded(self._attached(method), lowest)
            tuned.encoder.to(self.backbone.device)
            tuned.encoder.eval()
            tuned.share_trunk(self._plain)
            shared = self._shared
            if shared is not None and shared.mixed is not None and shared.bare is not None:
                shared.mixed.take(tuned.encoder, self.backbone.model, shared.bare)
                tuned.mixed = shared.mixed
            self.method, self._tuned = method, tuned
            self._start = {n: p.detach().clone() for n, p in tuned.encoder.named_parameters() if p.requires_grad}
        method.reset(self._tuned.encoder.model)
        with torch.no_grad():
            for parameter_name, parameter in self._tuned.encoder.named_parameters():
                if parameter.requires_grad:
                    parameter.copy_(self._start[parameter_name])
        self._tuned.remember(self.untuned if recipe.training.other_texts == "stored" else None)
        return self._tuned

    def _attached(self, method: AdapterMethod[Any]) -> torch.nn.Module:
        """Attach a fresh adapter, filled with what it is to begin with.

        Raises:
            InputError: If that does not fit.
        """
        model = method.attach(self.backbone)
        if self._begin is not None:
            own = {name: one for name, one in model.named_parameters() if one.requires_grad}
            if {name: one.shape for name, one in own.items()} != {name: t.shape for name, t in self._begin.items()}:
                self.backbone.detach()
                raise InputError(
                    f"--start-from: a {self._recipe.adapter.method} adapter with these options is trained in another"
                    " form than it is saved in, so it cannot begin with a saved one"
                )
            with torch.no_grad():
                for name, parameter in own.items():
                    parameter.copy_(self._begin[name])
        return model

    def tuned_by(self, recipe: Recipe) -> Texts:
        """Return the same tokens and untuned vectors for a recipe with another adapter; what was attached is removed.

        Args:
            recipe: Differs from the recipe of these texts in its adapter and in how it is trained.
        """
        self.backbone.detach()
        other = copy(self)
        other._recipe, other.method, other._tuned, other._start, other._begin = recipe, None, None, {}, None
        lowest = registry.get("adapters", recipe.adapter.method)(recipe.adapter.config).lowest_layer(self.backbone)
        if lowest not in self._by_lowest:
            self._by_lowest[lowest] = self._encoded(self.backbone.model, lowest)
            self._by_lowest[lowest].store_trunk(recipe.training.trunk_mb)
        other._plain = self._by_lowest[lowest]
        return other

    @cached_property
    def items(self) -> Tensor:
        """Untuned vectors of all item indices, float32 [num_items, width]."""
        return self.untuned.part(0, self._sizes[0])

    @cached_property
    def users(self) -> Tensor | None:
        """Untuned vectors of users' or examples' texts, where there are such."""
        if self.plan.user is None:
            return None
        count = self._sizes[2] if self.plan.user_by_example else self._sizes[1]
        return self.untuned.part(self.plan.user, self.plan.user + count)

    def alike(self) -> NDArray[np.int64]:
        """Items whose untuned texts are most like each item's, see `most_alike`, int64 [num_items, count]."""
        return most_alike(self.items)

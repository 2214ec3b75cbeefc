"""TunedModel: encodes a run's texts by the shared base with the run's adapter attached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from llmrec_peft.artifact.tables import ItemTable
from llmrec_peft.backbone.encoded_texts import EncodedTexts
from llmrec_peft.backbone.vector_table import rows_not_finite
from llmrec_peft.data.histories import Histories
from llmrec_peft.errors import InputError
from llmrec_peft.model.prompting import Prompting, prompt_reading
from llmrec_peft.recipe import Recipe

if TYPE_CHECKING:
    from llmrec_peft.backbone.encoded_rows import EncodedRows
    from llmrec_peft.run.language_model import LanguageModel, TenantAdapter

Row = Mapping[str, Any]


class TunedModel:
    """Encodes texts of items, users and prompts in the same way as training."""

    def __init__(
        self, recipe: Recipe, items: ItemTable, users: Sequence[Row], base: LanguageModel, adapter: TenantAdapter
    ) -> None:
        """Set what the texts are made of.

        Args:
            recipe: Resolved recipe of the run.
            items: Items of the run, with their columns if prompts name them.
            users: The owner's columns of each user index, if prompts name them.
            base: Frozen base, shared with other runs; it is loaded when the first text comes.
            adapter: The run's adapter.
        """
        self._recipe = recipe
        self._items = items
        self._users = users
        self.base = base
        self.adapter = adapter

    def encode_items(self, texts: Sequence[str]) -> Tensor:
        """Return vectors of items' texts, float32 [len(texts), width]."""
        return self.read_items(texts)[0]

    def read_items(self, texts: Sequence[str]) -> tuple[Tensor, int]:
        """Return vectors of items' texts, float32 [len(texts), width], and how many texts were too long and cut."""
        length = self._recipe.views.item.max_length
        with self.base.inside(self.adapter) as (backbone, encoder), torch.no_grad():
            reader = backbone.reads(self._recipe.backbone)
            tokens = reader.tokenized(texts, length)
            encoded = EncodedTexts(encoder, tokens)
            with encoded.fixed() as vectors:
                finite_vectors(vectors.stored)
            cut = reader.count_cut(texts, tokens, length)
        return vectors.part(0, len(texts)), cut

    def encode_examples(
        self,
        view: str,
        users: Sequence[int],
        keys: Sequence[int],
        histories: Histories,
        inserted: Tensor | None,
        added: Sequence[Row] = (),
        stored: EncodedRows | None = None,
    ) -> Tensor:
        """Return vectors of examples' texts, float32 [n, width].

        Args:
            view: ``user`` or ``prompt``.
            users: User indices, [n].
            keys: Keys of the items: indices, followed by those of items added since, [n].
            histories: Each user's history.
            inserted: Vectors to be inserted into each text, float32 [n, k, hidden].
            added: Columns of the items added since.
            stored: Vectors of this view's texts that were encoded before, to which new ones are added.

        Raises:
            InputError: If the recipe has no such view.
        """
        recipe = self._recipe
        with self.base.inside(self.adapter) as (backbone, encoder), torch.no_grad():
            prompting = Prompting.of(recipe, backbone)
            writer = prompting.user if view == "user" else prompting.prompt
            if writer is None:
                raise InputError(f"the run's recipe has no view of {view}s (views.{view})")
            own = {user: self._users[user] for user in set(users) if user < len(self._users)}
            of_users = [own.get(user, {}) for user in users]
            told = set(histories.item.tolist())
            of_items = None
            if view != "user":
                told.update(keys)
            columns, count = self._items.columns, len(self._items.columns) + 1
            known = {at: columns[at - 1] if at else {} for at in told if at < count}  # each is parsed once
            if view != "user":
                of_items = [known[key] if key < count else added[key - count] for key in keys]
            tokens = writer.tokenized(writer.of_examples(of_users, of_items, histories, known).texts)
            reading = prompt_reading(recipe, backbone)
            if view == "user":
                reading = backbone.reads(recipe.backbone).reading(view)
            if stored is None or inserted is not None:
                return finite_vectors(encoder.encode_as(tokens, reading, inserted))
            vectors = stored.vectors(
                tokens.distinct_rows(), lambda new: encoder.encode_as(new, reading), backbone.pad_id
            )
            return finite_vectors(vectors[torch.as_tensor(tokens.row_of, device=vectors.device)])


def finite_vectors(vectors: Tensor) -> Tensor:
    """Return vectors of texts, or refuse them.

    Raises:
        InputError: If one is not finite, as those of an adapter with too large numbers are.
    """
    if len(rows_not_finite(vectors)):
        raise InputError("the vector of a text is not finite: numbers of the run's adapter or base are too large")
    return vectors

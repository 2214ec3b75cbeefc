"""Contexts: what heads and signals may read when they are built, for training and for loading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from llmrec_peft.heads.contract import HeadContext
from llmrec_peft.signals.contract import SignalContext

if TYPE_CHECKING:
    from torch import Tensor

    from llmrec_peft.data.graph import Neighbours
    from llmrec_peft.data.interactions import Interactions
    from llmrec_peft.data.links import Links
    from llmrec_peft.recipe import Recipe

Columns = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class DataFacts:
    """Facts about the data for a model that is built to be trained.

    Attributes:
        num_users: Rows of a user table; row 0 is for unknown users.
        num_items: Rows of an item table; row 0 is for unknown items.
        label_range: Lowest and highest label of the owner's scale.
        users: Columns that describe users, in vocabulary order from index 1.
        items: Columns that describe items, in vocabulary order from index 1.
        neighbours: Knowledge graph around the items, if any.
        learned_by_run: Number of interactions that the run's final model learns from; None if it is not known.
        links: Who is connected with whom among the users, where the recipe reads it.
    """

    num_users: int
    num_items: int
    label_range: tuple[float, float]
    users: Columns
    items: Columns
    neighbours: Neighbours | None = None
    learned_by_run: int | None = None
    links: Links | None = None


@dataclass(frozen=True)
class LanguageFacts:
    """Facts about the language model and its texts for a model that is built to be trained.

    Attributes:
        item_vectors: Untuned vectors of all items' texts, float32 [num_items, width].
        user_vectors: Untuned vectors of users' or examples' texts, float32 [rows, width]; None if none are read.
        hidden: Width of its token embeddings; None if no vectors are inserted into prompts.
        token_norm: Mean norm of those embeddings; None if it is not known.
        prompt_width: Width of prompt vectors; None if no prompt is read.
        decodes: Whether prompts are read by a decoder.
        yes_no: Rows of its output embedding for "Yes" and "No" or the like, float32 [2, prompt_width]; None unless a
            decoder reads prompts.
    """

    item_vectors: Tensor
    user_vectors: Tensor | None = None
    hidden: int | None = None
    token_norm: float | None = None
    prompt_width: int | None = None
    decodes: bool = False
    yes_no: Tensor | None = None


class Contexts(NamedTuple):
    """Contexts of one model's heads and of its signals."""

    head: HeadContext
    signal: SignalContext


def training_contexts(recipe: Recipe, data: DataFacts, train: Interactions, language: LanguageFacts | None) -> Contexts:
    """Make the contexts of a model that is built to be trained.

    Args:
        recipe: The variant that is trained.
        data: Facts about the data.
        train: Interactions that are trained on.
        language: Facts about the language model; None if no text is read.
    """
    head = HeadContext(
        dim=recipe.fusion.dim,
        label_mean=float(train.label.mean()),
        label_range=(float(data.label_range[0]), float(data.label_range[1])),  # an owner's whole stars are saved so too
        text_width=None if language is None else language.prompt_width,
        decodes=language is not None and language.decodes,
        yes_no=None if language is None else language.yes_no,
        labels=train.label,
    )
    signal = SignalContext(
        num_users=data.num_users,
        num_items=data.num_items,
        dim=recipe.fusion.dim,
        train=train,
        text=None if language is None else language.item_vectors,
        neighbours=data.neighbours,
        task=str(recipe.reads.primary.task),
        listwise=recipe.reads.listwise,
        users=data.users,
        items=data.items,
        hidden=None if language is None else language.hidden,
        token_norm=None if language is None else language.token_norm,
        history_length=recipe.data.history_length,
        user_text=None if language is None else language.user_vectors,
        seed=recipe.seed,
        learned_by_run=data.learned_by_run,
        links=data.links,
    )
    return Contexts(head, signal)


def loading_contexts(recipe: Recipe, num_users: int, num_items: int) -> Contexts:
    """Make the contexts of a model that is built to be filled with saved tensors.

    Args:
        recipe: Resolved recipe of the run.
        num_users: Rows of a user table.
        num_items: Rows of an item table.
    """
    signal = SignalContext(
        num_users=num_users,
        num_items=num_items,
        dim=recipe.fusion.dim,
        train=None,
        text=None,
        neighbours=None,
        task=str(recipe.reads.primary.task),
        listwise=recipe.reads.listwise,
        history_length=recipe.data.history_length,
    )
    return Contexts(empty_head_context(recipe), signal)


def empty_head_context(recipe: Recipe) -> HeadContext:
    """Make the context of a head that reads no labels when it is built."""
    return HeadContext(dim=recipe.fusion.dim, label_mean=0.0, label_range=(0.0, 0.0))

"""Contract of a signal: vectors of users and items, and what it adds to a score by itself."""

from __future__ import annotations

import functools
import operator
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from llmrec_peft.data.batches import Batch
from llmrec_peft.data.graph import Neighbours
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.options import Options

if TYPE_CHECKING:
    from torch import Tensor, nn

C = TypeVar("C", bound=Options)


@dataclass(frozen=True)
class SignalContext:
    """What a signal may know when it is built.

    Attributes:
        num_users: Rows of a user table; row 0 is for unknown users.
        num_items: Rows of an item table; row 0 is for unknown items.
        dim: Width of the vectors that signals hand over.
        train: Interactions that are trained on; None when a trained signal is built to be loaded.
        text: Vectors of all items' texts from the untuned model, float32 [num_items, width].
        neighbours: Knowledge graph around the items, if any.
        saved: Tensors of the trained signal where it is built to be loaded: they tell the tables' sizes.
        names: What the trained signal's `names` gave where it is built to be loaded.
        task: What is learnt: ``rating``, ``click`` or ``ranking``.
        listwise: Whether any head asks for candidates by themselves, see `Signal`.
        users: Columns that describe users, in vocabulary order from index 1; None when loading.
        items: Columns that describe items, in vocabulary order from index 1; None when loading.
        hidden: Width of the language model's token embeddings; None where the recipe does not use it.
        token_norm: Mean length of those embeddings; None where it is not known.
        history_length: Entries of a history that a batch carries at most.
        user_text: Vectors of users' or examples' texts from the untuned model, float32 [rows, width].
        seed: Seed of the run, for what a signal computes before training.
    """

    num_users: int
    num_items: int
    dim: int
    train: Interactions | None
    text: Tensor | None
    neighbours: Neighbours | None
    saved: Mapping[str, Tensor] | None = None
    names: Mapping[str, Sequence[str]] | None = None
    task: str = "rating"
    listwise: bool = False
    users: Mapping[str, Sequence[Any]] | None = None
    items: Mapping[str, Sequence[Any]] | None = None
    hidden: int | None = None
    token_norm: float | None = None
    history_length: int = 50
    user_text: Tensor | None = None
    seed: int = 0


class Signal(ABC, Generic[C]):
    """One source of knowledge about users and items.

    A signal is one file: its options, this class, and one entry-point line. `build` makes its trained
    parts; `user`, `item` and the offsets read them for a batch. Tables (`nn.Embedding`) are trained with the
    rate of embeddings, everything else with that of the head. Torch is imported inside functions.

    A score comes about in two ways that have to agree. Pairs ask for `user`, `item` and `offset`. Candidates that
    many users share ask for `user` and `user_offset` of each user, for `item` and `item_offset` of each candidate by
    itself (a batch whose users are all unknown (0), without labels and histories; they must not tell there who has
    interacted with which item), and for `cross` of both.
    """

    summary: ClassVar[str]
    """One line for `llmrec list`."""
    Config: ClassVar[type[Options]]
    """The signal's options."""
    reads_text: ClassVar[bool] = False
    """Whether vectors of items' texts have to be there (`Batch.vectors`)."""
    reads_user_text: ClassVar[bool] = False
    """Whether it reads vectors of users' texts, where the recipe has a view of users."""
    reads_graph: ClassVar[bool] = False
    """Whether it is of use only beside a knowledge graph."""
    reads_history: ClassVar[bool] = False
    """Whether `Batch.history` has to be there (and vectors of its texts, where the signal uses text)."""
    inserts_tokens: ClassVar[bool] = False
    """Whether `tokens` gives vectors to be put into the language model's prompt; such a signal is no part of the
    fusion: it gives no vectors of users and items, and no offsets."""
    tried_with: ClassVar[Mapping[str, Any]] = {}
    """Options under which the conformance suite tries it, where the defaults leave out what it needs."""

    def __init_subclass__(cls, **given: Any) -> None:
        """Refuse a signal whose offsets would count in pairs and be missing among candidates."""
        super().__init_subclass__(**given)
        terms = ("user_offset", "item_offset", "cross")
        if cls.offset is not Signal.offset and all(getattr(cls, name) is getattr(Signal, name) for name in terms):
            raise TypeError(
                f"{cls.__name__} has an offset of pairs alone: give user_offset, item_offset or cross instead"
            )

    def __init__(self, config: C) -> None:
        self.config = config
        self.parts: Any = None
        """The `nn.ModuleDict` that `build` made, set by who calls it; loosely typed, since parts differ."""

    @abstractmethod
    def build(self, context: SignalContext) -> nn.ModuleDict:
        """Make the parts that are trained."""

    def user(self, batch: Batch) -> Tensor | None:
        """Vectors of the batch's users, float32 [B, dim], or None."""
        return None

    def item(self, batch: Batch) -> Tensor | None:
        """Vectors of the batch's items, float32 [B, dim], or None."""
        return None

    def user_offset(self, batch: Batch) -> Tensor | None:
        """What the batch's users add to every score of theirs, whatever the item, float32 [B], or None."""
        return None

    def item_offset(self, batch: Batch) -> Tensor | None:
        """What the batch's items add to every score of theirs, whoever asks, float32 [B], or None."""
        return None

    def offset(self, batch: Batch) -> Tensor | None:
        """All that the signal adds to the scores of pairs beside the product of its vectors, float32 [B], or None.

        The sum of `item_offset`, `user_offset` and `cross`. A signal that computes pairs in another way overrides it
        and keeps the sum.
        """
        cross = self.cross(batch, batch.item[:, None])
        together = None if cross is None else cross.squeeze(1)
        terms = [t for t in (self.item_offset(batch), self.user_offset(batch), together) if t is not None]
        return functools.reduce(operator.add, terms) if terms else None

    def uses_text(self) -> bool:
        """Whether the texts that it could read have to be encoded for this choice of options."""
        return self.reads_text

    def without_text(self) -> C | None:
        """Options without any text, for the line that a language model has to beat; None if there are none."""
        return None if self.uses_text() or self.inserts_tokens or self.reads_user_text else self.config

    def refusal(self, users: Collection[str], items: Collection[str], reads_prompt: bool) -> str | None:
        """Why the signal cannot be of use in a run, in one line that begins with the field; None if it can.

        Asked once the data is read, before anything is loaded or trained.

        Args:
            users: Names of the columns that describe users.
            items: Names of the columns that describe items.
            reads_prompt: Whether any head reads history and candidate as one text.
        """
        return None

    def token_count(self) -> int:
        """Vectors that `tokens` puts into each prompt, which need as many places of the model's window."""
        return 0

    def tokens(self, batch: Batch) -> Tensor | None:
        """Vectors to be put into each example's prompt, float32 [B, k, hidden], or None."""
        return None

    def cross(self, batch: Batch, candidates: Tensor) -> Tensor | None:
        """What the signal adds for each example and candidate together, float32 [B, C], or None.

        For what no product of a user and an item vector can say, such as that a candidate stands in the
        example's own history. Asked for pairs with one candidate a row, and `Batch.candidates` None.

        Args:
            batch: Examples, with histories where the signal reads them.
            candidates: Item indices, int64 [B, C], or [1, C] where all examples share them.
        """
        return None

    def penalty(self, batch: Batch) -> Tensor | None:
        """A scalar added to the loss of a training step, or None."""
        return None

    def remember(self, train: Interactions) -> None:
        """Take interactions as what is known, in place of what `fold` left: who explains or follows needs them."""

    def follow(self, batch: Batch) -> None:
        """Take note of outcomes (`batch.label`) after `remember`: statistics and histories follow, weights stay."""

    def report(self) -> dict[str, Any]:
        """Plain figures of the trained signal for ``metrics.json``, such as learnt weights."""
        return {}

    def names(self) -> dict[str, list[str]]:
        """What the signal's numbers are called, list by list, such as relations and entities of a graph.

        Strings are no tensors: a run folder keeps them beside the signal's, and `SignalContext.names` gives them
        back. Nothing that is computed may depend on them.
        """
        return {}

    def fold(self) -> None:
        """Replace what depends on single training interactions by plain tables.

        Called once after training, so that a published artifact holds no interaction and needs none.
        """

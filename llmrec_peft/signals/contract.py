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
from llmrec_peft.data.links import Links
from llmrec_peft.options import Options

if TYPE_CHECKING:
    from torch import Tensor, nn

C = TypeVar("C", bound=Options)
T = TypeVar("T")


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
        saved: Tensors of the trained signal when it is built to be loaded; the sizes of its tables are read from them.
        names: What the trained signal's `names` returned, when it is built to be loaded.
        task: What is learnt: ``rating``, ``click`` or ``ranking``.
        listwise: Whether any head scores candidates that all examples share, see `Signal`.
        users: Columns that describe users, in vocabulary order from index 1; None when loading.
        items: Columns that describe items, in vocabulary order from index 1; None when loading.
        hidden: Width of the language model's token embeddings; None if the recipe does not use it.
        token_norm: Mean length of those embeddings; None if it is not known.
        history_length: Entries of a history that a batch carries at most.
        user_text: Vectors of users' or examples' texts from the untuned model, float32 [rows, width].
        seed: Seed of the run, for what a signal computes before training.
        learned_by_run: Number of interactions that the run's final model learns from; `train` has fewer of them while
            epochs are chosen. None if it is not known.
        links: Who is connected with whom among the users, if any signal of the recipe reads it; None when loading.
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
    learned_by_run: int | None = None
    links: Links | None = None

    @property
    def learned(self) -> Interactions:
        """Interactions that a new signal is trained on; an error for a signal that is built to be loaded."""
        return _given(self.train, "training interactions")

    @property
    def item_text(self) -> Tensor:
        """Vectors of items' texts, float32 [num_items, width]; an error if no signal of the recipe reads them."""
        return _given(self.text, "vectors of items' texts")

    @property
    def graph(self) -> Neighbours:
        """Knowledge graph around the items; an error if there is none."""
        return _given(self.neighbours, "knowledge graph")

    @property
    def user_links(self) -> Links:
        """Links between users; an error if there are none."""
        return _given(self.links, "links between users")


class Signal(ABC, Generic[C]):
    """One source of knowledge about users and items.

    A signal is one file: its options, this class, and one entry-point line. `build` makes its trained
    parts; `user`, `item` and the offsets read them for a batch. Tables (`nn.Embedding`) are trained with the
    rate of embeddings, everything else with that of the head. Torch is imported inside functions.

    A score is computed in two ways that have to agree. For pairs, `user`, `item` and `offset` are called. For
    candidates that many users share, `user` and `user_offset` are called for each user, `item` and `item_offset` for
    each candidate alone (in a batch whose users are all unknown (0), without labels and histories; the results must not
    depend there on who has interacted with which item), and `cross` for both together.
    """

    summary: ClassVar[str]
    """One line for `llmrec list`."""
    Config: ClassVar[type[Options]]
    """The signal's options."""
    reads_text: ClassVar[bool] = False
    """Whether it needs vectors of items' texts (`Batch.vectors`)."""
    reads_user_text: ClassVar[bool] = False
    """Whether it reads vectors of users' texts, if the recipe has a view of users."""
    reads_graph: ClassVar[bool] = False
    """Whether it is useful only with a knowledge graph."""
    reads_links: ClassVar[bool] = False
    """Whether it needs links between users (`SignalContext.user_links`)."""
    reads_history: ClassVar[bool] = False
    """Whether it needs `Batch.history` (and vectors of the history's texts, if the signal uses text)."""
    inserts_tokens: ClassVar[bool] = False
    """Whether `tokens` returns vectors that are inserted into the language model's prompt; such a signal takes no part
    in the fusion: it returns no vectors of users and items, and no offsets."""
    learning_parts: ClassVar[tuple[str, ...]] = ()
    """Names of `parts` that no answer of a folded signal reads, only `remember` and `follow`. A run has their tensors
    in a file of its own, which is read for explanations and for scores in time order; in a run that answers they are
    neither in `SignalContext.saved` nor in `parts`."""
    user_tables: ClassVar[tuple[str, ...] | None] = None
    """Names of the folded signal's tensors that have a row for each user, the unknown one first, such as
    ``folded.user``; empty for a signal without any. A run that is published without its users keeps the first row of
    each. None where the signal does not say: then no run of it is published without its users if a tensor could be
    about them."""
    tried_with: ClassVar[Mapping[str, Any]] = {}
    """Options with which the conformance suite tests it, if the defaults leave out what it needs."""

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
        """The `nn.ModuleDict` that `build` made, set by the caller; loosely typed, since parts differ."""

    @abstractmethod
    def build(self, context: SignalContext) -> nn.ModuleDict:
        """Make the trained parts."""

    def user(self, batch: Batch) -> Tensor | None:
        """Return vectors of the batch's users, float32 [B, dim], or None."""
        return None

    def item(self, batch: Batch) -> Tensor | None:
        """Return vectors of the batch's items, float32 [B, dim], or None."""
        return None

    def user_offset(self, batch: Batch) -> Tensor | None:
        """Return what each user of the batch adds to all of his scores, whatever the item, float32 [B], or None."""
        return None

    def item_offset(self, batch: Batch) -> Tensor | None:
        """Return what each item of the batch adds to all of its scores, whoever the user, float32 [B], or None."""
        return None

    def offset(self, batch: Batch) -> Tensor | None:
        """Return all that the signal adds to scores of pairs besides the product of its vectors, float32 [B], or None.

        The sum of `item_offset`, `user_offset` and `cross`. A signal that computes pairs in another way overrides it
        and keeps the sum.
        """
        cross = self.cross(batch, batch.item[:, None])
        together = None if cross is None else cross.squeeze(1)
        terms = [t for t in (self.item_offset(batch), self.user_offset(batch), together) if t is not None]
        return functools.reduce(operator.add, terms) if terms else None

    def uses_text(self) -> bool:
        """Return whether the texts that it can read have to be encoded with these options."""
        return self.reads_text

    def without_text(self) -> C | None:
        """Return options that read no text, for the baseline without a language model; None if there are none."""
        return None if self.uses_text() or self.inserts_tokens or self.reads_user_text else self.config

    def refusal(self, users: Collection[str], items: Collection[str], reads_prompt: bool) -> str | None:
        """Return why the signal is of no use in a run, in one line that begins with the field; None if it is of use.

        Asked once the data is read, before anything is loaded or trained.

        Args:
            users: Names of the columns that describe users.
            items: Names of the columns that describe items.
            reads_prompt: Whether any head reads history and candidate as one text.
        """
        return None

    def unread(self, known: Interactions, users: int, items: int, ranks: bool) -> str | None:
        """Return which interactions the signal passes over, in one line for notes and report; None if it reads all.

        Args:
            known: What the final model learns from.
            users: Rows of a user table.
            items: Rows of an item table.
            ranks: Whether the primary head ranks.
        """
        return None

    def token_count(self) -> int:
        """Return how many vectors `tokens` inserts into each prompt; each takes one place of the model's window."""
        return 0

    def tokens(self, batch: Batch) -> Tensor | None:
        """Return vectors to be inserted into each example's prompt, float32 [B, k, hidden], or None."""
        return None

    def cross(self, batch: Batch, candidates: Tensor) -> Tensor | None:
        """Return what the signal adds to the score of each example with each candidate, float32 [B, C], or None.

        For what no product of a user and an item vector can express, such as a bonus for a candidate that stands in
        the example's own history. Called for pairs with one candidate per row and `Batch.candidates` None.

        Args:
            batch: Examples, with histories where the signal reads them.
            candidates: Item indices, int64 [B, C], or [1, C] where all examples share them.
        """
        return None

    def penalty(self, batch: Batch) -> Tensor | None:
        """Return a scalar added to the loss of a training step, or None."""
        return None

    def remember(self, train: Interactions) -> None:
        """Take interactions as the known ones, in place of what `fold` left; explanations and `follow` need them."""

    def follow(self, batch: Batch) -> None:
        """Update statistics and histories with outcomes (`batch.label`) after `remember`; weights stay as trained."""

    def report(self) -> dict[str, Any]:
        """Return plain figures of the trained signal for ``metrics.json``, such as learnt weights."""
        return {}

    def names(self) -> dict[str, list[str]]:
        """Return names of what the signal's indices stand for, list by list, such as relations and entities of a graph.

        Strings are no tensors: a run folder keeps them beside the signal's tensors, and `SignalContext.names` gives
        them back. No result may depend on them.
        """
        return {}

    def fold(self) -> None:
        """Replace what depends on single training interactions by plain tables.

        Called once after training, so that a published artifact holds no interaction and needs none.
        """


def _given(value: T | None, name: str) -> T:
    """Return what a signal that is being built asks for."""
    if value is None:
        raise ValueError(f"this context has no {name}: look at `saved` first, or declare that the signal reads them")
    return value

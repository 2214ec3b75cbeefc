"""TextPlan: which texts a recipe reads, and the first key of each kind among the encoder's keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.data.interactions import Interactions
from llmrec_peft.data.order import distinct

if TYPE_CHECKING:
    from llmrec_peft.recipe import Recipe


@dataclass(frozen=True)
class TextPlan:
    """Keys of texts: items by their index from 0, then users or examples, then prompts by example.

    Attributes:
        item: Whether items' texts are read.
        history: Whether texts of the items in histories are read.
        user: Key of the first user text; None if there are none.
        user_by_example: Whether user texts belong to examples (they contain a history) or to users.
        prompt: Key of the first example's prompt; None if there are none.
        history_length: Entries of a history that are read; None if no history is read.
    """

    item: bool
    history: bool = False
    user: int | None = None
    user_by_example: bool = False
    prompt: int | None = None
    history_length: int | None = None

    @property
    def any(self) -> bool:
        """Whether the language model is needed."""
        return self.item or self.history or self.user is not None or self.prompt is not None

    @property
    def tells_items(self) -> bool:
        """Whether texts are written of the items' own columns when a pair is scored: a prompt's, or a history's."""
        return self.prompt is not None or (self.user is not None and self.user_by_example)

    def keys(self, part: Interactions, items: int = 1) -> NDArray[np.int64]:
        """Return the keys of all texts that are read to score some examples, each once, in ascending order.

        Args:
            part: The examples.
            items: Rows of the item table, from the first, whose texts are read in any case.
        """
        keys = [np.arange(items, dtype=np.int64)]
        if self.item:
            keys.append(part.item)
        if self.history and part.history is not None and self.history_length is not None:
            keys.append(part.history.newest(self.history_length).padded()[0].reshape(-1))
        if self.user is not None:
            keys.append(self.user + (part.rows if self.user_by_example else part.user))
        if self.prompt is not None:
            keys.append(self.prompt + part.rows)
        return distinct(np.concatenate(keys))


def plan_texts(recipe: Recipe, num_items: int, num_users: int, num_examples: int) -> TextPlan:
    """Assign keys to a recipe's texts.

    Args:
        recipe: Recipe whose texts are read.
        num_items: Rows of an item table.
        num_users: Rows of a user table.
        num_examples: Examples of all parts.
    """
    reads = recipe.reads
    user = num_items if reads.user_text else None
    users = 0 if user is None else num_examples if reads.user_text_by_example else num_users
    return TextPlan(
        item=reads.item_text,
        history=reads.history_text,
        user=user,
        user_by_example=reads.user_text_by_example,
        prompt=num_items + users if reads.prompt else None,
        history_length=recipe.data.history_length if reads.history else None,
    )

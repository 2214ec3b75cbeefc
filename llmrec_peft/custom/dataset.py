"""Dataset: frames in memory whose columns were guessed, ready to be trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llmrec_peft.custom.columns import TABLES
from llmrec_peft.custom.frames import as_arrow
from llmrec_peft.custom.graph_guesses import require_graph_of_links
from llmrec_peft.custom.guess import Guess, Looked
from llmrec_peft.custom.matrix import require_no_matrix
from llmrec_peft.custom.settings import recipe_values
from llmrec_peft.custom.tables import Tables, as_dataset
from llmrec_peft.custom.understand import Understood, understood
from llmrec_peft.data.dataset import RecDataset
from llmrec_peft.printable import for_terminal

if TYPE_CHECKING:
    from llmrec_peft.recipe import Recipe


@dataclass(frozen=True, repr=False)
class Dataset:
    """Interactions, and where there are such items, users and a graph, of one's own.

    Attributes:
        dataset: The tables as the rest of the package reads them.
        guesses: What each column was taken for, with the evidence.
        found: What all columns are, as options.
    """

    dataset: RecDataset
    guesses: tuple[Guess, ...]
    found: Understood = field(repr=False)

    @classmethod
    def from_frames(
        cls,
        interactions: Any,
        items: Any = None,
        users: Any = None,
        graph: Any = None,
        name: str = "my data",
        graph_links: Any = None,
        **columns: Any,
    ) -> Dataset:
        """Make a dataset of frames; what their columns are is guessed.

        >>> ratings = {"user": ["a", "a", "b", "b"], "item": ["x", "y", "x", "z"], "stars": [5, 3, 4, 1]}
        >>> data = Dataset.from_frames(ratings)
        >>> data.dataset.feedback, data.dataset.rating_range
        ('rating', (1.0, 5.0))

        Args:
            interactions: One row for each rating, click or other interaction: pandas, polars, Arrow,
                `datasets.Dataset`, or a dict of lists.
            items: One row for each item: its id, title, texts, categories, numbers.
            users: One row for each user.
            graph: One row for each triple (head, relation, tail) of a knowledge graph whose entities bear ids of items.
            name: What the data is called in reports.
            graph_links: One row for each item that an entity of the graph stands for, where entities bear other ids.
            columns: What need not be guessed: ``user_column``, ``item_column``, ``rating_column``, ``time_column``,
                ``time_form``, ``review_column``, ``title_column``, ``items_id_column``, ``users_id_column``,
                ``feedback`` (``rating``, ``click`` or ``implicit``), ``scale`` (lowest and highest rating).

        Raises:
            InputError: For what is no frame, and for a column that cannot be guessed: it names the argument.
        """
        frames = dict(zip(TABLES, (interactions, items, users, graph, graph_links), strict=True))
        require_graph_of_links(graph, graph_links, "graph_links")
        tables = {called: as_arrow(frame, called) for called, frame in frames.items() if frame is not None}
        told = columns.get("user_column") is not None and columns.get("item_column") is not None
        if "interactions" in tables and not told:
            require_no_matrix(tables["interactions"], "interactions")
        found = understood({called: Looked.at(table, called) for called, table in tables.items()}, columns)
        parts = Tables.of(tables, {called: called for called in frames})
        return cls(as_dataset(name, parts, found.columns), found.guesses, found)

    def recipe(self, changes: Mapping[str, Any] | None = None) -> Recipe:
        """Return a recipe that suits the data.

        Args:
            changes: Values by dotted field, such as ``{"training.epochs": 5}``.

        Raises:
            InputError: For a change that does not fit.
        """
        from llmrec_peft.recipe import Recipe

        name = "".join(letter if letter.isalnum() or letter in " .-_" else "-" for letter in self.dataset.name)[:80]
        values, _ = recipe_values(
            name.strip(" .-") or "my data", "Frames of one's own.", {"reader": "frames"}, self.found
        )
        recipe = Recipe.from_plain(values)
        return recipe.changed(changes) if changes else recipe

    @property
    def unsure(self) -> tuple[str, ...]:
        """Guesses that should be looked at, one line each."""
        return self.found.unsure

    def __repr__(self) -> str:
        """Return the sizes and what each column was taken for."""
        data = self.dataset
        sizes = f"{len(data.interactions):,} interactions, {len(data.users):,} users, {len(data.items):,} items"
        kind = (
            f"{data.feedback}s from {data.rating_range[0]:g} to {data.rating_range[1]:g}"
            if data.feedback == "rating"
            else data.feedback
        )
        lines = [f"Dataset {data.name!r}: {sizes}, {kind}"]
        lines += [f"  {guess.line()}{' (unsure)' if guess.unsure else ''}" for guess in self.guesses]
        lines += [f"  note: {note}" for note in data.notes]
        return "\n".join(for_terminal(line) for line in lines)

"""Prompting: writes a recipe's views of users and examples as texts for one language model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from llmrec_peft.backbone.encoder import Reading
from llmrec_peft.data.histories import Histories
from llmrec_peft.data.prompts import PromptWriter, Rows, Written
from llmrec_peft.data.tokens import TokenTable
from llmrec_peft.data.views import ViewTemplate
from llmrec_peft.errors import InputError

if TYPE_CHECKING:
    from llmrec_peft.backbone.load import Backbone
    from llmrec_peft.backbone.text_reader import TextReader
    from llmrec_peft.recipe import Recipe
    from llmrec_peft.recipe.sections import PromptView

Row = Mapping[str, Any]


class ViewWriter:
    """Writes the texts of one view for one model."""

    def __init__(
        self,
        view: PromptView,
        backbone: Backbone,
        middle: float,
        history_length: int,
        inserted: int = 0,
        reader: TextReader | None = None,
        kind: str = "prompt",
    ) -> None:
        """Compile the template and find out how the model is prompted.

        Args:
            view: Template and length.
            backbone: Model whose window and chat format are used.
            middle: Labels above it count as liked.
            history_length: Entries of a history at most.
            inserted: Vectors that signals insert into each text.
            reader: The recipe's prompts and lengths; by default there are none beside the view's.
            kind: ``user`` or ``prompt``.
        """
        longest = backbone.window if reader is None else reader.length(backbone.window)
        self.max_length = min(view.max_length, longest - inserted)
        before = "" if reader is None else reader.prompts[kind]
        self.chat = chat = view.chat and backbone.chats
        self._backbone = backbone
        self._history_length = history_length
        self._writer = PromptWriter(
            ViewTemplate(view.template, f"views.{kind}.template"),
            self.max_length,
            middle,
            lambda texts: [len(row) for row in backbone.tokenize(texts, None, special=not chat)],
            (lambda text: backbone.chat(before + text)) if chat else (lambda text: before + text),
        )

    def tokenized(self, texts: Sequence[str]) -> TokenTable:
        """Tokenize texts written by this writer, each distinct one once."""
        tokenize, length, special = self._backbone.tokenize, self.max_length, not self.chat
        return TokenTable.of(texts, lambda some: tokenize(some, length, special=special), self._backbone.pad_id)

    def of_users(self, users: Sequence[Row]) -> Written:
        """Write texts of users without a history; row 0, the unknown user's, stays empty."""
        written = self._writer.write(users[1:], None, [[] for _ in users[1:]])
        return replace(written, texts=["", *written.texts])

    def of_examples(
        self,
        users: Sequence[Row],
        items: Sequence[Row] | None,
        histories: Histories | None,
        columns: Rows,
    ) -> Written:
        """Write texts of examples.

        Args:
            users: Columns of each example's user.
            items: Columns of each example's item; None for a view of users.
            histories: History of each example's user.
            columns: Columns of each item index.
        """
        length = self._history_length
        entries = [[]] * len(users) if histories is None else self._writer.histories(histories, length, columns)
        return self._writer.write(users, items, entries)


@dataclass(frozen=True)
class Prompting:
    """Writers of a recipe's views.

    Attributes:
        user: Writer of users' texts; None if the recipe has no such view.
        prompt: Writer of prompts; None if the recipe has no such view.
    """

    user: ViewWriter | None
    prompt: ViewWriter | None

    @classmethod
    def of(cls, recipe: Recipe, backbone: Backbone) -> Self:
        """Make the writers of a resolved recipe.

        Raises:
            InputError: If a head reads prompts and the recipe has no view of them.
        """
        views, length, middle = recipe.views, recipe.data.history_length, recipe.data.liked_above or 0.0
        if recipe.reads.prompt and views.prompt is None:
            raise InputError(
                "views.prompt: the head reads prompts, and the recipe has no template for them, such as"
                ' "Liked: {% for film in history if film.liked %}{{ film.title }}; {% endfor %}Next: {{ item.title }}"'
            )
        inserted, reader = recipe.reads.inserted_tokens, backbone.reads(recipe.backbone)
        user = prompt = None
        if views.user is not None:
            user = ViewWriter(views.user, backbone, middle, length, reader=reader, kind="user")
        if views.prompt is not None:
            prompt = ViewWriter(views.prompt, backbone, middle, length, inserted, reader)
        return cls(user, prompt)


def prompt_reading(recipe: Recipe, backbone: Backbone) -> Reading:
    """Return how prompts become vectors: a decoder's last state, from which it would continue; an encoder's pooled.

    Raises:
        InputError: If an embedding model's linear layers make vectors of another width than its states.
    """
    reader = backbone.reads(recipe.backbone)
    if backbone.kind == "encoder":
        return reader.reading("prompt")
    if reader.width != backbone.width:
        raise InputError(
            f"head: prompts are read from a decoder's own states of width {backbone.width}, but the Dense layers of"
            f" {backbone.identity.name} make other texts {reader.width} wide"
        )
    return Reading("last-token", False)

"""Reads: what a recipe reads, asked of its plugins once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from llmrec_peft import registry
from llmrec_peft.options import Options
from llmrec_peft.recipe.sections import ViewsSection


class NamedPlugin(Protocol):
    """A plugin that a recipe chose: its registered name and its options."""

    @property
    def name(self) -> str: ...

    @property
    def config(self) -> Options: ...


@dataclass(frozen=True)
class Reads:
    """What the heads and signals of one recipe read.

    Attributes:
        heads: Heads without trained parts, by name, the primary one first: to ask what a recipe cannot tell, such as
            `observed`. Whoever trains builds heads of its own.
        signals: Signals without trained parts, by name, in the recipe's order.
        item_text: Whether any signal reads texts of items.
        history_text: Whether any signal reads texts of the items in histories.
        user_text: Whether any signal reads texts of users, and the recipe has a view of them.
        user_text_by_example: Whether the view of users tells histories, so that a text belongs to an example.
        prompt: Whether any head reads history and candidate as one text.
        history_of_signals: Whether any signal reads histories as numbers.
        inserts_tokens: Whether any signal puts vectors into the language model's prompt.
        inserted_tokens: How many vectors that are, in each prompt.
        graph_signals: Names of signals that are of use only beside a knowledge graph.
        link_signals: Names of signals that need links between users.
    """

    heads: Mapping[str, Any] = field(repr=False)
    signals: Mapping[str, Any] = field(repr=False)
    item_text: bool
    history_text: bool
    user_text: bool
    user_text_by_example: bool
    prompt: bool
    history_of_signals: bool
    inserts_tokens: bool
    inserted_tokens: int
    graph_signals: tuple[str, ...]
    link_signals: tuple[str, ...]

    @classmethod
    def of(cls, heads: tuple[NamedPlugin, ...], signals: Mapping[str, Options], views: ViewsSection) -> Self:
        """Ask the plugins of a recipe.

        Args:
            heads: Chosen heads, the primary one first.
            signals: Options of each signal that is on, in the recipe's order.
            views: The recipe's text views.

        Raises:
            InputError: When a plugin cannot be imported.
        """
        bare_heads = {chosen.name: registry.get("heads", chosen.name)(chosen.config) for chosen in heads}
        bare_signals = {name: registry.get("signals", name)(options) for name, options in signals.items()}
        every = bare_signals.values()
        return cls(
            heads=bare_heads,
            signals=bare_signals,
            item_text=any(signal.uses_text() for signal in every),
            history_text=any(signal.reads_history and signal.uses_text() for signal in every),
            user_text=views.user is not None and any(signal.reads_user_text for signal in every),
            user_text_by_example=views.user is not None and "history" in views.user.template,
            prompt=any(head.reads_prompt() for head in bare_heads.values()),
            history_of_signals=any(signal.reads_history for signal in every),
            inserts_tokens=any(signal.inserts_tokens for signal in every),
            inserted_tokens=sum(signal.token_count() for signal in every),
            graph_signals=tuple(name for name, signal in bare_signals.items() if signal.reads_graph),
            link_signals=tuple(name for name, signal in bare_signals.items() if signal.reads_links),
        )

    @property
    def primary(self) -> Any:
        """The head whose metric chooses epochs, without trained parts."""
        return next(iter(self.heads.values()))

    @property
    def tasks(self) -> dict[str, str]:
        """Task of each head: ``rating``, ``click``, ``ranking`` or ``writing``."""
        return {name: str(head.task) for name, head in self.heads.items()}

    @property
    def listwise(self) -> bool:
        """Whether any head is trained against candidates by themselves."""
        return any(head.listwise for head in self.heads.values())

    @property
    def language_model(self) -> bool:
        """Whether anything needs the language model beside texts of users."""
        return self.item_text or self.prompt

    @property
    def history(self) -> bool:
        """Whether signals, prompts or texts of users read what a user met before."""
        return self.history_of_signals or self.prompt or self.user_text_by_example

    @property
    def prepares_history(self) -> bool:
        """Whether histories are prepared: the model reads them, or the baselines of clicks and rankings do."""
        return self.history or any(task != "rating" for task in self.tasks.values())

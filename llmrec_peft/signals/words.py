"""Words: how many rare words a candidate's texts share with the entries of a history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from llmrec_peft.errors import InputError
from llmrec_peft.options import Options
from llmrec_peft.signals.contract import Signal, SignalContext

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from torch import Tensor, nn

    from llmrec_peft.data.batches import Batch


class WordsOptions(Options):
    """Options of the words signal."""

    columns: tuple[str, ...] = ("title",)
    """Columns of the items table whose words are compared: texts or lists of texts."""
    pairs: bool = True
    """Whether two adjacent words are a word of their own, too."""
    length: int = Field(default=10, ge=1, le=1000)
    """Entries of a history that are read, the newest; at most data.history_length."""
    decay: float = Field(default=0.8, gt=0.0, le=1.0)
    """Initial weight of an entry relative to the next newer one."""
    labels: bool = True
    """Whether an entry is weighted by its label: items like a liked one attract. Rankings have no labels."""
    scale: float = Field(default=4.0, ge=-100.0, le=100.0)
    """Initial weight of the whole."""
    strongest: int = Field(default=200, ge=1, le=10_000)
    """Items that are kept of those that share words with an item, the most similar."""


class Words(Signal[WordsOptions]):
    """cross = w Σ_p l_p d_p cos(x[h_p], x[i]) over the p-th newest entry h_p of a history.

    x_i has log(N / n_v) for each distinct word v of item i, where n_v of all N items have the word: rare words, such as
    a brand, a colour or a size, count more. w and the places' d are learnt; l_p is 1, or with labels
    c + e · (label − mean). Items that are added to a run share no words, since a run folder has the similarities alone.

    References:
        Spärck Jones, A statistical interpretation of term specificity, Journal of Documentation 1972.
    """

    summary: ClassVar[str] = "rare words that a candidate shares with the user's last items"
    Config: ClassVar[type[Options]] = WordsOptions
    user_tables: ClassVar[tuple[str, ...]] = ()
    reads_history: ClassVar[bool] = True
    tried_with: ClassVar[Mapping[str, Any]] = {"columns": ("genres", "brand")}

    def refusal(self, users: Collection[str], items: Collection[str], reads_prompt: bool) -> str | None:
        """Refuse columns that the data lacks, or a choice without any column."""
        from llmrec_peft.signals.parts.columns import require_columns

        if not self.config.columns:
            return f"signals.words.columns: name a column of items; the data has {', '.join(sorted(items))}"
        try:
            require_columns(items, self.config.columns, "signals.words.columns")
        except InputError as error:
            return str(error)
        return None

    def without_text(self) -> WordsOptions | None:
        """Return None: words are text, if no language model's."""
        return None

    def build(self, context: SignalContext) -> nn.ModuleDict:
        """Make the weights, and compare the items' words.

        Raises:
            InputError: If a column has no texts, or a saved table does not fit the run's items.
        """
        import torch
        from torch import nn

        from llmrec_peft.signals.parts.entry_weights import EntryWeights
        from llmrec_peft.signals.parts.item_links import link_table, saved_links

        config = self.config
        if context.saved is not None:
            alike = saved_links(context.saved, "alike", context.num_items)
        else:
            from llmrec_peft.signals.parts.word_overlap import shared_words

            columns = {name: (context.items or {})[name] for name in config.columns}
            alike = link_table(shared_words(columns, config.pairs, config.strongest))
        weights = nn.ParameterDict({"scale": nn.Parameter(torch.tensor([config.scale]))})
        entries = EntryWeights(context, config.length, config.decay, config.labels)
        return nn.ModuleDict({"entries": entries, "weights": weights, "alike": alike})

    def cross(self, batch: Batch, candidates: Tensor) -> Tensor | None:
        """Return how many words the entries of each history share with each candidate, [B, C]; None without any."""
        from llmrec_peft.signals.parts.item_links import links_of, summed

        if batch.history is None:
            return None
        history, worth = self.parts["entries"](batch)
        alike = self.parts["alike"]
        row, place, link = links_of(alike["begin"], history)
        value = alike["value"][link] * worth[row, place]
        added: Tensor = self.parts["weights"]["scale"] * summed(
            row, alike["item"][link].long(), value, candidates, len(history)
        )
        return added

    def report(self) -> dict[str, Any]:
        """Return the learnt weights, and how many pairs of items share words."""
        scale = float((self.parts["weights"]["scale"] * self.parts["entries"].place[0].exp()).detach())
        return {"weight": round(scale, 4), **self.parts["entries"].report(), "links": len(self.parts["alike"]["item"])}

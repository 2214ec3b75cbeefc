"""SharedBase: one frozen base for many trainings of a process, and what was computed with it."""

from __future__ import annotations

import gc
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from llmrec_peft.backbone.load import Backbone, load_backbone
from llmrec_peft.backbone.module_trees import tree_of
from llmrec_peft.backbone.row_pool import RowPool

if TYPE_CHECKING:
    import torch
    from torch import nn

    from llmrec_peft.backbone.mixed_training import MixedTraining
    from llmrec_peft.recipe.sections import BackboneSection

APART = "int8"
"""Quantization whose layers move their weights at the first pass: a module tree of its own would lose them."""


@dataclass
class BackboneView(Backbone):
    """A base with a module tree of its own over tensors that others share, so that each has its own adapter inside."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._known: dict[tuple[str, int | None, bool], list[int]] = {}

    def tokenize(self, texts: list[str], max_length: int | None, special: bool = True) -> list[list[int]]:
        """Return token ids of texts as `Backbone.tokenize` does; each text is tokenized once for all views."""
        known = self._known
        new = [text for text in dict.fromkeys(texts) if (text, max_length, special) not in known]
        if new:
            for text, row in zip(new, super().tokenize(new, max_length, special), strict=True):
                known[text, max_length, special] = row
        return [known[text, max_length, special] for text in texts]


class SharedBase:
    """A base that is loaded once, for trainings of one recipe over different data.

    Each training gets a module tree of its own (`view_of`) over the same tensors. States below the adapter, vectors of
    the untuned model and token ids of a text that several trainings read are computed once. Trainings that share
    a base have the same section `backbone` and the same text views.
    """

    def __init__(self) -> None:
        self.vectors = RowPool()
        """Vectors of the untuned model, by text."""
        self.mixed: MixedTraining | None = None
        """Where the steps of several trainings pass together; None where each passes alone."""
        self._states: dict[int, RowPool] = {}
        self._loaded: Backbone | None = None
        self._section: BackboneSection | None = None
        self._tokens: dict[tuple[str, int | None, bool], list[int]] = {}

    def backbone(self, section: BackboneSection, device: torch.device) -> Backbone:
        """Return the base for one more training.

        Raises:
            InputError: As `load_backbone`.
            ValueError: If another base was asked for before.
        """
        if section.quantization == APART:
            return load_backbone(section, device)
        if self._loaded is None:
            self._loaded, self._section = load_backbone(section, device), section
            gc.collect()
            gc.freeze()  # what was loaded stays: no collection need look at it
        elif section != self._section:
            raise ValueError("trainings that share a base have the same section backbone")
        view = view_of(self._loaded)
        view._known = self._tokens
        return view

    @property
    def bare(self) -> nn.Module | None:
        """The bare transformer, in which no adapter ever is; None where each training has loaded its own."""
        return None if self._loaded is None else self._loaded.model

    def let_go(self) -> None:
        """Let the garbage collector look at everything again, once the last training has ended."""
        gc.unfreeze()

    def states(self, lowest: int | None) -> RowPool | None:
        """Return the states below a layer, by text; None where there is nothing below."""
        return self._states.setdefault(lowest, RowPool()) if lowest else None


def view_of(backbone: Backbone) -> BackboneView:
    """Return a bare base with a module tree of its own over the same tensors."""
    own = {field.name: getattr(backbone, field.name) for field in fields(Backbone)}
    return BackboneView(**{**own, "model": tree_of(backbone.model)})

"""The one module that a plugin's author imports: every name in `__all__` is promised, and nothing else is.

A plugin is a class in one file and one entry-point line. This is a whole signal::

    from llmrec_peft.plugins import Options, Signal

    class ItemBiasOptions(Options):
        "There is nothing to choose."

    class ItemBias(Signal[ItemBiasOptions]):
        "Adds b[item] to a score, one trained number for each item."

        summary = "one trained number for each item"
        Config = ItemBiasOptions

        def build(self, context):
            from torch import nn
            bias = nn.Embedding(context.num_items, 1)
            nn.init.zeros_(bias.weight)
            return nn.ModuleDict({"bias": bias})

        def item_offset(self, batch):
            return self.parts["bias"](batch.item).squeeze(-1)

It is registered in the package's ``pyproject.toml``, proved by
``python -m llmrec_peft.testing item-bias --kind signal``, and switched on in a recipe by ``signals.item-bias=true``::

    [project.entry-points."llmrec_peft.signals"]
    item-bias = "my_package.item_bias:ItemBias"

CONTRIBUTING.md walks through an adapter, a signal, a head, a reader and its recipe. Importing this module imports no
torch; a plugin imports torch and peft inside the functions that compute, so that `llmrec list` stays fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from llmrec_peft.backbone.adapter import AdapterMethod, Capabilities, SavedAdapter
from llmrec_peft.backbone.alias import BackboneAlias, GgufFile
from llmrec_peft.backbone.batched import MODEL, BatchedForm, SavedTensors, Slot
from llmrec_peft.backbone.combination import Combination
from llmrec_peft.backbone.facts import BackboneFacts
from llmrec_peft.backbone.low_rank import LowRank, low_rank_tensors, plus_low_rank, saved_by_site
from llmrec_peft.backbone.positions import first_position, token_room
from llmrec_peft.backbone.shapes import ModelShapes, ModuleShape
from llmrec_peft.backbone.through_peft.attach import attach_peft, load_peft, save_peft, whole_or_bare
from llmrec_peft.backbone.through_peft.files import read_adapter, require_tensors, write_adapter
from llmrec_peft.backbone.through_peft.method import PeftMethod
from llmrec_peft.backbone.through_peft.targets import (
    Layers,
    TargetOptions,
    adapted_layers,
    layers_refusal,
    norms_of,
    pattern,
    rank_refusal,
    sublayers,
    target_linears,
    transposed,
)
from llmrec_peft.data.batches import Batch
from llmrec_peft.data.dataset import KnowledgeGraph, RecDataset
from llmrec_peft.data.graph import Neighbours
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.data.links import Links
from llmrec_peft.data.negatives import Negatives
from llmrec_peft.data.source import Download, Reader
from llmrec_peft.data.strays import without_unknown
from llmrec_peft.data.tables import interactions_table, table
from llmrec_peft.errors import InputError
from llmrec_peft.heads.contract import HeadContext, HeadOutput, Joined, TaskHead, matrix_scores, pair_scores, products
from llmrec_peft.options import Options
from llmrec_peft.signals.contract import Signal, SignalContext

if TYPE_CHECKING:
    from llmrec_peft.backbone.load import Backbone
    from llmrec_peft.custom.files import file_below
    from llmrec_peft.custom.texts import as_texts
    from llmrec_peft.signals.parts.row_table import RowTable
    from llmrec_peft.tabular.form import FileForm
    from llmrec_peft.tabular.markup import plain_text, without_markup
    from llmrec_peft.tabular.places import lines_of_rows
    from llmrec_peft.tabular.read import read_table
    from llmrec_peft.tabular.sniff import sniffed
    from llmrec_peft.tabular.table_read import BadRow

__all__ = [
    "MODEL",
    "AdapterMethod",
    "Backbone",
    "BackboneAlias",
    "BackboneFacts",
    "BadRow",
    "Batch",
    "BatchedForm",
    "Capabilities",
    "Combination",
    "Download",
    "FileForm",
    "GgufFile",
    "HeadContext",
    "HeadOutput",
    "InputError",
    "Interactions",
    "Joined",
    "KnowledgeGraph",
    "Layers",
    "Links",
    "LowRank",
    "ModelShapes",
    "ModuleShape",
    "Negatives",
    "Neighbours",
    "Options",
    "PeftMethod",
    "Reader",
    "RecDataset",
    "RowTable",
    "SavedAdapter",
    "SavedTensors",
    "Signal",
    "SignalContext",
    "Slot",
    "TargetOptions",
    "TaskHead",
    "adapted_layers",
    "as_texts",
    "attach_peft",
    "file_below",
    "first_position",
    "interactions_table",
    "layers_refusal",
    "lines_of_rows",
    "load_peft",
    "low_rank_tensors",
    "matrix_scores",
    "norms_of",
    "pair_scores",
    "pattern",
    "plain_text",
    "plus_low_rank",
    "products",
    "rank_refusal",
    "read_adapter",
    "read_table",
    "require_tensors",
    "save_peft",
    "saved_by_site",
    "sniffed",
    "sublayers",
    "table",
    "target_linears",
    "token_room",
    "transposed",
    "whole_or_bare",
    "without_markup",
    "without_unknown",
    "write_adapter",
]


_ON_FIRST_USE = {
    "Backbone": "llmrec_peft.backbone.load",
    "BadRow": "llmrec_peft.tabular.table_read",
    "FileForm": "llmrec_peft.tabular.form",
    "RowTable": "llmrec_peft.signals.parts.row_table",
    "as_texts": "llmrec_peft.custom.texts",
    "file_below": "llmrec_peft.custom.files",
    "lines_of_rows": "llmrec_peft.tabular.places",
    "plain_text": "llmrec_peft.tabular.markup",
    "read_table": "llmrec_peft.tabular.read",
    "sniffed": "llmrec_peft.tabular.sniff",
    "without_markup": "llmrec_peft.tabular.markup",
}
"""Modules of the names that are imported when they are asked for."""


def __getattr__(name: str) -> Any:
    """Import what needs transformers, torch or Arrow on first use, which listing plugins need not wait for."""
    if name not in _ON_FIRST_USE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(_ON_FIRST_USE[name]), name)
    return found


def __dir__() -> list[str]:
    """List what is promised."""
    return __all__

"""Facts of a run folder that its card on the Hub tells: base, sizes, figures by head, snippets that fit the run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmrec_peft import registry
from llmrec_peft.artifact.card import Code
from llmrec_peft.artifact.catalogue_file import FILE as CATALOGUE
from llmrec_peft.artifact.catalogue_file import read_catalogue
from llmrec_peft.artifact.figures import FigureRow, figure_rows, legend
from llmrec_peft.artifact.manifest import PUBLISHED, REPORTS, is_there, limit_of
from llmrec_peft.artifact.tables import ItemTable
from llmrec_peft.backbone.adapter import AdapterMethod
from llmrec_peft.data.column_types import ColumnType
from llmrec_peft.page.earned import ahead, answering, difference_of, lower_is_better, verdict
from llmrec_peft.page.run_report import HeadReport, RunReport
from llmrec_peft.recipe import Recipe
from llmrec_peft.run.new_items import NewItems
from llmrec_peft.strict_json import read_object

_COMMIT = re.compile(r"[0-9a-f]{40}")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)
_CALLED = {"after": "the tuned model", "recommended": "what is recommended"}
_EXAMPLES: dict[str, object] = {"text": "a text", "whole": 2024, "number": 1.0, "single": 1.0, "flag": True}


@dataclass(frozen=True)
class CardBase:
    """The base model, as a card names it.

    Attributes:
        name: Its Hub id, or words that do not give away a path of the publisher's.
        revision: Its commit; None for one that is not on the Hub.
    """

    name: str
    revision: str | None

    @property
    def on_hub(self) -> bool:
        """Whether others can get it from the Hub."""
        return self.revision is not None

    @property
    def literal(self) -> Code:
        """Its name as a Python literal."""
        return Code.literal(self.name)

    @property
    def commit(self) -> Code:
        """Its commit as a Python literal."""
        return Code.literal(self.revision)

    @classmethod
    def of(cls, base: Mapping[str, Any]) -> CardBase:
        """Return it from the identity that a run records."""
        name, revision = str(base.get("name")), str(base.get("revision"))
        if _HUB_ID.fullmatch(name) and _COMMIT.fullmatch(revision):
            return cls(name, revision)
        return cls("a model of the publisher's own, not on the Hub", None)


@dataclass(frozen=True)
class CardHead:
    """Figures of a head, as a card shows them."""

    name: str
    metric: str
    lower: bool
    ours: str
    verdict: str
    ahead: str | None
    worse: bool
    names: list[str]
    rows: list[FigureRow]
    differences: dict[str, str] | None
    legend: list[str]

    @classmethod
    def of(cls, name: str, report: HeadReport) -> CardHead:
        """Lay out the figures of a head."""
        plain, ours, metric = report.model_dump(), answering(report), report.primary_metric
        names = metrics_of(report)
        rows = figure_rows(plain) if names else []
        found = {row.key: difference_of(report, ours, row.key) for row in rows}
        said = {key: "–" if one is None else f"{one}{'' if one.significant else ' ='}" for key, one in found.items()}
        return cls(
            name=name,
            metric=metric,
            lower=lower_is_better(metric),
            ours=_CALLED[ours],
            verdict=verdict(report) if names else "",
            ahead=ahead(report) if names else None,
            worse=ours in report.no_better_than_best_baseline,
            names=names,
            rows=rows,
            differences=said if any(one is not None for one in found.values()) else None,
            legend=legend(plain),
        )


def metrics_of(report: HeadReport) -> list[str]:
    """Return the metrics of the model that answers, the primary one first; what only counts examples is none."""
    found = (name for name in report.test.own.get(answering(report), {}) if not name.endswith("_left_out"))
    return sorted(found, key=lambda name: name != report.primary_metric)


def heads_of(report: RunReport) -> list[CardHead]:
    """Return the figures of every head, the first one's first."""
    return [CardHead.of(name, one) for name, one in {report.head: report, **report.heads}.items()]


def published_bytes(folder: Path) -> int:
    """Return how many bytes the published files of a run folder have together."""
    names = (*PUBLISHED, *REPORTS)
    return sum((folder / name).stat().st_size for name in names if is_there(folder / name))


def stock_class(folder: Path, recipe: Recipe) -> Code | None:
    """Return which class of transformers loads the base below the adapter; None where stock `peft` does not know it.

    Raises:
        InputError: If ``adapter_config.json`` is not what a run writes.
    """
    path = folder / "adapter_config.json"
    method: type[AdapterMethod[Any]] = registry.get("adapters", recipe.adapter.method)
    registers = getattr(method.register_with_peft, "__func__", None)
    if not is_there(path) or registers is not getattr(AdapterMethod.register_with_peft, "__func__", None):
        return None
    task = read_object(path, limit_of(path.name)).get("task_type")
    return Code("AutoModelForCausalLM" if task == "CAUSAL_LM" else "AutoModel")


def new_item(folder: Path, recipe: Recipe) -> Code | None:
    """Return an item with every column that its text takes, as a Python literal; None for a run that takes none.

    Raises:
        InputError: If the catalogue is not what a run writes.
    """
    catalogue = read_catalogue(folder / CATALOGUE)
    types = NewItems.of(recipe, ItemTable((), (), catalogue.popularity, types=catalogue.types)).types
    if not recipe.reads.item_text or not types:
        return None
    row: dict[str, object] = {"item_id": "new-1"}
    return Code.literal(row | {name: _example(kind) for name, kind in types.items()})


def _example(kind: ColumnType) -> object:
    one = _EXAMPLES.get(kind.kind)
    return [one] if kind.many and one is not None else one

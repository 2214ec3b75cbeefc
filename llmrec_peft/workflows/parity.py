"""Parity: whether what is served is what was trained; drift of vectors, scores and figures between bases."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmrec_peft.backbone.base import require_base
from llmrec_peft.backbone.load import load_backbone
from llmrec_peft.backbone.preflight import known_facts, require_method
from llmrec_peft.errors import InputError
from llmrec_peft.recipe.variants import served
from llmrec_peft.run.language_model import load_adapter
from llmrec_peft.run.recommender import Recommender
from llmrec_peft.workflows.drift import Pairs, drift, pairs_of, within

if TYPE_CHECKING:
    from torch import nn

    from llmrec_peft.artifact.manifest import Manifest
    from llmrec_peft.backbone.load import Backbone
    from llmrec_peft.recipe.sections import BackboneSection


@dataclass(frozen=True)
class Serving:
    """What is to be compared with the training base.

    Attributes:
        quantization: How the serving base is held; None as in training.
        precision: How it computes; None as in training.
    """

    quantization: str | None = None
    precision: str | None = None


@dataclass(frozen=True)
class Tolerance:
    """How much drift is still the same model.

    Attributes:
        scores: Mean change of a score, as a share of the label range (of rankings: of the scores' spread).
        metric: Worsening of the primary metric on validation, relative.
    """

    scores: float = 0.01
    metric: float = 0.005


def parity(
    run: Path,
    serving: Serving | None = None,
    tolerance: Tolerance | None = None,
    data: str | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Encode a run's item texts on the training base and on the serving base, and compare.

    The training base is the control: it has to give the vectors that the run stored. The serving base is held against
    the control. Validation pairs are scored with each set of vectors; where the data is gone, a sample of
    users takes their place and no metric is given. A run that was refit has seen its validation part: read the
    change of the metric, not its height.

    Args:
        run: Run folder.
        serving: What to compare with.
        tolerance: Largest drift that passes.
        data: Where the data lies now; by default where the run found it.
        limit: Items whose texts are encoded, drawn at random; None for all.
        seed: Seed of that draw and of the sample of users.

    Returns:
        A report of plain values; ``within`` says whether every way is within the tolerance.

    Raises:
        InputError: When the folder is no run that reads texts, the base is not the recorded one, or the method does
            not work on the serving base.
    """
    serving, tolerance = serving or Serving(), tolerance or Tolerance()
    recommender = Recommender.from_pretrained(run)
    vectors, manifest = _served(recommender)
    section = _serving_section(recommender, manifest, serving)
    pairs = pairs_of(recommender, run, data, limit, seed)
    recorded = manifest.base
    compute = recorded.get("compute")
    trained = recommender.recipe.backbone.model_copy(update={"precision": compute})
    stored = vectors[pairs.items]
    with _loaded(trained, recommender) as base:
        require_base(base.identity.plain(), recorded, str(run))
        control = _encode(base, _attached(recommender, base, run), recommender, pairs)
    report: dict[str, Any] = {
        "run": manifest.digest,
        "adapter": served(recommender.recipe).adapter.method,
        "base": recorded,
        "texts": len(pairs.items),
        "pairs": {"from": pairs.source, "number": len(pairs.users)},
        "label_range": list(pairs.label_range),
        "metric": pairs.metric,
        "tolerance": {"scores": tolerance.scores, "metric": tolerance.metric},
        "ways": {},
    }

    def add(way: str, vectors: Tensor, reference: Tensor, identity: dict[str, str | None]) -> None:
        found = drift(recommender, pairs, vectors, reference)
        passes = within(found, pairs, tolerance.scores, tolerance.metric)
        held = {"quantization": identity["quantization"], "compute": identity["compute"]}
        report["ways"][way] = {**held, **found, "within": passes}

    add("training", control, stored, recorded)
    if serving.quantization is not None or serving.precision is not None:
        with _loaded(section, recommender) as base:
            _require_weights(base, recorded)
            vectors = _encode(base, _attached(recommender, base, run), recommender, pairs)
            add("serving", vectors, control, base.identity.plain())
    report["within"] = all(way["within"] for way in report["ways"].values())
    return report


def _served(recommender: Recommender) -> tuple[Tensor, Manifest]:
    """The run's stored vectors of items, and what its folder says of itself.

    Raises:
        InputError: When the run reads other texts, or none.
    """
    plan, vectors, manifest = recommender.model.plan, recommender.catalogue.vectors, recommender.manifest
    if plan.prompt is not None or plan.user is not None:
        said = "prompts" if plan.prompt is not None else "texts of users"
        raise InputError(f"this run reads {said}: parity compares bases by texts of items alone, so it cannot tell")
    if vectors is None or manifest is None:
        raise InputError("this run does not read texts: there is no language model whose precision could matter")
    return vectors, manifest


def _serving_section(recommender: Recommender, manifest: Manifest, serving: Serving) -> BackboneSection:
    """The serving base's section, refused before anything is loaded where it cannot work."""
    recipe = served(recommender.recipe)
    changes: dict[str, Any] = {"precision": serving.precision or manifest.base.get("compute")}
    if serving.quantization is not None:
        changes["quantization"] = serving.quantization
    section = recipe.backbone.model_copy(update=changes)
    facts = known_facts(section.name, section.revision)
    require_method(recipe.adapter.method, recipe.adapter.config, facts, section.quantization)
    return section


@contextmanager
def _loaded(section: BackboneSection, recommender: Recommender) -> Iterator[Backbone]:
    """A base for one measurement; it is given back before the next one is loaded."""
    backbone = load_backbone(section, recommender.device)
    try:
        yield backbone
    finally:
        backbone.detach()
        del backbone
        gc.collect()


def _require_weights(base: Backbone, recorded: dict[str, str | None]) -> None:
    """The same weights, however they are held."""
    found = base.identity.plain()
    free = {name: recorded.get(name) for name in ("quantization", "compute")}
    require_base({**found, **free}, recorded, "the run")


def _attached(recommender: Recommender, base: Backbone, run: Path) -> nn.Module:
    return load_adapter(run, recommender.loaded.manifest, served(recommender.recipe), base)


def _encode(base: Backbone, model: nn.Module, recommender: Recommender, pairs: Pairs) -> Tensor:
    """Vectors of the drawn items' texts, float32 [items, width], the same texts in the same order each time."""
    reader, length = base.reads(recommender.recipe.backbone), recommender.recipe.views.item.max_length
    texts = [recommender.items.texts[row] for row in pairs.items]
    table = reader.tokenized(texts, length)
    encoder = reader.encoder(model, list(base.model.modules())).eval()
    with torch.no_grad():
        distinct = encoder.encode(table)
    rows: NDArray[np.int64] = table.row_of
    return distinct[torch.as_tensor(rows, device=distinct.device)].float()

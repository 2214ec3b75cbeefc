"""Memory check: whether a recipe's training fits into a memory, by how much, and which settings would."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llmrec_peft import registry
from llmrec_peft.backbone.base_files import CONFIG, read_config
from llmrec_peft.backbone.preflight import refusal, require_possible
from llmrec_peft.backbone.remote_code import decided
from llmrec_peft.errors import InputError
from llmrec_peft.footprint.estimate import Footprint, Plan, Workload, estimate
from llmrec_peft.footprint.workload_data import WorkloadData, chunks_of_step, data_of, examples_of_step, view_texts
from llmrec_peft.recipe import Recipe

if TYPE_CHECKING:
    import torch

    from llmrec_peft.backbone.load import Backbone
    from llmrec_peft.footprint.rehearsal import Rehearsal
    from llmrec_peft.model import RecModel

_MOST = 5
"""Settings that are offered."""


@dataclass(frozen=True)
class Setting:
    """Another way to run a recipe that fits.

    Attributes:
        changes: Fields and values, as after ``--set``.
        total: Bytes it takes.
    """

    changes: dict[str, Any]
    total: int


def footprint_of(
    recipe: Recipe, users: int | None = None, items: int | None = None, cuda: bool | None = None
) -> Footprint:
    """Return the memory that training a recipe takes, by part and phase; no weights are read.

    Args:
        recipe: What is to be trained.
        users: Users, where the recipe names no data.
        items: Items, where the recipe names no data.
        cuda: Whether on a CUDA device; None for what this machine has.

    Raises:
        InputError: When the recipe is impossible, or its backbone's configuration cannot be found.
    """
    require_possible(recipe)
    recipe, data = data_of(recipe, backbone_folder(recipe), users, items)
    return _footprint(recipe, data, _on_cuda() if cuda is None else cuda)


def check(recipe: Recipe, budget: int, users: int | None, items: int | None, cuda: bool) -> dict[str, Any]:
    """Return the answer of `llmrec memory` as plain values.

    Args:
        recipe: What is to be trained.
        budget: Bytes that are available.
        users: Users, where the recipe names no data.
        items: Items, where the recipe names no data.
        cuda: Whether the memory is a card's.
    """
    require_possible(recipe)
    recipe, data = data_of(recipe, backbone_folder(recipe), users, items)
    footprint = _footprint(recipe, data, cuda)
    fits = footprint.total <= budget
    settings = [] if fits else settings_that_fit(recipe, data, budget, cuda)
    return {
        "recipe": recipe.name,
        "backbone": recipe.backbone.name,
        "adapter": recipe.adapter.method,
        "device": "cuda" if cuda else "cpu",
        "budget": budget,
        "fits": fits,
        "spare": budget - footprint.total,
        **footprint.plain(),
        "settings": [{"changes": s.changes, "total": s.total, "spare": budget - s.total} for s in settings],
    }


def settings_that_fit(recipe: Recipe, data: WorkloadData, budget: int, cuda: bool) -> list[Setting]:
    """Return settings that fit, those that change the recipe least first."""
    settings: list[Setting] = []
    for changes in _changes(recipe):
        try:
            changed = recipe.changed(changes)
            require_possible(changed)
        except InputError:
            continue
        total = _footprint(changed, data, cuda).total
        if total <= budget:
            settings.append(Setting(changes, total))
        if len(settings) == _MOST:
            break
    return settings


def budget_here(cuda: bool) -> int:
    """Return the bytes of the CUDA device's memory, or of the machine's free memory."""
    if cuda:
        import torch

        return int(torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory)
    import psutil

    return int(psutil.virtual_memory().available)


def _on_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def _changes(recipe: Recipe) -> list[dict[str, Any]]:
    """Return changes to try: those that keep the results, then smaller batches, fewer layers, last quantization."""
    section = recipe.training
    recompute: dict[str, Any] = {} if section.gradient_checkpointing else {"training.gradient_checkpointing": True}
    field = {"by-item": "items_per_batch", "by-user": "users_per_batch"}.get(section.batching, "batch_size")
    size: int = getattr(section, field)
    smaller = [{f"training.{field}": size // part} for part in (2, 4, 8) if size // part >= 1]
    ways: list[dict[str, Any]] = [recompute] if recompute else []
    ways += smaller
    ways += [{**recompute, **way} for way in smaller if recompute]
    if getattr(recipe.adapter.config, "layers", None) == "all":
        ways += [{"adapter.layers": f"top-{count}"} for count in (8, 4, 2)]
    name, config = recipe.adapter.method, recipe.adapter.config
    for quantization in ("int8", "nf4"):
        if recipe.backbone.quantization == "none" and refusal(name, config, None, quantization) is None:
            quantized = {"backbone.quantization": quantization}
            ways += [quantized, {**quantized, **recompute}] if recompute else [quantized]
            ways += [{**quantized, **recompute, **way} for way in smaller[-1:]]
    return ways


def _footprint(recipe: Recipe, data: WorkloadData, cuda: bool) -> Footprint:
    from llmrec_peft.footprint.rehearsal import bare_on_meta

    section = recipe.backbone
    dtype, quantized = number_format(section.precision, cuda), section.quantization != "none"
    folder = backbone_folder(recipe)
    backbone = bare_on_meta(folder, dtype, decided(section))
    if data.lengths[-1] > backbone.window:
        raise InputError(
            f"views.item.max_length: texts of items take up to {data.lengths[-1]} tokens, over the"
            f" {backbone.window} that {section.name} reads at once"
        )
    stored = _stored(folder)
    tables, head = _outside(recipe, data, backbone)
    others = view_texts(recipe, data, backbone)
    work = Workload(
        items=data.items + sum(texts.number for texts in others),
        texts=len(data.lengths) + sum(texts.number for texts in others),
        tokens=sum(data.lengths) + sum(texts.number * texts.length for texts in others),
        chunks=chunks_of_step(recipe, data, others),
        longest=max([*data.lengths, *(texts.length for texts in others)]),
        distinct_tokens=data.distinct_tokens,
        examples=examples_of_step(recipe, data),
        tables=tables,
        head=head,
        dim=recipe.fusion.dim,
    )
    training = recipe.training
    plan = Plan(
        cuda, quantized, stored, dtype.itemsize, training.average > 0, training.refit is True, training.trunk_mb
    )
    longest = [f"texts of users and prompts at their longest, {texts.length} tokens" for texts in others]
    assumed = (
        *data.assumptions,
        *dict.fromkeys(longest),
        *(["on CUDA the formula is not measured"] if cuda else []),
    )
    return estimate(_rehearsed(recipe, backbone, work), work, plan, assumed)


def _rehearsed(recipe: Recipe, backbone: Any, work: Workload) -> Rehearsal:
    from llmrec_peft.backbone.embedding_model import read_embedding_model
    from llmrec_peft.backbone.text_reader import pooling_of
    from llmrec_peft.footprint.rehearsal import rehearse

    method = registry.get("adapters", recipe.adapter.method)(recipe.adapter.config)
    section, training = recipe.backbone, recipe.training
    rows, length = work.largest
    files = read_embedding_model(backbone_folder(recipe))
    recompute = training.gradient_checkpointing
    return rehearse(backbone, method, section.quantization, recompute, rows, length, pooling_of(section, files))


def _outside(recipe: Recipe, data: WorkloadData, backbone: Backbone) -> tuple[int, int]:
    """Return the number of parameters of tables, and of projections and head, by building them."""
    groups = model_of(recipe, data, backbone).parameter_groups()
    count = {name: sum(p.numel() for _, p in members) for name, members in groups.items()}
    return count["embeddings"], count["head"]


def model_of(recipe: Recipe, data: WorkloadData, backbone: Backbone) -> RecModel:
    """Build the signals and heads that a recipe trains on such data, with the adapter and texts left out."""
    import torch

    from llmrec_peft.backbone.embedding_model import read_embedding_model
    from llmrec_peft.data.interactions import Interactions
    from llmrec_peft.model.build import build_heads, build_model, build_signals
    from llmrec_peft.model.contexts import DataFacts, LanguageFacts, training_contexts

    files, prepared = read_embedding_model(backbone_folder(recipe)), data.prepared
    width = files.dense[-1].outputs if files is not None and files.dense else backbone.width
    if prepared is None:  # everyone and everything once, liked and disliked in turn
        number = np.arange(max(data.users, data.items))
        label = 1.0 + 4.0 * (number % 2).astype(np.float32)
        train = Interactions(1 + number % data.users, 1 + number % data.items, label, number)
    else:
        train = prepared.learned(recipe.refits)
    tokens: torch.nn.Embedding = backbone.model.get_input_embeddings()  # type: ignore[operator]
    language = LanguageFacts(
        item_vectors=torch.zeros(1, width).expand(data.items + 1, width),
        user_vectors=None if recipe.views.user is None else torch.zeros(2, width),
        hidden=tokens.embedding_dim,
        prompt_width=width,
        decodes=backbone.kind == "decoder",
    )
    neighbours, links = (None, None) if prepared is None else (prepared.neighbours, prepared.links)
    sizes, columns = (data.users + 1, data.items + 1), (data.user_columns, data.item_columns)
    facts = DataFacts(*sizes, (1.0, 5.0), *columns, neighbours, links=links)
    contexts = training_contexts(recipe, facts, train, language)
    heads = build_heads(recipe, replace(contexts.head, labels=None))  # sizes count here, and labels may be made up
    signals = build_signals(recipe, contexts.signal)
    return build_model(recipe, signals, heads)


def backbone_folder(recipe: Recipe) -> Path:
    """Return the folder of the backbone's ``config.json``; weights need not be there."""
    from llmrec_peft.backbone.locate import locate

    name = recipe.backbone.name
    if name not in registry.plugins("backbones"):
        folder = Path(name).expanduser()
        if folder.is_dir():
            if not (folder / "config.json").is_file():
                raise InputError(f"backbone.name: {folder} holds no config.json")
            return folder
    else:
        embedded: Path | None = registry.get("backbones", name).embedded()
        if embedded is not None and (embedded / "config.json").is_file():
            return embedded
    return locate(name, recipe.backbone.revision).folder


def number_format(precision: str, cuda: bool) -> torch.dtype:
    import torch

    from llmrec_peft.backbone.precision import resolve_precision

    if precision == "auto" and cuda:
        return torch.bfloat16  # what every card since 2020 computes in
    return resolve_precision(precision, torch.device("cpu"))


def _stored(folder: Path) -> int:
    """Return the bytes of a weight in its file, by the number format of the configuration; fp32 by default."""
    config = read_config(folder / CONFIG)
    named = str(config.get("dtype") or config.get("torch_dtype") or "float32").removeprefix("torch.")
    return {"float32": 4, "float64": 8}.get(named, 2)
